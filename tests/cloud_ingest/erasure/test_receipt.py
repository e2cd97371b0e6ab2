"""Receipts: what one says, and that no bit of it can be changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.erasure.receipt import ReceiptRefused, concerns, make, verify
from cloud_ingest.erasure.state import GatewayState, State, StoreState, WorkerState
from telemetry.erasure import Erasure, keyed_hash
from telemetry.signed import PublicKey

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PublicKey(raw=KEY.public_key().public_bytes_raw())
TRUSTED = {PUBLIC.key_id: PUBLIC}
HIM, HER = "ee" * 16, "0f" * 16
T0 = 1_760_000_040 * 10**9


def state(*, pending: bool = False) -> State:
    salt = bytes(32)
    return State(
        request="0123456789abcdef", site="school", asked_at_ns=T0, asked_by="officer", reason="家长要求",
        erasure=Erasure(
            request="0123456789abcdef", salt=salt.hex(), hashes=(keyed_hash(salt, HIM),),
            keep_until=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=400),
        ),
        gateways={"gw-1": GatewayState(confirmed_at_ns=None if pending else T0, values=3)},
        workers={"ingest-1": WorkerState(confirmed_at_ns=T0, letters=1)},
        stores={"sqlite:///s": StoreState(found_rows={"attendance": 5}, erased_at_ns=T0, verified_at_ns=T0)},
        retained=0, handed_over=[{"action": "export", "who": "x"}], backups=["tape"],
    )  # fmt: skip


def test_it_names_each_place_and_nobody() -> None:
    text = make(state(), KEY)
    receipt = verify(text, TRUSTED)
    assert receipt["complete"]
    assert [place["place"].split()[0] for place in receipt["places"]] == [
        "store", "worker", "dead", "identities", "retained", "gateway",
    ]  # fmt: skip
    assert receipt["handed_over"] == {"accesses": [{"action": "export", "who": "x"}], "backups": ["tape"]}
    assert HIM not in text.decode()
    assert concerns(receipt, HIM)
    assert not concerns(receipt, HER)
    assert not verify(make(state(pending=True), KEY), TRUSTED)["complete"]


@given(st.data())
def test_no_bit_of_it_can_be_changed(data: st.DataObject) -> None:
    text = make(state(), KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    forged = bytearray(text)
    forged[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert verify(bytes(forged), TRUSTED) == verify(text, TRUSTED)  # white space between the parts
    except ReceiptRefused:
        return
    assert json.loads(forged) == json.loads(text)


def _tampered(change: dict[str, Any]) -> bytes:
    return json.dumps(json.loads(make(state(), KEY)) | change).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"\xff", b"[" * 100_000, _tampered({"complete": False}), _tampered({"signature": {}}),
        _tampered({"schema": "campus.other/1"}), _tampered({"signature": 7}),
        make(state(), KEY).replace(b'"complete": true', b'"complete": false, "complete": true'),
        make(state(), Ed25519PrivateKey.from_private_bytes(bytes(32))),
    ],
)  # fmt: skip
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(ReceiptRefused):
        verify(text, TRUSTED)
