"""CameraLink: where a camera is and how to log in to it. The connection itself is the worker process's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.errors import AuthError

if TYPE_CHECKING:
    from telemetry.counters import Counters

MAX_PASSWORD_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """User and password; never prints the password."""

    username: str = ""
    password: str = field(default="", repr=False)


class CameraLink:
    """The address of one camera. `in_use` is set by the driver while a worker shows pictures of it."""

    def __init__(
        self,
        name: str,
        counters: Counters,
        *,
        url: str,
        capture: str,
        path: str = "",
        username: str = "",
        password_file: Path | None = None,
    ) -> None:
        self.name = name
        self.counters = counters
        self.url = url
        """Without credentials."""
        self.capture = capture
        """`rtsp`, `mjpeg`, `snapshot`, `file` or `v4l2`."""
        self.path = path
        """A local camera's file or device; it has no address."""
        self.in_use = False
        self._username = username
        self._password_file = password_file

    @property
    def is_open(self) -> bool:
        """Tell whether the camera's pictures come in now."""
        return self.in_use

    def login(self) -> Login:
        """Return the credentials as the file says now. Raises AuthError if it cannot be read."""
        if self._password_file is None:
            return Login(username=self._username)
        try:
            with Path(self._password_file).open("rb") as file:
                text = file.read(MAX_PASSWORD_BYTES + 1).decode().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is no text"
            raise AuthError(f"link {self.name}: password_file {self._password_file}: {reason}") from None
        if len(text.encode()) > MAX_PASSWORD_BYTES:
            raise AuthError(f"link {self.name}: password_file {self._password_file}: is too long for a password")
        return Login(username=self._username, password=text)

    async def close(self) -> None:
        """Nothing to close here: the worker ends with its driver."""
        self.in_use = False
