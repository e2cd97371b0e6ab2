"""Orders to erase: what one says, who may give it, and that no handle stands in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from telemetry.erasure import Erased, Erasure, Order, decode_order, encode_order, keyed_hash, to_moment, to_ns
from telemetry.errors import ProtocolError
from telemetry.signed import PublicKey, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PublicKey(raw=KEY.public_key().public_bytes_raw())
TRUSTED = {PUBLIC.key_id: PUBLIC}
NOW = datetime(2026, 10, 8, 12, tzinfo=UTC)
SALT = bytes(range(32))
HIM, HER = "ab" * 16, "cd" * 16


def order(**changed: object) -> Order:
    erasure = Erasure(
        request="0123456789abcdef",
        salt=SALT.hex(),
        hashes=(keyed_hash(SALT, HIM),),
        keep_until=NOW + timedelta(days=400),
    )
    known = {
        "schema": "campus.erase/1", "site": "school", "target": "gw-1", "serial": 7, "issued_at": NOW,
        "not_after": NOW + timedelta(days=400), "erasure": (erasure,),
    }  # fmt: skip
    return Order(**(known | changed))  # type: ignore[arg-type]


def decoded(text: str, *, site: str | None = "school", target: str = "gw-1", now: datetime = NOW) -> Order:
    return decode_order(text, TRUSTED, site=site, target=target, now_ns=to_ns(now))


def test_an_order_comes_back_as_it_was_given_and_names_nobody() -> None:
    text = encode_order(order(), KEY)
    assert decoded(text) == order()
    assert decoded(text, site=None) == order()
    assert HIM not in text
    assert to_moment(to_ns(NOW)) == NOW


def test_who_is_meant() -> None:
    who = Erased(order().erasure)
    assert who(HIM)
    assert not who(HER)
    assert who
    assert not Erased(())
    assert not Erased(())(HIM)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (encode_order(order(), STRANGER), "not trusted here"),
        (encode_order(order(), KEY).replace("serial = 7", "serial = 8"), "altered"),
        (encode_order(order(), KEY).rsplit("#", 1)[0], "not signed"),
        (encode_order(order(target="gw-2"), KEY), "for 'gw-2'"),
        (encode_order(order(site="other"), KEY), "of site 'other'"),
        (encode_order(order(not_after=NOW - timedelta(days=1)), KEY), "out of date"),
        (encode_order(order(schema="campus.erase/2"), KEY), "not supported"),
        (encode_order(order(erasure=()), KEY), "cannot be decoded"),
        (encode_order(order(serial=0), KEY), "cannot be decoded"),
        (sign(b"no toml = = =", KEY).decode(), "cannot be decoded"),
        (sign(b"x = 1", KEY).decode(), "cannot be decoded"),
        ("", "not signed"),
    ],
)
def test_what_is_not_followed(text: str, told: str) -> None:
    with pytest.raises(ProtocolError, match=told):
        decoded(text)


@given(st.text(), st.binary(max_size=400))
def test_hostile_texts_are_refused(text: str, body: bytes) -> None:
    for hostile in (text, encode_order(order(), KEY) + text[:1] or "", body.decode("latin-1")):
        try:
            assert decoded(hostile) == order()
        except ProtocolError:
            continue


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=20), st.binary(min_size=32, max_size=32))
def test_exactly_those_are_meant_whose_hash_is_named(handles: set[bytes], salt: bytes) -> None:
    named = {value.hex() for value in list(handles)[::2]}
    erasures = [
        Erasure(request="0" * 16, salt=salt.hex(), hashes=tuple(keyed_hash(salt, one) for one in named), keep_until=NOW)
    ]
    who = Erased(erasures)
    assert {value.hex() for value in handles if who(value.hex())} == named
