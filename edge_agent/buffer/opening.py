"""Opening the buffer directory: the lock, the identity, what an earlier run left."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.identity import Identity, Meta, new_epoch, read_meta, write_meta
from edge_agent.buffer.keeper import Keeper
from edge_agent.buffer.kept import Figures, read_figures
from edge_agent.buffer.priority import Priority
from edge_agent.buffer.recent import WINDOW_NS, RecentEvents
from edge_agent.buffer.stream import Stream
from telemetry.batch import decode_batch, unpack
from telemetry.errors import ConfigError, Problem, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from telemetry.counters import Counters

KEEP_EVENTS_NS: Final = 60_000_000_000
"""Files with events younger than this stay, acknowledged or not: a resumed event may have to find them."""
_SHARE: Final = 512
_MIN_SEGMENT: Final = 64 * 1024
_MAX_SEGMENT: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An opened buffer directory."""

    path: Path
    identity: Identity
    keepers: tuple[Keeper, ...]
    """One for each priority, the most valuable first."""
    recent: RecentEvents
    figures: Figures | None
    """What the run before knew."""
    lock: int

    @property
    def events(self) -> Keeper:
        """What is made durable at once."""
        return self.keepers[Priority.EVENTS]

    @property
    def spilled(self) -> tuple[Keeper, ...]:
        """What goes to disk only if it was not acknowledged in time."""
        return self.keepers[Priority.EVENTS + 1 :]

    def release(self) -> None:
        """Let another process use the directory."""
        os.close(self.lock)


async def open_directory(
    path: Path, *, site: str, gateway: str, max_bytes: int, counters: Counters, now_ns: Callable[[], int]
) -> Opened:
    """Open the directory, made if missing. Raises ConfigError if it cannot be used; damage inside is no reason."""
    lock = _lock(path)
    segment_bytes = min(max(max_bytes // _SHARE, _MIN_SEGMENT), _MAX_SEGMENT)
    spill = asyncio.Event()
    keepers = tuple(
        Keeper(
            Stream(
                path / priority.folder,
                segment_bytes=segment_bytes,
                quarantine_folder=path / "quarantine",
                keep_ns=KEEP_EVENTS_NS if priority is Priority.EVENTS else 0,
                now_ns=now_ns,
            ),
            counters,
            priority=priority,
            wake=None if priority is Priority.EVENTS else spill,
        )
        for priority in Priority
    )
    events = keepers[Priority.EVENTS]
    recent = RecentEvents()
    try:
        for keeper in keepers:
            await keeper.call(keeper.stream.open)
        identity = await events.call(
            lambda: _identity(
                path / "meta",
                site=site,
                gateway=gateway,
                waiting=sum(keeper.state.batches for keeper in keepers),
                stream=events.stream,
            )
        )
        await events.call(lambda: _recover(events.stream, recent, now_ns()))
    except (OSError, ConfigError) as error:
        for keeper in keepers:
            await keeper.close()
        os.close(lock)
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([_unusable(path, error)]) from error
    try:
        await events.call(lambda: events.stream.prepare(identity.epoch))
    except OSError as error:
        events.error = str(error)
        counters.add("buffer.disk_errors")
    figures = await events.call(lambda: read_figures(path))
    return Opened(path=path, identity=identity, keepers=keepers, recent=recent, figures=figures, lock=lock)


def _lock(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([_unusable(path, error)]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        problem = Problem(
            where=f"buffer.path {path}",
            what="another process is using this buffer",
            mend="stop the other agent, or give each gateway a directory of its own",
        )
        raise ConfigError([problem]) from error
    return lock


def _unusable(path: Path, error: OSError) -> Problem:
    return Problem(
        where=f"buffer.path {path}",
        what=f"cannot be used: {error.strerror or error}",
        mend="make it a directory that the agent's user may write to, on a disk with free space",
    )


def _renamed(path: Path, old: Meta, waiting: int) -> Problem:
    # What waits says whose it is: under another name the broker or the ingest would refuse it.
    name = f"gateway {old.gateway!r} of site {old.site!r}"
    return Problem(
        where=f"buffer.path {path}",
        what=f"{waiting} batches of {name} wait here to be sent, and the settings name another",
        mend=f'run once more with site = "{old.site}", gateway = "{old.gateway}" until `edge-agent buffer status` '
        "says that nothing waits; or give this gateway another buffer.path, and those batches stay where they are",
    )


def _identity(path: Path, *, site: str, gateway: str, waiting: int, stream: Stream) -> Identity:
    try:
        meta = read_meta(path)
    except OSError:
        meta = None
    if meta is None and path.exists():
        stream.counts.add("buffer.meta_unreadable")
    other = meta is not None and (meta.site, meta.gateway) != (site, gateway)
    if meta is not None and other and waiting:
        raise ConfigError([_renamed(path.parent, meta, waiting)])
    if meta is None or other:
        meta = Meta(site=site, gateway=gateway, epoch=new_epoch(), reserved=1)
    identity = Identity(site=site, gateway=gateway, epoch=meta.epoch, first=meta.reserved)
    reserving = identity.next_meta()
    try:
        write_meta(path, reserving, stream.disk)
    except OSError:
        # Without a reserved block the first batch mints an epoch of its own.
        stream.counts.add("buffer.disk_errors")
    else:
        identity.reserve(reserving)
    return identity


def _recover(stream: Stream, recent: RecentEvents, now_ns: int) -> None:
    newest = min(stream.newest_at_ns, now_ns) if stream.newest_at_ns else now_ns
    for payload in stream.recent_payloads(newest - WINDOW_NS):
        try:
            recent.recover(decode_batch(unpack(payload)))
        except ProtocolError:
            stream.counts.add("buffer.unreadable_batches")
