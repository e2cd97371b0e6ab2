"""HTTP to a camera: one GET with Basic or Digest, bounded in time and size."""

from __future__ import annotations

import http.client
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from drivers.camera_people.worker.auth import Challenge, authorization, challenges
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


class HttpCamera:
    """Asks for one address, again and again; remembers how the camera wants to be logged in to."""

    def __init__(self, assignment: Assignment, *, timeout_s: float) -> None:
        parts = urlsplit(assignment.url)
        self._host, self._port = assignment.address
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._assignment = assignment
        self._timeout_s = timeout_s
        self._challenge: Challenge | None = None
        self._uses = 0
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None

    def get(self) -> http.client.HTTPResponse:
        """Return the camera's answer, its body unread. Raises AuthError, DeviceUnavailable, ProtocolError."""
        for attempt in (1, 2):
            response = self._ask()
            if response.status == _OK:
                return response
            if response.status == _FORBIDDEN:
                raise AuthError("the camera forbids it")
            if response.status != _UNAUTHORIZED:
                raise DeviceUnavailable(f"the camera answers {response.status}")
            offered = challenges(response.headers.get_all("WWW-Authenticate") or [])
            # A first attempt may have used a nonce of an earlier connection: it is tried once more.
            if attempt == 2 or not self._assignment.username or not offered:  # noqa: PLR2004
                break
            self._challenge, self._uses = offered[0], 0
        raise AuthError("the camera refuses the login")

    def close(self) -> None:
        """Disconnect; the response holds the socket too."""
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self) -> http.client.HTTPResponse:
        self.close()
        headers = {"Accept": "image/jpeg, multipart/x-mixed-replace", "Connection": "close"}
        if self._challenge is not None:
            self._uses += 1
            headers["Authorization"] = authorization(
                self._challenge,
                method="GET",
                uri=self._target,
                username=self._assignment.username,
                password=self._assignment.password,
                cnonce=secrets.token_hex(8),
                count=self._uses,
            )
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            self._connection.request("GET", self._target, headers=headers)
            self._response = self._connection.getresponse()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            raise DeviceUnavailable("the camera cannot be reached") from error
        except (http.client.HTTPException, ValueError) as error:
            raise ProtocolError("the camera does not speak HTTP") from error
        return self._response
