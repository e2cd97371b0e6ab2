"""The parser of MJPEG: whole parts, any cutting into pieces, bounded whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.worker.jpeg import looks_whole
from drivers.camera_people.worker.multipart import MAX_HEAD, MAX_PART, MultipartParser, boundary_of
from telemetry.errors import ProtocolError

BOUNDARY = b"--frame"
BODIES = st.lists(st.binary(min_size=1, max_size=300).filter(lambda body: BOUNDARY not in body), max_size=6)


def part(body: bytes, *, length: bool = True, end: bytes = b"\r\n") -> bytes:
    head = [BOUNDARY, b"Content-Type: image/jpeg", *([b"Content-Length: %d" % len(body)] if length else []), b""]
    return end.join([*head, body, b""])


def pieces(data: bytes, sizes: list[int]):
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(BODIES, st.lists(st.integers(0, 60), max_size=60), st.sampled_from([b"\r\n", b"\n"]))
def test_any_cutting_into_pieces_gives_the_same_parts(bodies, sizes, end):
    parser, found = MultipartParser(BOUNDARY), []
    for piece in pieces(b"".join(part(body, end=end) for body in bodies), sizes):
        found += parser.feed(piece)
    assert found == bodies


@given(BODIES.filter(lambda bodies: not any(body.endswith((b"\r", b"\n")) for body in bodies)))
def test_without_a_length_a_part_ends_at_the_next_boundary(bodies):
    parser = MultipartParser(BOUNDARY)
    wire = b"".join(part(body, length=False) for body in bodies)
    assert parser.feed(wire) + parser.feed(BOUNDARY) == bodies


@given(st.lists(st.binary(max_size=500) | st.just(BOUNDARY + b"\r\n\r\n"), max_size=40))
def test_garbage_gives_parts_or_our_own_error(pieces):
    parser = MultipartParser(BOUNDARY)
    try:
        found = [body for piece in pieces for body in parser.feed(piece)]
    except ProtocolError:
        return
    assert sum(map(len, found)) <= sum(map(len, pieces))


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (MAX_HEAD + 100),
        BOUNDARY + b"\r\n" + b"X-Long: y\r\n" * 2000,
        BOUNDARY + b"\r\nContent-Length: 0\r\n\r\n",
        BOUNDARY + b"\r\nContent-Length: 999999999\r\n\r\n",
        BOUNDARY + b"\r\n\r\n" + bytes(MAX_PART + 1),
    ],
)
def test_nothing_grows_without_end(data):
    parser = MultipartParser(BOUNDARY)
    with pytest.raises(ProtocolError):
        parser.feed(data)


def test_a_length_that_lies_costs_the_picture_and_not_the_next():
    short = BOUNDARY + b"\r\nContent-Length: 3\r\n\r\nabcdef\r\n"
    assert MultipartParser(BOUNDARY).feed(short + part(b"next")) == [b"abc", b"next"]


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/x-mixed-replace; boundary=frame", b"--frame"),
        ("multipart/x-mixed-replace;boundary=--frame", b"--frame"),
        ('Multipart/Mixed; charset=x; BOUNDARY="a b"', b"--a b"),
    ],
)
def test_boundary(header, boundary):
    assert boundary_of(header) == boundary


@pytest.mark.parametrize("header", ["", "image/jpeg", "text/html; boundary=x", "multipart/x-mixed-replace"])
def test_what_is_no_stream_is_said_so(header):
    with pytest.raises(ProtocolError):
        boundary_of(header)


def test_a_cut_jpeg_is_no_picture():
    whole = b"\xff\xd8\xff\xe0 body \xff\xd9"
    assert looks_whole(whole)
    assert looks_whole(whole + b"\r\n\0\0")
    assert not looks_whole(whole[:-1])
    assert not looks_whole(whole[1:])
    assert not looks_whole(b"")
