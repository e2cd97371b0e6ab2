"""Which bands are somebody's. The file holds ids of bands, so it is nobody else's to read, and no error quotes it.

A file that is wrong or missing binds nobody, and stops nothing else: air is measured without it.
"""

from __future__ import annotations

import logging
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID
from telemetry.validation import validated

if TYPE_CHECKING:
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
SEE: Final = "drivers/ble_heart_rate/README.md"
LOOK_S: Final = 2.0
MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class _File:
    schema: Literal["campus.bands/1"]
    bound: list[Annotated[str, Field(min_length=1, max_length=64)]]


def load_bindings(path: str) -> frozenset[str]:
    """Return the ids of the bound bands. Raises ConfigError, without quoting an id."""
    where = path
    mend = 'write schema = "campus.bands/1" and bound = ["…"], and chmod 0600'
    try:
        file = Path(path)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigError([Problem(where=where, what="others may read it", mend=f"chmod 0600 {path}")])
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(where=where, what="is too large to be a list of bands", mend=mend)])
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(where=where, what=error.strerror or "cannot be read", mend=mend)]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise ConfigError([Problem(where=where, what="is no TOML", mend=mend)]) from None
    found: list[Problem] = []
    parsed = validated(_File, table, where, found, see=SEE)
    if parsed is None:
        # The library's text may quote what it found: an id.
        raise ConfigError([Problem(where=where, what="is not a list of bands", mend=mend)])
    return frozenset(parsed.bound)


class Bindings:
    """The bound bands as the file says now; an unreadable file binds nobody, is counted, and logged once."""

    def __init__(self, path: str, *, device: str, counters: Counters) -> None:
        self._path = path
        self._counter = f"device.{device}.bindings_unreadable"
        self._counters = counters
        self._complaint: str | None = None
        self._looked_s: float | None = None
        self._seen: tuple[int, int, int] | None = None
        self._bound: frozenset[str] = frozenset()

    def has(self, band: str, *, now_s: float) -> bool:
        """Tell whether `band` is somebody's; the file is looked at again every few seconds of monotonic `now_s`."""
        if self._path and (self._looked_s is None or now_s - self._looked_s >= LOOK_S):
            self._looked_s = now_s
            self._look()
        return band in self._bound

    def _look(self) -> None:
        try:
            state = _state(self._path)
            if state is not None and state == self._seen:
                return
            self._bound = load_bindings(self._path)
            self._seen, self._complaint = state, None
        except ConfigError as error:
            self._bound, self._seen = frozenset(), None
            self._counters.add(self._counter)
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.warning("no band is anybody's: %s", error)


def _state(path: str) -> tuple[int, int, int] | None:
    """Return what changes when the file does; none if it cannot be looked at."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_mode
