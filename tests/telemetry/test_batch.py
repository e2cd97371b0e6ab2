"""Batches: what goes in comes out, hostile payloads are refused in bounded memory, poison can be named."""

import gzip
import json
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.batch import (
    GZIP_ABOVE_BYTES,
    MAX_PLAIN_BYTES,
    SCHEMA,
    Batch,
    BatchSample,
    DeviceBlock,
    decode_batch,
    encode_batch,
    pack,
    peek_identity,
    unpack,
)
from telemetry.errors import ProtocolError
from telemetry.sample import DataClass, Quality, Reason

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(min_size=1, max_size=12)
samples = st.builds(
    BatchSample,
    acquired_at_ns=st.integers(-(2**63), 2**63 - 1),
    values=st.dictionaries(names, finite | st.booleans() | names, max_size=4),
    bad=st.dictionaries(names, st.sampled_from(Reason), max_size=3),
    quality=st.sampled_from(Quality),
    subject=st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
)
blocks = st.builds(
    DeviceBlock,
    device=names,
    room=names,
    profile=names,
    measurement=names,
    quantities=st.dictionaries(names, names, max_size=3),
    samples=st.lists(samples, max_size=4),
)
batches = st.builds(
    Batch,
    schema=st.just(SCHEMA),
    site=names,
    gateway=names,
    epoch=st.text("0123456789abcdef", min_size=16, max_size=16),
    number=st.integers(0, 10**18 - 1),
    data_class=st.sampled_from(DataClass),
    devices=st.lists(blocks, max_size=3),
    simulated=st.booleans(),
)


def batch(**changes) -> Batch:
    fields = {
        "schema": SCHEMA,
        "site": "s",
        "gateway": "g",
        "epoch": "0123456789abcdef",
        "number": 7,
        "data_class": DataClass.OPEN,
        "devices": [],
    }
    return Batch(**(fields | changes))


def kinds(decoded: Batch) -> list[type]:
    return [type(v) for block in decoded.devices for sample in block.samples for v in sample.values.values()]


@given(batches)
def test_what_goes_in_comes_out_types_too(given_batch):
    back = decode_batch(unpack(pack(encode_batch(given_batch))))
    assert back == given_batch
    assert kinds(back) == kinds(given_batch)


@given(batches)
def test_the_same_batch_is_the_same_bytes(given_batch):
    assert pack(encode_batch(given_batch)) == pack(encode_batch(decode_batch(encode_batch(given_batch))))


