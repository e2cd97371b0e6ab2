"""What is known of a request to erase, from its first minute to the last gateway's return; no handle stands in it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from telemetry.erasure import Erasure
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "erasures"
SCHEMA: Final = "campus.erasure-state/1"
_SERIAL: Final = "serial"
_NS: Final = 1_000_000_000


class GatewayState(msgspec.Struct, kw_only=True):
    """What one gateway answered."""

    confirmed_at_ns: int | None = None
    values: int = 0
    """Values in its buffer that were purged."""
    still_consented: int = 0
    """Of the erased handles, how many its list of consents still names: it goes on measuring them."""
    said: str = ""
    """Its last refusal."""


class WorkerState(msgspec.Struct, kw_only=True):
    """What one worker of the ingest confirmed."""

    confirmed_at_ns: int | None = None
    letters: int = 0
    seen_at_ns: int = 0
    """When it said last that it runs."""


class StoreState(msgspec.Struct, kw_only=True):
    """What was done in one store; summed up over all attempts."""

    found_rows: dict[str, int] = {}
    """Measurement → rows."""
    series: int = 0
    erased_at_ns: int | None = None
    verified_at_ns: int | None = None
    verified: str = ""
    """How it was looked whether anything is left."""
    remains: str = ""
    """What the store itself must be made to forget, and how."""


class State(msgspec.Struct, kw_only=True):
    """One request."""

    schema: str = SCHEMA
    request: str
    site: str
    asked_at_ns: int
    asked_by: str
    reason: str
    erasure: Erasure
    lifted_until_ns: int = 0
    """Set when it was lifted: until then a worker that was away may still have to learn that."""
    gateways: dict[str, GatewayState] = {}
    workers: dict[str, WorkerState] = {}
    stores: dict[str, StoreState] = {}
    letters: int = 0
    """Dead letters in this data folder that held rows of theirs."""
    retained: int | None = None
    """Retained messages that hold one of the handles; none: not looked yet."""
    handed_over: list[dict[str, Any]] = []
    backups: list[str] = []
    complete_at_ns: int | None = None

    @property
    def pending_gateways(self) -> list[str]:
        """Gateways that have not confirmed yet."""
        return sorted(name for name, one in self.gateways.items() if one.confirmed_at_ns is None)

    @property
    def pending_workers(self) -> list[str]:
        """Workers that have not confirmed yet."""
        return sorted(name for name, one in self.workers.items() if one.confirmed_at_ns is None)

    @property
    def pending_stores(self) -> list[str]:
        """Stores in which nobody has verified yet that nothing is left."""
        return sorted(name for name, one in self.stores.items() if one.verified_at_ns is None)

    @property
    def pending(self) -> bool:
        """Whether anything is left to be done."""
        return bool(self.pending_gateways or self.pending_workers or self.pending_stores or not self.stores)


class States:
    """The requests' files in `DATA/erasures`, mode 0600."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def save(self, state: State) -> None:
        """Write a request's state. Raises ConfigError."""
        try:
            self._replace(self._folder / f"{state.request}.json", msgspec.json.encode(state))
        except OSError as error:
            raise self._unusable(error) from error

    def load(self, request: str) -> State:
        """Return a request's state. Raises ConfigError if there is none."""
        for state in self.all():
            if state.request == request:
                return state
        known = ", ".join(state.request for state in self.all()) or "none"
        raise ConfigError(
            [
                Problem(
                    where=f"request {request[:40]!r}", what="is not known here", mend=f"known in this --data: {known}"
                )
            ]
        )

    def all(self) -> list[State]:
        """Return all requests, oldest first. Raises ConfigError."""
        try:
            found = [msgspec.json.decode(path.read_bytes(), type=State) for path in self._folder.glob("*.json")]
        except (OSError, msgspec.DecodeError) as error:
            raise self._unusable(error) from error
        return sorted(found, key=lambda state: state.asked_at_ns)

    def next_serial(self) -> int:
        """Return an order's serial: larger than any before, also after this folder was lost. Raises ConfigError."""
        path = self._folder / _SERIAL
        try:
            last = int(path.read_text()) if path.exists() else 0
            serial = max(last + 1, time.time_ns() // _NS)
            self._replace(path, str(serial).encode())
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        return serial

    def receipt_path(self, request: str) -> Path:
        """Return where the newest receipt of a request is kept."""
        return self._folder / f"{request}.receipt"

    def write_receipt(self, request: str, receipt: bytes) -> Path:
        """Keep a receipt; return its path. Raises ConfigError."""
        try:
            self._replace(self.receipt_path(request), receipt)
        except OSError as error:
            raise self._unusable(error) from error
        return self.receipt_path(request)

    def _replace(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _unusable(self, error: Exception) -> ConfigError:
        what = f"cannot be used: {error}"
        return ConfigError([Problem(where=str(self._folder), what=what, mend="run this as the ingest's user")])
