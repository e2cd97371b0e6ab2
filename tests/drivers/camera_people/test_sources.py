"""MJPEG and snapshots from servers that misbehave: each ends in one of our errors, in time."""

import dataclasses
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from drivers.camera_people.assignment import Assignment
from drivers.camera_people.worker.mjpeg import MjpegSource
from drivers.camera_people.worker.multipart import MAX_PART
from drivers.camera_people.worker.snapshot import SnapshotSource
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

JPEG = b"\xff\xd8\xff\xe0 not for a decoder \xff\xd9"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n"
STREAM = OK % b"multipart/x-mixed-replace; boundary=b"
PART = b"--b\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)
PICTURE = OK % b"image/jpeg" + JPEG
HANG = None
"""In an answer: say no more, and keep the connection open."""


@contextmanager
def camera(*answers, username=""):
    """A camera that gives one answer for each connection; yields its Assignment.

    An answer is a list of pieces: bytes, seconds to wait, an event to wait for, or HANG.
    """
    over = threading.Event()

    def serve(listener):
        for pieces in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                try:
                    for piece in pieces:
                        if piece is HANG:
                            over.wait(10)
                        elif isinstance(piece, float):
                            over.wait(piece)
                        elif isinstance(piece, threading.Event):
                            piece.wait(10)
                        else:
                            connection.sendall(piece)
                except OSError:
                    pass  # the client had enough

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield Assignment(
                url=f"http://[::1]:{listener.getsockname()[1]}/x?channel=1",
                capture="mjpeg",
                username=username,
                stalled_s=0.3,
            )
        finally:
            over.set()
            thread.join()


def wanted():
    event = threading.Event()
    event.set()
    return event


def pictures(source, count):
    try:
        source.open()
        return [source.next(wanted()) for _ in range(count)]
    finally:
        source.close()


def test_pictures_come_out_as_they_were_put_in():
    first_is_out = threading.Event()
    with camera([STREAM, PART[:20], PART[20:], first_is_out, PART]) as assignment:
        source = MjpegSource(assignment)
        source.open()
        assert source.next(wanted()).data == JPEG
        first_is_out.set()
        assert source.next(wanted()).data == JPEG
        source.close()
    with camera([PICTURE[:40], PICTURE[40:]], [PICTURE]) as assignment:
        shots = pictures(SnapshotSource(assignment), 2)
        assert [shot.data for shot in shots] == [JPEG, JPEG]
    assert repr(shots) == "[Shot(…), Shot(…)]"


def test_of_pictures_that_lay_ready_the_last_is_given_out_and_the_end_is_told_after_it():
    last = JPEG[:-2] + bytes(4) + JPEG[-2:]
    second = b"--b\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(last), last)
    with camera([STREAM + PART + PART + second + b"--b\r\n"]) as assignment:
        source = MjpegSource(assignment)
        source.open()
        assert source.next(wanted()).data == last
        with pytest.raises(DeviceUnavailable):
            source.next(wanted())
        source.close()


def test_a_slow_snapshot_was_taken_between_asking_and_having():
    with camera([PICTURE[:40], 1.2, PICTURE[40:]]) as assignment:
        source = SnapshotSource(dataclasses.replace(assignment, stalled_s=5.0))
        asked_ns = time.monotonic_ns()
        (shot,) = pictures(source, 1)
    assert 0.5 < (shot.received_ns - asked_ns) / 1e9 < (time.monotonic_ns() - asked_ns) / 1e9 - 0.5


@pytest.mark.parametrize(
    ("answer", "error", "timed_out"),
    [
        ([STREAM, HANG], DeviceUnavailable, True),
        ([STREAM, *[b"--b\r\n", 0.1] * 20], DeviceUnavailable, True),  # bytes, but no picture
        ([STREAM], DeviceUnavailable, False),
        ([STREAM, PART[:-10]], DeviceUnavailable, False),
        ([STREAM, PART.replace(b"\xff\xd8", b"GI")], ProtocolError, None),
        ([OK % b"text/html", b"<html>"], ProtocolError, None),
        ([b"RTSP/1.0 200 OK\r\n\r\n"], ProtocolError, None),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200], ProtocolError, None),
        ([b"HTTP/1.1 500 Oops\r\n\r\n"], DeviceUnavailable, False),
        ([b""], DeviceUnavailable, None),
        ([HANG], DeviceUnavailable, False),
        ([b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\n\r\n"], AuthError, None),
        ([b"HTTP/1.1 403 No\r\n\r\n"], AuthError, None),
    ],
)
def test_a_stream_that_is_none(answer, error, timed_out):
    started = time.monotonic()
    with camera(answer) as assignment:
        with pytest.raises(error) as caught:
            pictures(MjpegSource(assignment), 1)
        assert time.monotonic() - started < 2
    if timed_out is not None:
        assert caught.value.timed_out is timed_out


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([PICTURE[:-1]], ProtocolError),
        ([OK % b"image/jpeg"], ProtocolError),
        ([OK % b"image/jpeg", *[bytes(1 << 20)] * (MAX_PART // (1 << 20) + 2)], ProtocolError),
        ([OK % b"image/jpeg", *[b"x", 0.1] * 20], DeviceUnavailable),  # drop by drop
        ([PICTURE[:50], HANG], DeviceUnavailable),
        ([b"HTTP/1.1 404 No\r\n\r\n"], DeviceUnavailable),
    ],
)
def test_a_snapshot_that_is_none(answer, error):
    started = time.monotonic()
    with camera(answer) as assignment:
        with pytest.raises(error):
            pictures(SnapshotSource(assignment), 1)
        assert time.monotonic() - started < 2


def test_an_old_nonce_costs_one_more_request_and_a_wrong_password_no_more():
    def refusal(nonce):
        return [b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", qop="auth", nonce="%s"\r\n\r\n' % nonce]

    with camera(refusal(b"1"), [PICTURE], refusal(b"2"), [PICTURE], username="u") as assignment:
        assert len(pictures(SnapshotSource(assignment), 2)) == 2
    with camera(refusal(b"1"), refusal(b"2"), username="u") as assignment, pytest.raises(AuthError):
        pictures(SnapshotSource(assignment), 1)


@pytest.mark.parametrize("url", ["http://a..b/x", "http://[::1]:1/x"])
@pytest.mark.parametrize("kind", [MjpegSource, SnapshotSource])
def test_nobody_there(url, kind):
    with pytest.raises(DeviceUnavailable):
        pictures(kind(Assignment(url=url, capture="mjpeg", stalled_s=0.3)), 1)
