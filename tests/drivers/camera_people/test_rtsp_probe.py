"""The DESCRIBE of our own: what it makes of a camera's answers, and of anything else."""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.assignment import Assignment
from drivers.camera_people.worker.rtsp_probe import MAX_BYTES, parse_response, probe
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\n"
GOOD = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(SDP), SDP)
WANTS_LOGIN = b'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="cam", nonce="n1"\r\n\r\n'


@contextmanager
def camera(*answers: bytes | list[bytes]):
    """A camera that gives one answer a connection, a list drop by drop; yields (assignment, requests)."""
    requests = []

    def serve(listener):
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(4096))
                with suppress(OSError):  # whoever asked had enough
                    for piece in answer if isinstance(answer, list) else [answer]:
                        connection.sendall(piece)
                        time.sleep(0.03 if isinstance(answer, list) else 0)

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"rtsp://[::1]:{listener.getsockname()[1]}/s"
        try:
            yield Assignment(url=url, capture="rtsp", username="u", password="p w"), requests  # noqa: S106
        finally:
            thread.join()


def test_a_camera_that_describes_a_video_is_good():
    with camera(GOOD) as (assignment, requests):
        probe(assignment, timeout_s=5)
    assert requests[0].startswith(f"DESCRIBE {assignment.url} RTSP/1.0\r\n".encode())
    assert b"Authorization" not in requests[0]


def test_the_login_is_digest():
    with camera(WANTS_LOGIN, GOOD) as (assignment, requests):
        probe(assignment, timeout_s=5)
    secret, what = (
        hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - Digest
        for text in ("u:cam:p w", f"DESCRIBE:{assignment.url}")
    )
    expected = hashlib.md5(f"{secret}:n1:{what}".encode()).hexdigest()  # noqa: S324
    assert f'response="{expected}"'.encode() in requests[1]
    assert b"p w" not in b"".join(requests)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((WANTS_LOGIN, WANTS_LOGIN), AuthError),
        ((WANTS_LOGIN.replace(b"Digest", b"Negotiate"),), AuthError),
        ((b"RTSP/1.0 403 Forbidden\r\n\r\n",), AuthError),
        ((b"RTSP/1.0 404 Not Found\r\n\r\n",), DeviceUnavailable),
        ((GOOD.replace(b"video", b"audio"),), ProtocolError),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ProtocolError),
        ((b"RTSP/1.0 2",), DeviceUnavailable),
        ((b"",), DeviceUnavailable),
    ],
)
def test_what_is_wrong_is_told_apart(answers, error):
    with camera(*answers) as (assignment, _), pytest.raises(error):
        probe(assignment, timeout_s=5)


def test_an_answer_drop_by_drop_is_given_up_in_time():
    drops = [GOOD[at : at + 1] for at in range(len(GOOD))]
    with camera(drops) as (assignment, _), pytest.raises(DeviceUnavailable):
        probe(assignment, timeout_s=0.3)


def test_nobody_there():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        url = f"rtsp://[::1]:{listener.getsockname()[1]}/s"
        with pytest.raises(DeviceUnavailable):  # connected, and no answer in time
            probe(Assignment(url=url, capture="rtsp"), timeout_s=0.2)
    for gone in (url, "rtsp://a..b/s"):
        with pytest.raises(DeviceUnavailable):
            probe(Assignment(url=gone, capture="rtsp"), timeout_s=1)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: b"RTSP/1.0 200 OK\r\n" + rest))
def test_any_bytes_are_a_response_or_our_own_error(data):
    try:
        response = parse_response(data)
    except ProtocolError:
        return
    assert response is None or 0 <= response.status <= 999


@given(st.integers(0, len(GOOD)))
def test_a_response_is_whole_or_not_there(size):
    response = parse_response(GOOD[:size])
    assert (response is not None) == (size == len(GOOD))


def test_a_response_without_end_is_given_up():
    with pytest.raises(ProtocolError):
        parse_response(b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * MAX_BYTES)
