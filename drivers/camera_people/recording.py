"""Recorder: every record as the worker sent it, for an auditor to hold against the store; bounded, mode 0600."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)


class Recorder:
    """Appends to `path` (mode 0600); a full file becomes `path.1`, whose forerunner goes. A failure is counted."""

    def __init__(self, path: str, *, max_bytes: int, device: str, counters: Counters) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._counter = f"device.{device}.unrecorded"
        self._counters = counters
        self._complained = False

    def append(self, at_ns: int, record: bytes) -> None:
        """Write one line; never raises."""
        line = json.dumps({"at_ns": at_ns, "record": record.hex()}).encode() + b"\n"
        try:
            self._write(line)
            self._complained = False
        except OSError as error:
            self._counters.add(self._counter)
            if not self._complained:
                self._complained = True
                _LOG.warning("records_file %s: %s", self._path, error.strerror)

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, line)
            full = os.fstat(descriptor).st_size >= self._max_bytes
        finally:
            os.close(descriptor)
        if full:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
