"""The access log: who looked at a person's data by the command line, when and why. One JSON line each, chained."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from telemetry.erasure import keyed_hash
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE_NAME: Final = "access.jsonl"
KEY_NAME: Final = "access.key"
EVERYBODY: Final = "*"
"""In place of a handle's hash, where the access was to all people's rows."""
_KEY_BYTES: Final = 32
_GENESIS: Final = "0" * 64


class AccessLog:
    """`DATA/access.jsonl` (0600). A handle stands in it as HMAC-SHA-256 under `DATA/access.key`, never in clear."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME
        self._key_path = data / KEY_NAME

    def write(self, action: str, *, handle: str | None, reason: str, **detail: Any) -> None:
        """Add one access (no handle: to everybody's rows), durable before its data are shown. Raises ConfigError."""
        try:
            subject = EVERYBODY if handle is None else self.hash_of(handle)
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                lines = file.read().splitlines()
                entry = {
                    "at_ns": time.time_ns(), "who": who(), "action": action, "subject": subject, "reason": reason,
                    **detail, "prev": hashlib.sha256(lines[-1]).hexdigest() if lines else _GENESIS,
                }  # fmt: skip
                file.write(json.dumps(entry, ensure_ascii=False, sort_keys=True).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            mend = "run this as the ingest's user: nothing about people is shown that is not logged"
            raise ConfigError([Problem(where=str(self._path), what=what, mend=mend)]) from error

    def entries(self) -> list[dict[str, Any]]:
        """Return all accesses, oldest first. Raises ConfigError if the chain is broken: somebody edited the file."""
        found = []
        prev = _GENESIS
        for number, line in enumerate(self._lines(), start=1):
            try:
                entry = json.loads(line)
                fits = entry["prev"] == prev
            except (ValueError, KeyError, TypeError):
                fits = False
            if not fits:
                what = f"line {number} does not continue the one before it: the log was edited"
                raise ConfigError([Problem(where=str(self._path), what=what, mend="find out who did, and keep a copy")])
            found.append(entry)
            prev = hashlib.sha256(line).hexdigest()
        return found

    def of(self, handle: str) -> list[dict[str, Any]]:
        """Return the accesses to a person's rows, those to everybody's too."""
        wanted = {EVERYBODY, self.hash_of(handle)}
        return [entry for entry in self.entries() if entry.get("subject") in wanted]

    def hash_of(self, handle: str) -> str:
        """Return what stands in the log for a handle; the key is made when it is needed first. Raises OSError."""
        try:
            descriptor = os.open(self._key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
        return keyed_hash(self._key_path.read_bytes(), handle)

    def _lines(self) -> Iterator[bytes]:
        try:
            yield from self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return


def plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an access as a receipt tells it: without the log's own chain and hashes."""
    return {name: value for name, value in entry.items() if name not in {"prev", "subject"}}


def who() -> str:
    """Return the user who runs the program, and who was behind sudo."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {behind})" if behind else name
