"""Health: the document on `health`, the gateway's own row in the store, and the watchdog."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from edge_agent.clock import boot_id
from edge_agent.notify import notify, watchdog_period_s
from telemetry.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from edge_agent.buffer import FlashState
    from edge_agent.clock import Clock
    from edge_agent.collector import DeviceState
    from edge_agent.privacy import Documents
    from edge_agent.settings import Settings
    from telemetry.counters import Counters

SCHEMA: Final = "campus.health/1"
ROW_EVERY_S: Final = 60.0
DISK_HANGS_S: Final = 30.0
"""A write that takes so long: the flash card or its driver is stuck, and a restart is the only cure."""
MIN_PATIENCE_S: Final = 30.0
_PERIODS_OF_PATIENCE: Final = 5
_DROPPED: Final = ("buffer.dropped_values", "buffer.expired_values")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class BufferState(Protocol):
    """What health needs to know of the buffer."""

    @property
    def batches(self) -> int: ...  # noqa: D102 - named for what it counts
    @property
    def values(self) -> int: ...  # noqa: D102
    @property
    def disk_bytes(self) -> int: ...  # noqa: D102
    @property
    def oldest_age_s(self) -> float | None: ...  # noqa: D102
    @property
    def hours_left(self) -> float | None: ...  # noqa: D102
    @property
    def hours_left_of(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def rate(self) -> str | None: ...  # noqa: D102
    @property
    def disk_error(self) -> str | None: ...  # noqa: D102
    @property
    def flash(self) -> FlashState | None: ...  # noqa: D102


class WaitingState(Protocol):
    """What health needs to know of the waiting room."""

    @property
    def samples(self) -> int: ...  # noqa: D102 - named for what it counts
    @property
    def bytes(self) -> int: ...  # noqa: D102


def rss_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


class Health:
    """Gathers what a user needs to see; everything that was dropped is among the counters."""

    def __init__(
        self,
        settings: Settings,
        *,
        epoch: str,
        clock: Clock,
        counters: Counters,
        devices: Mapping[str, DeviceState],
        buffer: Callable[[], BufferState],
        documents: Documents,
        keys: bool,
        audit: Callable[[], dict[str, Any] | None] = lambda: None,
        waiting: Callable[[], WaitingState | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._clock = clock
        self._counters = counters
        self._devices = devices
        self._buffer = buffer
        self._documents = documents
        self._keys = keys
        self._audit = audit
        self._waiting = waiting
        self._started_s = time.monotonic()

    def document(self) -> dict[str, Any]:
        """Return the health document."""
        buffer = self._buffer()
        return {
            "schema": SCHEMA,
            "site": self._settings.site,
            "gateway": self._settings.gateway,
            "epoch": self._epoch,
            "boot_id": boot_id(),
            "at_ns": self._clock.now_ns(),
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "clock": "synced" if self._clock.synced() else "unsynced",
            "time": self._time(),
            "simulated": self._settings.simulated,
            "gate_closed_for_people": self._documents.closed(keys=self._keys),
            "documents": self._documents.report(),
            "audit": self._audit(),
            "buffer": {
                "batches": buffer.batches,
                "values": buffer.values,
                "bytes": buffer.disk_bytes,
                "oldest_age_s": buffer.oldest_age_s,
                "hours_left": buffer.hours_left,
                "hours_left_of": dict(buffer.hours_left_of),
                "rate": buffer.rate,
                "disk_error": buffer.disk_error,
            },
            "flash": None if buffer.flash is None else asdict(buffer.flash),
            "devices": {name: state.document() for name, state in self._devices.items()},
            "counters": self._counters.snapshot(),
        }

    def _time(self) -> dict[str, Any]:
        """Return by what the time is known, how often it was moved, and what waits for it."""
        waiting = self._waiting()
        return {
            "source": str(self._clock.source),
            "held": self._clock.held,
            "steps": self._clock.steps,
            "last_step_s": round(self._clock.last_step_ns / 1e9, 3),
            "waiting_samples": waiting.samples if waiting is not None else 0,
            "waiting_bytes": waiting.bytes if waiting is not None else 0,
        }

    def row(self) -> Sample:
        """Return the gateway's own sample, of class `ops`."""
        buffer = self._buffer()
        up = sum(state.document()["state"] == "up" for state in self._devices.values())
        dropped = sum(n for name, n in self._counters.snapshot().items() if name.startswith(_DROPPED))
        return Sample(
            device=self._settings.gateway,
            acquired_at_ns=self._clock.even_ns(),
            values={
                "uptime": round(time.monotonic() - self._started_s, 1),
                "rss": float(rss_bytes()),
                "buffer_bytes": float(buffer.disk_bytes),
                "buffer_age": float(buffer.oldest_age_s or 0.0),
                "devices_up": float(up),
                "devices_down": float(len(self._devices) - up),
                "dropped_values": float(dropped),
            },
        )


async def tell(
    health: Health,
    publish: Callable[[dict[str, Any]], Awaitable[None]],
    emit: Callable[[Sample], Awaitable[None]],
    *,
    period_s: float,
) -> None:
    """Publish the health document each period and the gateway's row each minute, until cancelled."""
    row_due = 0.0
    while True:
        if time.monotonic() >= row_due:
            row_due = time.monotonic() + ROW_EVERY_S
            await emit(health.row())
        await publish(health.document())
        await asyncio.sleep(period_s)


class Progress:
    """Whether the agent really works: samples move on and the disk does not hang; that the loop turns is not enough."""

    def __init__(self, polled: Sequence[tuple[DeviceState, float]], disk_busy_s: Callable[[], float]) -> None:
        self._polled = polled
        """The devices that are read, each with its period in s: the others may be silent for as long as they like."""
        self._disk_busy_s = disk_busy_s
        self._last = -1
        self._moved_s = time.monotonic()

    def alive(self) -> bool:
        """Tell whether something moved lately, if there is a device that has to be read now."""
        passed = sum(state.passed for state, _ in self._polled)
        longest_s = max((period_s for state, period_s in self._polled if not state.refused), default=None)
        if passed != self._last or longest_s is None:
            self._last, self._moved_s = passed, time.monotonic()
        patience_s = max(MIN_PATIENCE_S, _PERIODS_OF_PATIENCE * (longest_s or 0.0))
        return time.monotonic() - self._moved_s < patience_s and self._disk_busy_s() < DISK_HANGS_S


async def feed_watchdog(progress: Progress) -> None:
    """Tell systemd that the service lives, but only while it makes progress; returns at once if nobody watches."""
    period_s = watchdog_period_s()
    while period_s is not None:
        if progress.alive():
            notify("WATCHDOG=1")
        await asyncio.sleep(period_s)