@given(batches)
def test_the_identity_can_be_peeked_from_the_head_alone(given_batch):
    payload = pack(encode_batch(given_batch))
    expected = (given_batch.epoch, given_batch.number)
    assert peek_identity(payload) == expected
    half = payload[: max(500, len(payload) // 2)]
    assert peek_identity(half) == expected


def test_a_whole_number_is_still_a_float_after_the_journey():
    plain = (
        b'{"schema":"campus.batch/1","site":"s","gateway":"g","epoch":"e","batch":1,"class":"open","devices":['
        b'{"device":"d","room":"r","profile":"p","measurement":"m","quantities":{},'
        b'"samples":[{"acquired_at_ns":1,"values":{"co2":400,"presence":true}}]}]}'
    )
    values = decode_batch(plain).devices[0].samples[0].values
    assert type(values["co2"]) is float
    assert values["presence"] is True


def test_only_long_json_is_compressed_and_a_person_can_read_the_rest():
    assert pack(b"x" * GZIP_ABOVE_BYTES) == b"x" * GZIP_ABOVE_BYTES
    packed = pack(b"x" * (GZIP_ABOVE_BYTES + 1))
    assert gzip.decompress(packed) == b"x" * (GZIP_ABOVE_BYTES + 1)


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_limit_is_exact_compressed_or_not(size, limit):
    for payload in (b"x" * size, gzip.compress(b"x" * size)):
        if size <= limit:
            assert unpack(payload, limit=limit) == b"x" * size
        else:
            with pytest.raises(ProtocolError, match=f"limit of {limit}"):
                unpack(payload, limit=limit)


def test_a_gzip_bomb_is_refused_without_being_inflated(monkeypatch):
    bomb = gzip.compress(b"\0" * (32 * MAX_PLAIN_BYTES))
    assert len(bomb) < MAX_PLAIN_BYTES
    inflated = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *args, **kwargs):
            self._inflater = real(*args, **kwargs)

        def decompress(self, data, max_length=0):
            plain = self._inflater.decompress(data, max_length)
            inflated.append(len(plain))
            return plain

        def __getattr__(self, name):
            return getattr(self._inflater, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(ProtocolError, match="inflates to more than"):
        unpack(bomb)
    assert inflated == [MAX_PLAIN_BYTES + 1]


@given(st.binary(min_size=1, max_size=200), st.data())
def test_gzip_cut_short_or_with_bytes_after_its_end_is_refused(plain, data):
    whole = gzip.compress(plain)
    cut = data.draw(st.integers(2, len(whole) - 1))
    with pytest.raises(ProtocolError, match=r"cut short|not gzip"):
        unpack(whole[:cut])
    tail = data.draw(st.sampled_from([b"\0", b"tail", whole]))
    with pytest.raises(ProtocolError, match="bytes after its end"):
        unpack(whole + tail)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_anything_but_protocol_error(data, as_gzip):
    payload = b"\x1f\x8b" + data if as_gzip else data
    peek_identity(payload)
    try:
        decode_batch(unpack(payload))
    except ProtocolError:
        return
    pytest.fail("random bytes became a batch")


@given(batches, st.data())
def test_damaged_json_is_refused_or_a_batch_never_another_error(given_batch, data):
    plain = bytearray(encode_batch(given_batch))
    plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_batch(bytes(plain))
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("batch", "7", "batch"),
        ("class", "secret", "class"),
        ("devices", [{"device": "d"}], "devices"),
        ("devices", None, "devices"),
        ("schema", 1, "schema"),
    ],
)
def test_the_wrong_field_is_named(field, value, named):
    table = json.loads(encode_batch(batch()))
    table[field] = value
    with pytest.raises(ProtocolError, match=named):
        decode_batch(json.dumps(table).encode())


def test_a_missing_field_and_an_unknown_reason_are_named():
    table = json.loads(encode_batch(batch()))
    del table["epoch"]
    with pytest.raises(ProtocolError, match="epoch"):
        decode_batch(json.dumps(table).encode())
    block = {"device": "d", "room": "r", "profile": "p", "measurement": "m", "quantities": {}}
    block["samples"] = [{"acquired_at_ns": 1, "bad": {"co2": "tired"}}]
    table = json.loads(encode_batch(batch())) | {"devices": [block]}
    with pytest.raises(ProtocolError, match="tired"):
        decode_batch(json.dumps(table).encode())


def test_unknown_fields_are_ignored_and_another_major_version_is_not():
    table = json.loads(encode_batch(batch())) | {"colour": "blue"}
    assert decode_batch(json.dumps(table).encode()) == batch()
    with pytest.raises(ProtocolError, match=r"campus\.batch/2"):
        decode_batch(json.dumps(table | {"schema": "campus.batch/2"}).encode())


def test_deep_nesting_is_refused():
    with pytest.raises(ProtocolError):
        decode_batch(b'{"x":' * 100_000)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x1f\x8b",
        b'{"epoch":"0123","batch":1}',
        b'{"epoch":"0123456789ABCDEF","batch":1}',
        b'{"epoch":"0123456789abcdef","batch":-1}',
        b'{"epoch":"0123456789abcdef","batch":1' + b"0" * 30 + b"}",
        b" " * 2000 + b'{"epoch":"0123456789abcdef","batch":1}',
    ],
)
def test_where_no_identity_stands_none_is_peeked(payload):
    assert peek_identity(payload) is None


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        batch().number = 8
    assert msgspec.structs.replace(batch(), number=8).number == 8
