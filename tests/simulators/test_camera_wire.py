"""RTSP, RTP and login without a network: golden bytes, and whatever else may come."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.camera_auth import REALM, Login
from simulators.camera_rtp import MAX_PAYLOAD, Packetiser, fragments, interleaved, sdp
from simulators.camera_rtsp_session import Session
from simulators.camera_rtsp_wire import MAX_HEAD, Damaged, Request, parse, read, reply
from simulators.ledger import Journal
from telemetry.counters import Counters

SETUP = b"SETUP rtsp://[::1]:554/stream/trackID=1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;interleaved=2-3\r\n\r\n"
USER = {"username": "u", "password": "p"}
PIECES = [
    SETUP,
    b"$\0\0\4abcd",
    b"\r\n",
    b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    b"GET_PARAMETER rtsp://h/stream RTSP/1.0\r\nCSeq: 9\r\nContent-Length: 2\r\n\r\nhi",
    b"Content-Length: 99999999999999\r\n",
    b"DESCRIBE rtsp://[broken RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    b"Transport: RTP/AVP/TCP;interleaved=999-1\r\n",
]


async def all_of(data: bytes) -> list[Request | None]:
    """What a server reads from a client that sends `data` and hangs up."""
    stream = asyncio.StreamReader(MAX_HEAD)
    stream.feed_data(data)
    stream.feed_eof()
    found: list[Request | None] = []
    async with asyncio.timeout(5):
        while True:
            try:
                found.append(await read(stream))
            except (Damaged, asyncio.IncompleteReadError):
                return found


def session() -> Session:
    login = Login(username="", password="")
    return Session(name="c", sdp="v=0", login=login, offers_audio=True, journal=Journal(None), counters=Counters())


def test_a_request_is_read() -> None:
    rtcp, request, empty, options = asyncio.run(all_of(b"$\1\0\4abcd" + SETUP + b"$\0\0\0" + PIECES[3]))
    assert (rtcp, empty) == (None, None)
    assert request is not None
    assert options is not None
    assert (request.method, request.path, request.sequence, request.channels) == (
        "SETUP",
        "stream/trackID=1",
        "3",
        (2, 3),
    )
    assert (options.path, options.channels) == ("", None)


@pytest.mark.parametrize(
    ("transport", "channels"),
    [
        ("RTP/AVP/TCP;unicast", (0, 1)),
        ("RTP/AVP;unicast;client_port=1-2, RTP/AVP/TCP;interleaved=6", (6, 7)),
        ("RTP/AVP/TCP;interleaved=255", None),
        ("RTP/AVP/TCP;interleaved=4-4", None),
        ("RTP/AVP/UDP;unicast", None),
        ("", None),
    ],
)
def test_which_channels_are_wished_for(transport: str, channels: tuple[int, int] | None) -> None:
    request = Request(method="SETUP", uri="*", version=(1, 0), headers={"transport": transport})
    assert request.channels == channels


@pytest.mark.parametrize(
    "damaged",
    [
        b"\r\n\r\n",
        b"SETUP\r\n\r\n",
        b"SETUP * RTSP/1.0\r\nno header\r\n\r\n",
        b"setup * RTSP/1.0\r\n\r\n",
        b"x" * MAX_HEAD * 2,
    ],
)
async def test_what_is_no_request_is_damaged(damaged: bytes) -> None:
    stream = asyncio.StreamReader(MAX_HEAD)
    stream.feed_data(damaged + b"\r\n\r\n")
    stream.feed_eof()
    with pytest.raises(Damaged):
        await read(stream)


@given(st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(PIECES)), max_size=8).map(b"".join))
def test_reading_ends_and_each_request_has_an_answer(data: bytes) -> None:
    server = session()
    for request in asyncio.run(all_of(data)):
        if request is not None:
            assert server.answer(request).startswith(b"RTSP/1.0 ")


@given(st.binary(max_size=300))
def test_parsing_says_damaged_and_nothing_else(data: bytes) -> None:
    try:
        parse(data)
    except Damaged:
        return


def test_an_answer() -> None:
    assert reply("200 OK", sequence="4", headers={"A": ["b", "c"]}, body="é") == (
        "RTSP/1.0 200 OK\r\nCSeq: 4\r\nA: b\r\nA: c\r\nContent-Length: 2\r\n\r\né".encode()
    )


def test_a_short_unit_goes_as_it_is_and_a_long_one_in_pieces() -> None:
    source = Packetiser(source=0x01020304, sequence=0xFFFF)
    short, long = b"\x67ab", b"\x65" + bytes(range(250)) * 10
    first, *pieces = source.packets([short, long], timestamp=0x1_0000_0005)
    assert first.hex() == "8060" + "ffff" + "00000005" + "01020304" + short.hex()
    assert [piece[:4].hex() for piece in pieces] == ["80600000", "80e00001"]
    assert [piece[12:14].hex() for piece in pieces] == ["7c85", "7c45"]
    assert b"".join(piece[14:] for piece in pieces) == long[1:]
    report = source.report(timestamp=7, now_ns=1_500_000_000)
    assert report == struct.pack("!BBHIQIII", 0x80, 200, 6, 0x01020304, (2_208_988_801 << 32) + 2**31, 7, 3, 2507)
    assert interleaved(5, b"abc") == b"$\5\0\3abc"


@given(st.binary(min_size=1, max_size=9000))
def test_pieces_make_up_the_unit_again(unit: bytes) -> None:
    pieces = list(fragments(unit))
    assert all(len(piece) <= MAX_PAYLOAD for piece in pieces)
    if len(pieces) == 1:
        assert pieces == [unit]
        return
    assert [piece[1] >> 6 for piece in pieces] == [2, *[0] * (len(pieces) - 2), 1]
    head = bytes([pieces[0][0] & 0xE0 | pieces[0][1] & 0x1F])
    assert head + b"".join(piece[2:] for piece in pieces) == unit


def test_sound_is_described_only_where_it_is_offered() -> None:
    silent, loud = (sdp(sps=b"\x67\x42\xc0\x1e", pps=b"\x68\xce", fps=5, audio=audio) for audio in (False, True))
    assert "profile-level-id=42c01e;sprop-parameter-sets=Z0LAHg==,aM4=\r\n" in silent
    assert "m=audio" not in silent
    assert loud == silent + "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=2\r\n"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what cameras ask for


@pytest.mark.parametrize(
    ("user", "password", "method", "admitted"),
    [("u", "p", "PLAY", True), ("u", "q", "PLAY", False), ("v", "p", "PLAY", False), ("u", "p", "SETUP", False)],
)
def test_digest_with_and_without_qop(user: str, password: str, method: str, admitted: bool) -> None:
    login = Login(**USER)
    nonce = login.challenges(qop=False)[0].partition('nonce="')[2].partition('"')[0]
    one, two = md5(f"{user}:{REALM}:{password}"), md5("PLAY:rtsp://h/stream")
    said = f'Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="rtsp://h/stream", response='
    plain = said + f'"{md5(f"{one}:{nonce}:{two}")}"'
    fuller = said + f'"{md5(f"{one}:{nonce}:00000001:xyz:auth:{two}")}", qop=auth, nc=00000001, cnonce="xyz"'
    assert [login.admits(text, method=method) for text in (plain, fuller)] == [admitted, admitted]


def test_basic_only_where_it_is_asked_for() -> None:
    proof = "Basic " + base64.b64encode(b"u:p").decode()
    wrong = "Basic " + base64.b64encode(b"u:q").decode()
    web = Login(**USER, basic=True)
    assert [web.admits(text, method="GET") for text in (proof, wrong, "Basic é", "", "Bearer x")] == [
        True,
        *[False] * 4,
    ]
    assert not Login(**USER).admits(proof, method="GET")
    assert web.challenges(qop=True)[1] == f'Basic realm="{REALM}"'


@given(st.text(max_size=200))
def test_whatever_is_said_proves_nothing(text: str) -> None:
    login = Login(**USER, basic=True)
    assert not any(login.admits(prefix + text, method="GET") for prefix in ("", "Digest ", "Basic "))
