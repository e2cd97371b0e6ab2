"""Gateways whose batches are refused: stolen ones. `DATA/revoked.json` names them and is read while the ingest runs."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)
FILE_NAME: Final = "revoked.json"
SCHEMA: Final = "campus.revoked/1"
REASON: Final = "gateway_revoked"
LOOK_EVERY_S: Final = 0.5


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway that is refused."""

    site: str
    gateway: str
    at_ns: int
    by: str = ""
    reason: str = ""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    schema: str = SCHEMA
    gateways: list[Revocation] = []


class Revoked:
    """Tells whether a gateway is refused; looks at the file twice a second at most."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._names: frozenset[tuple[str, str]] = frozenset()

    def __call__(self, site: str, gateway: str) -> bool:
        """Tell whether batches of the gateway are refused."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._look()
        return (site, gateway) in self._names

    def _look(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            stamp = None
        else:
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._names = frozenset((one.site, one.gateway) for one in read(self._path))
        except ConfigError as error:
            # Whoever was refused stays so.
            _log.error("%s", error)


def read(path: Path) -> list[Revocation]:
    """Return the gateways in the file; none if there is no file. Raises ConfigError."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(where=str(path), what=f"cannot be used: {error}", mend="restore it")]) from error
    return content.gateways


def add(data: Path, revocation: Revocation) -> None:
    """Refuse a gateway from now on. Raises ConfigError."""
    path = data / FILE_NAME
    others = [one for one in read(path) if (one.site, one.gateway) != (revocation.site, revocation.gateway)]
    _write(path, [*others, revocation])


def remove(data: Path, site: str, gateway: str) -> bool:
    """Take a gateway's batches again; false if it was not refused. Raises ConfigError."""
    path = data / FILE_NAME
    before = read(path)
    left = [one for one in before if (one.site, one.gateway) != (site, gateway)]
    _write(path, left)
    return len(left) < len(before)


def _write(path: Path, gateways: list[Revocation]) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(gateways=gateways))))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        problem = Problem(where=str(path), what=error.strerror or "", mend="run this as the ingest's user")
        raise ConfigError([problem]) from error
