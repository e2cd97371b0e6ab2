"""Files in which samples of a boot without a synchronised clock wait: grouped, framed with checksums, bounded.

Blocking; used from one thread. A file belongs to one boot and holds either data about people or none. Its records are
those of the log (`record.py`); a group is what one fsync made durable.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.disk import FRESH, Disk
from edge_agent.buffer.quarantine import quarantine, shred, unlinked
from edge_agent.buffer.record import HEADER_BYTES, Damage, Found, Header, Kind, frame, scan
from edge_agent.buffer.small import read_small, write_small, write_synced
from edge_agent.buffer.unsynced_form import (
    NOBODYS,
    Label,
    Stamp,
    Waiting,
    first_record,
    label_of,
    pack,
    unpack,
    values_in,
)
from telemetry.counters import Counters
from telemetry.sample import Durability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edge_agent.buffer.rest import Who
    from telemetry.batch import DeviceInfo

FILE_BYTES: Final = 64 * 1024
"""Small, since what is told again is read by the file."""
PERSONS_FILE_BYTES: Final = 32 * 1024
PERSONS_FILE_NS: Final = 60_000_000_000
"""A file about people spans no more, so that what waited too long is gone from the disk soon."""
_STAMP: Final = ".stamp"
FOLDER: Final = "unsynced"


class Lane(StrEnum):
    """What a file holds; the value is its suffix."""

    AIR = "air"
    PERSONS = "persons"
    """Apart, since these wait for a limited time only, and somebody may withdraw."""


@dataclass(slots=True, kw_only=True)
class WaitingFile:
    """One file, as far as it is known without reading it again."""

    path: Path
    lane: Lane
    sequence: int
    label: Label
    size: int
    used: int = 0
    samples: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0
    """CLOCK_BOOTTIME."""
    told: bool = False
    """All of it is in the buffer; it goes as soon as the disk lets it."""

    def note(self, group: Sequence[Waiting]) -> None:
        """Count a group in."""
        times = [at_ns for at_ns, _ in group]
        self.oldest_ns = min(self.oldest_ns, *times) if self.samples else min(times)
        self.newest_ns = max(self.newest_ns, *times)
        self.samples += len(group)


def _framed(group: Sequence[Waiting]) -> bytes:
    """Return a group's record."""
    header = Header(
        kind=Kind.BATCH,
        event=any(one.durability is Durability.EVENT for _, one in group),
        values=values_in(one for _, one in group),
        samples=len(group),
        oldest_at_ns=min(at_ns for at_ns, _ in group),
    )
    return frame(header, pack(group))


