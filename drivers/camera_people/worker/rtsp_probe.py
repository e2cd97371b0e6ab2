"""One RTSP DESCRIBE of our own: OpenCV says only that a stream did not open, not whether the login was refused."""

from __future__ import annotations

import re
import secrets
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drivers.camera_people.worker.auth import authorization, challenges
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment

MAX_BYTES: Final = 65_536
_STATUS: Final = re.compile(rb"RTSP/\d\.\d (\d{3})(?: |\Z)")
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One RTSP response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def parse_response(data: bytes) -> Response | None:
    """Return the response in `data`; none if more bytes are needed. Raises ProtocolError for what is no response."""
    if not b"RTSP/".startswith(data[:5]):
        raise ProtocolError("the camera does not speak RTSP")
    head, blank, rest = data.partition(b"\r\n\r\n")
    if len(data) > MAX_BYTES:
        raise ProtocolError("an RTSP response without end")
    if not blank:
        return None
    first, *lines = head.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise ProtocolError("the camera does not speak RTSP")
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    headers = [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon]
    lengths = [value for name, value in headers if name == "content-length"]
    length = int(lengths[0]) if lengths and re.fullmatch(r"\d{1,6}", lengths[0]) else 0
    if len(rest) < length:
        return None
    return Response(status=int(status[1]), headers=headers, body=rest[:length])


def probe(assignment: Assignment, *, timeout_s: float) -> None:
    """Return if the camera describes a video. Raises AuthError, DeviceUnavailable, ProtocolError."""
    end = time.monotonic() + timeout_s
    response = _describe(assignment, end, None)
    if response.status == _UNAUTHORIZED:
        offered = challenges(value for name, value in response.headers if name == "www-authenticate")
        if not assignment.username or not offered:
            raise AuthError("the camera wants a login")
        answer = authorization(
            offered[0],
            method="DESCRIBE",
            uri=assignment.url,
            username=assignment.username,
            password=assignment.password,
            cnonce=secrets.token_hex(8),
        )
        response = _describe(assignment, end, answer)
    if response.status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise AuthError("the camera refuses the login")
    if response.status != _OK:
        raise DeviceUnavailable(f"the camera answers {response.status}")
    if b"m=video" not in response.body:
        raise ProtocolError("the stream has no video")


def _describe(assignment: Assignment, end: float, answer: str | None) -> Response:
    lines = [f"DESCRIBE {assignment.url} RTSP/1.0", "CSeq: 1", "Accept: application/sdp", "User-Agent: campus-edge"]
    if answer is not None:
        lines.append(f"Authorization: {answer}")
    request = "\r\n".join([*lines, "", ""]).encode()
    data = b""
    try:
        with closing(socket.create_connection(assignment.address, _left(end))) as connection:
            connection.sendall(request)
            while (response := parse_response(data)) is None:
                connection.settimeout(_left(end))
                piece = connection.recv(MAX_BYTES)
                if not piece:
                    raise DeviceUnavailable("the camera hangs up")
                data += piece
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
        raise DeviceUnavailable("the camera cannot be reached") from error
    return response


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
