from __future__ import annotations

from edge_agent.privacy.keys import GatewayKeys
from simulators.demo.handles import handle, hkdf_sha256, subkey
from telemetry.sample import Subject


def test_hkdf_gives_the_rfc_5869_vector() -> None:
    derived = hkdf_sha256(
        bytes.fromhex("0b" * 22),
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        info=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        length=42,
    )
    assert derived.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_hkdf_without_salt_gives_the_rfc_5869_vector() -> None:
    derived = hkdf_sha256(bytes.fromhex("0b" * 22), salt=b"", info=b"", length=42)
    assert derived.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


def test_a_handle_is_the_one_the_gateway_computes() -> None:
    key = subkey(bytes(range(32)), site="demo-1", school_year="2026-2027", purpose="attendance")
    keys = GatewayKeys(
        schema="campus.gateway-keys/1", site="demo-1", school_year="2026-2027", keys={"attendance": key.hex()}
    )
    theirs = keys.handle("attendance", Subject(kind="card", identifier="3F00123456"))
    assert handle(key, kind="card", identifier="3F00123456") == theirs


def test_another_site_year_or_purpose_gives_another_key() -> None:
    base = {"site": "a", "school_year": "2026-2027", "purpose": "attendance"}
    keys = {
        subkey(bytes(32), **(base | change))
        for change in ({}, {"site": "b"}, {"school_year": "2027-2028"}, {"purpose": "vitals"})
    }
    assert len(keys) == 4
