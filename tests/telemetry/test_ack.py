"""Acknowledgements: round trip, and whatever arrives is an Ack or a ProtocolError."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.ack import Ack, Refused, decode_ack, encode_ack
from telemetry.errors import ProtocolError

numbers = st.integers(0, 2**60)
acks = st.builds(
    Ack,
    epoch=st.text(max_size=20),
    time_ns=st.integers(0, 2**63 - 1),
    stored=st.lists(st.tuples(numbers, numbers), max_size=5),
    refused=st.lists(
        st.builds(
            Refused, batch=numbers, samples=st.lists(st.integers(0, 1000), max_size=4), reason=st.text(max_size=20)
        ),
        max_size=3,
    ),
    retry_after_s=st.floats(0, 1e6),
)


@given(acks)
def test_what_goes_in_comes_out(ack):
    assert decode_ack(encode_ack(ack)) == ack


def test_an_ack_that_names_no_batch_says_only_that_the_ingest_is_there():
    payload = encode_ack(Ack(epoch="e", time_ns=5))
    assert json.loads(payload) == {"epoch": "e", "time_ns": 5}
    ack = decode_ack(payload)
    assert (ack.stored, ack.refused, ack.retry_after_s) == ([], [], 0.0)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_protocol_error(data):
    with pytest.raises(ProtocolError, match="acknowledgement"):
        decode_ack(data)


@pytest.mark.parametrize(
    "change",
    [{"stored": [[1]]}, {"stored": [[1, "2"]]}, {"time_ns": 1.5}, {"refused": [{"batch": 1}]}, {"epoch": None}],
)
def test_wrong_fields_are_refused(change):
    with pytest.raises(ProtocolError, match=next(iter(change))):
        decode_ack(json.dumps({"epoch": "e", "time_ns": 5} | change).encode())
