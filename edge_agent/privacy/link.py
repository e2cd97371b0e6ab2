"""The officer's look-up: whose handle is this? Each look-up is written down first; without a log there is none."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_agent.privacy.keys import GatewayKeys
    from telemetry.sample import Subject

LOG_NAME: Final = "link-audit.jsonl"
_START: Final = "0" * 64


def find_identifier(handle: str, keys: GatewayKeys, subjects: Iterable[Subject]) -> tuple[str, Subject] | None:
    """Return (purpose, subject) whose handle it is under these keys; none if it is nobody's of `subjects`."""
    for subject in subjects:
        for purpose in keys.keys:
            if keys.handle(purpose, subject) == handle:
                return purpose, subject
    return None


def write_down(path: Path, entry: dict[str, Any]) -> None:
    """Append one entry to the look-up log, chained to the one before by its hash; fsynced. Raises ConfigError."""
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            last = file.read().splitlines()[-1:]
            previous = hashlib.sha256(last[0]).hexdigest() if last else _START
            told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": _who(), **entry, "prev": previous}
            file.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        mend = "the look-up is not made unless it can be written down: mend the folder's rights"
        raise ConfigError([Problem(where=str(path), what=error.strerror or "cannot be written", mend=mend)]) from error


def verify_log(path: Path) -> list[int]:
    """Return the numbers (from 1) of lines before which something was altered, removed or put in. Raises OSError."""
    previous, wrong = _START, []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            told = json.loads(line).get("prev")
        except (ValueError, AttributeError):
            told = None
        if told != previous:
            wrong.append(number)
        previous = hashlib.sha256(line).hexdigest()
    return wrong


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"
