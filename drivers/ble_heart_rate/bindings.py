"""Which bands are somebody's. The file holds ids of bands, so it is nobody else's to read, and no error quotes it."""

from __future__ import annotations

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
    """The bound bands as the file says now; an unreadable file binds nobody, and is counted."""

    def __init__(self, path: str, *, device: str, counters: Counters) -> None:
        self._path = path
        self._counter = f"device.{device}.bindings_unreadable"
        self._counters = counters
        self._looked_s: float | None = None
        self._seen: tuple[int, int] | None = None
        self._bound: frozenset[str] = frozenset()

    def has(self, band: str, *, now_s: float) -> bool:
        """Tell whether `band` is somebody's; the file is looked at again every few seconds of monotonic `now_s`."""
        if self._path and (self._looked_s is None or now_s - self._looked_s >= LOOK_S):
            self._looked_s = now_s
            self._look()
        return band in self._bound

    def _look(self) -> None:
        try:
            state = Path(self._path).stat()
            if (state.st_mtime_ns, state.st_ino) == self._seen:
                return
            self._bound = load_bindings(self._path)
            self._seen = (state.st_mtime_ns, state.st_ino)
        except (OSError, ConfigError):
            self._bound, self._seen = frozenset(), None
            self._counters.add(self._counter)
