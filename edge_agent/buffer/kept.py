"""A few figures of the running agent, kept on disk for whoever asks while it does not run. Small and rarely written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from edge_agent.buffer.rates import FlashState
from edge_agent.buffer.small import read_small, small_text

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.buffer.disk import Disk

NAME: Final = "figures"
SCHEMA: Final = "campus.buffer-figures/1"
_BYTES: Final = 2048


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knew at `at_ns`."""

    schema: str = SCHEMA
    at_ns: int
    per_hour: dict[str, float]
    """Bytes of records an hour, by priority."""
    measured: bool
    """Else the rate was an estimate."""
    flash: FlashState


def read_figures(folder: Path) -> Figures | None:
    """Return what was kept; none if it is missing or torn: it is only told, nothing depends on it."""
    try:
        figures = read_small(folder / NAME, Figures)
    except OSError:
        return None
    return figures if figures is not None and figures.schema == SCHEMA else None


def write_figures(folder: Path, figures: Figures, disk: Disk) -> None:
    """Overwrite the file in place, unsynced: one block, and no new file for the journal. Raises OSError."""
    descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.write(descriptor, small_text(figures, size=_BYTES), 0)
    finally:
        os.close(descriptor)


def kernel_counters(folder: Path) -> dict[str, int]:
    """Return bytes that the kernel says were written, since some start: by this process, and to the folder's device."""
    found: dict[str, int] = {}
    try:
        with open("/proc/self/io", encoding="ascii") as lines:  # noqa: PTH123 - procfs
            found["process"] = int(dict(line.split(": ") for line in lines)["write_bytes"])
    except (OSError, KeyError, ValueError):
        pass
    try:
        number = folder.stat().st_dev
        with open(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat", encoding="ascii") as line:  # noqa: PTH123
            found["device"] = int(line.read().split()[6]) * 512
    except (OSError, IndexError, ValueError):
        pass
    return found