class UnsyncedLog:
    """The folder of such files. All methods raise OSError."""

    def __init__(
        self, folder: Path, *, boot: str, guess_ns: int, devices: Mapping[str, DeviceInfo], quarantine_folder: Path
    ) -> None:
        self.folder = folder
        self.boot = boot
        """Whose samples come now."""
        self.counts = Counters()
        self.disk = Disk()
        self.files: list[WaitingFile] = []
        """Oldest first."""
        self.stamps: list[Stamp] = []
        self._guess_ns = guess_ns
        self._devices = devices
        self._quarantine = quarantine_folder
        self._next = 1
        self._active: dict[Lane, tuple[WaitingFile, int]] = {}

    @property
    def size(self) -> int:
        """Bytes of all files, preallocated space included."""
        return sum(file.size for file in self.files)

    def open(self) -> None:
        """Take in what earlier runs left; torn and damaged groups are quarantined and counted."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.glob("*" + FRESH):
            path.unlink()
        for path in sorted(self.folder.iterdir(), key=lambda path: path.stem):
            if not path.stem.isdecimal():
                continue
            self._next = max(self._next, int(path.stem) + 1)
            try:
                if path.suffix == _STAMP:
                    stamp = read_small(path, Stamp)
                    if stamp is not None:
                        self.stamps.append(stamp)
                elif path.suffix[1:] in set(Lane):
                    self._take_in(path, Lane(path.suffix[1:]))
            except OSError:
                # One bad file costs none of the others.
                self.counts.add("clock.waiting_disk_errors")

    def append(self, lane: Lane, group: Sequence[Waiting]) -> None:
        """Make a group durable: one write and one fdatasync."""
        framed = _framed(group)
        active = self._active.get(lane)
        oldest_ns = min(at_ns for at_ns, _ in group)
        if lane is Lane.PERSONS and active is not None and oldest_ns - active[0].oldest_ns > PERSONS_FILE_NS:
            self.seal(lane)
        file, descriptor = self._writable(lane, len(framed))
        try:
            self.disk.write(descriptor, framed, file.used)
            self.disk.sync(descriptor)
        except OSError:
            self.seal(lane)  # what the disk holds of it is unknown
            raise
        file.note(group)
        file.used += len(framed)

    def growth(self, lane: Lane) -> int:
        """Return an estimate of the disk space that a group takes: none while the present file is not full."""
        active = self._active.get(lane)
        return 0 if active is not None and active[0].used + HEADER_BYTES <= active[0].size else FILE_BYTES

    def seal(self, lane: Lane) -> None:
        """Write no more to the present file; the space that it does not need is given back."""
        active = self._active.pop(lane, None)
        if active is not None:
            file, descriptor = active
            try:
                os.ftruncate(descriptor, file.used)
                file.size = file.used
            finally:
                os.close(descriptor)

    def read(self, file: WaitingFile) -> Iterator[list[Waiting]]:
        """Yield the file's groups in order."""
        data = file.path.read_bytes()
        for item in scan(data):
            if isinstance(item, Found) and item.header.kind == Kind.BATCH:
                group = unpack(data[item.payload_at : item.end])
                if group is not None:
                    yield group

    def remove(self, file: WaitingFile) -> None:
        """Remove a file durably; one about people is overwritten, too."""
        if file not in self.files:
            return
        self._seal_if_active(file)
        old = unlinked(file.path)
        self.files.remove(file)  # it is gone, whatever the disk says to the rest
        self._let_go(old, file.lane)
        for stamp in [one for one in self.stamps if not self.covered(one)]:
            self._stamp_path(stamp).unlink(missing_ok=True)
            self.stamps.remove(stamp)

    def purge(self, who: Who) -> tuple[int, int]:
        """Rewrite the files about people without those for whom `who` is true; return how many samples and values."""
        samples = values = 0
        for file in [one for one in self.files if one.lane is Lane.PERSONS]:
            self._seal_if_active(file)
            groups = list(self.read(file))
            kept = [[item for item in group if item[1].handle is None or not who(item[1].handle)] for group in groups]
            gone = [item[1] for group in groups for item in group if item[1].handle is not None and who(item[1].handle)]
            if gone:
                self._rewrite(file, [group for group in kept if group])
                self.counts.add("clock.purged_samples", len(gone))
                samples += len(gone)
                values += values_in(gone)
        return samples, values

    def stamp(self, stamp: Stamp) -> None:
        """Write down durably by which offset files are told, before the first of them is."""
        self.stamps.append(stamp)
        write_small(self._stamp_path(stamp), stamp, self.disk)

    def stamp_of(self, file: WaitingFile) -> Stamp | None:
        """Return by which offset the file is told; none while nobody knows."""
        for stamp in self.stamps:
            if file.sequence in stamp.files:
                return stamp
        return None

    def covered(self, stamp: Stamp) -> list[WaitingFile]:
        """Return the files that are told by `stamp`."""
        return [file for file in self.files if self.stamp_of(file) == stamp]

    def close(self) -> None:
        """Close all files."""
        for lane in Lane:
            self.seal(lane)

    def _stamp_path(self, stamp: Stamp) -> Path:
        return self.folder / f"{max(stamp.files):012d}{_STAMP}"

    def _seal_if_active(self, file: WaitingFile) -> None:
        if any(active is file for active, _ in self._active.values()):
            self.seal(file.lane)

    def _writable(self, lane: Lane, size: int) -> tuple[WaitingFile, int]:
        active = self._active.get(lane)
        if active is not None and active[0].used + size <= active[0].size:
            return active
        self.seal(lane)
        label = Label(boot=self.boot, guess_ns=self._guess_ns, devices=dict(self._devices))
        first = first_record(label)
        whole = max(PERSONS_FILE_BYTES if lane is Lane.PERSONS else FILE_BYTES, len(first) + size)
        path = self.folder / f"{self._next:012d}.{lane}"
        self._next += 1
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, whole)
            self.disk.write(descriptor, first, 0)
            self.disk.sync_all(descriptor)
            self.disk.sync_folder(self.folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        file = WaitingFile(path=path, lane=lane, sequence=int(path.stem), label=label, size=whole, used=len(first))
        self.files.append(file)
        self._active[lane] = (file, descriptor)
        return file, descriptor

    def _let_go(self, unlinked_file: int, lane: Lane) -> None:
        if lane is Lane.PERSONS:
            shred(unlinked_file, self.disk)
        else:
            os.close(unlinked_file)
        self.disk.sync_folder(self.folder)

    def _take_in(self, path: Path, lane: Lane) -> None:
        data = path.read_bytes()
        file = WaitingFile(path=path, lane=lane, sequence=int(path.stem), label=NOBODYS, size=len(data))
        groups: list[list[Waiting]] = []
        damaged = False
        for item in scan(data):
            if isinstance(item, Damage):
                damaged = True
                self._damage(path, item, data)
                continue
            file.used = max(file.used, item.end)
            if item.header.kind == Kind.SEGMENT:
                file.label = label_of(data[item.payload_at : item.end]) or NOBODYS
            elif item.header.kind == Kind.BATCH:
                group = unpack(data[item.payload_at : item.end])
                if group is None:
                    damaged = True
                    self.counts.add("clock.lost_samples", item.header.samples)
                else:
                    groups.append(group)
        for group in groups:
            file.note(group)
        if not groups:
            self._let_go(unlinked(path), lane)
            return
        if damaged:
            self._rewrite(file, groups)
        elif file.used < file.size:
            os.truncate(path, file.used)
            file.size = file.used
        self.files.append(file)

    def _rewrite(self, file: WaitingFile, groups: Sequence[Sequence[Waiting]]) -> None:
        """Put a file with these groups in its place, at once or not at all; the old bytes are overwritten."""
        old = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            data = b"".join([first_record(file.label), *map(_framed, groups)])
            fresh = file.path.with_suffix(file.path.suffix + FRESH)
            write_synced(fresh, data, self.disk)
            fresh.replace(file.path)
            self.disk.sync_folder(self.folder)
        except OSError:
            os.close(old)
            raise
        file.size = file.used = len(data)
        file.samples = file.newest_ns = 0
        for group in groups:
            file.note(group)
        shred(old, self.disk)

    def _damage(self, path: Path, damage: Damage, data: bytes) -> None:
        self.counts.add("clock.waiting_damaged")
        if damage.header is not None and damage.header.kind == Kind.BATCH:
            self.counts.add("clock.lost_samples", damage.header.samples)
        lost = data[damage.start : damage.end]
        if lost.strip(b"\0") and not quarantine(
            self._quarantine, f"unsynced-{path.stem}-{damage.start}.bin", lost.rstrip(b"\0"), self.disk
        ):
            self.counts.add("buffer.quarantine_full")


def unsynced_bytes(path: Path) -> int:
    """Return the bytes of the files in buffer directory `path` whose samples wait for the time. Raises OSError."""
    total = 0
    for lane in Lane:
        for file in (path / FOLDER).glob(f"*.{lane}"):
            with contextlib.suppress(FileNotFoundError):  # told and removed just now
                total += file.stat().st_size
    return total
