from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.demo.frames import (
    LEVEL_5,
    LEVEL_311,
    PUBLISH,
    Frame,
    Publish,
    Splitter,
    connect,
    decode_varint,
    encode_varint,
    parse_publish,
    protocol_level,
    puback,
    subscribe,
)
from telemetry.errors import ProtocolError

FRAMES = st.lists(st.builds(Frame, head=st.integers(0, 255), body=st.binary(max_size=400)), max_size=5)


@given(st.integers(0, 268_435_455))
def test_a_length_survives_its_encoding(number: int) -> None:
    encoded = encode_varint(number)
    assert decode_varint(encoded) == (number, len(encoded))
    assert all(decode_varint(encoded[:cut]) is None for cut in range(len(encoded)))


@pytest.mark.parametrize(("number", "encoded"), [(127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001")])
def test_a_length_is_encoded_as_the_standard_says(number: int, encoded: str) -> None:
    assert encode_varint(number).hex() == encoded


@given(FRAMES, st.integers(1, 50))
def test_frames_come_out_whole_however_the_stream_is_chopped(frames: list[Frame], size: int) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    splitter = Splitter()
    found = [frame for at in range(0, len(stream), size) for frame in splitter.feed(stream[at : at + size])]
    assert found == frames


def test_a_length_over_four_bytes_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Splitter().feed(b"\x30\xff\xff\xff\xff\x01")


@given(st.text(max_size=50), st.binary(max_size=300), st.sampled_from([0, 1]), st.sampled_from([LEVEL_311, LEVEL_5]))
def test_a_publish_is_taken_apart_and_put_together(topic: str, payload: bytes, qos: int, level: int) -> None:
    properties = b"\x02\x01\x01" if level == LEVEL_5 else b""
    middle = (b"\x12\x34" if qos else b"") + properties
    publish = Publish(head=0x30 | qos << 1, topic=topic, middle=middle, payload=payload)
    parsed = parse_publish(publish.frame(), level)
    assert parsed == publish
    changed = parse_publish(parsed.with_payload(payload * 2).frame(), level)
    assert (changed.topic, changed.middle, changed.payload) == (topic, middle, payload * 2)


@given(st.binary(max_size=60), st.sampled_from([LEVEL_311, LEVEL_5]))
def test_any_body_is_parsed_or_refused(body: bytes, level: int) -> None:
    try:
        publish = parse_publish(Frame(head=PUBLISH << 4 | 2, body=body), level)
    except ProtocolError:
        return
    assert publish.frame().body == body


def test_the_protocol_level_is_read_from_connect() -> None:
    assert protocol_level(connect("me", keepalive_s=10)) == LEVEL_311
    assert protocol_level(Frame(head=0x10, body=b"\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x00")) == LEVEL_5
    with pytest.raises(ProtocolError):
        protocol_level(Frame(head=0x10, body=b"\x00\x04MQ"))


def test_packets_of_a_listener_are_as_the_standard_says() -> None:
    assert connect("t", keepalive_s=15).encode().hex() == "100d00044d5154540402000f000174"
    assert subscribe("a/#").encode().hex() == "820800010003612f2301"
    sent = Publish(head=0x32, topic="a", middle=b"\x00\x07", payload=b"x")
    assert (puback(sent) or Frame(head=0, body=b"")).encode().hex() == "40020007"
    assert puback(Publish(head=0x30, topic="a", middle=b"", payload=b"x")) is None
