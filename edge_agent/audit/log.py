"""The audit log on disk: appended and fsynced entry by entry, rotated by size, continued after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from edge_agent.audit.chain import GENESIS, LET_GO, Entry, Head, make, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
FILE_NAME: Final = "audit.jsonl"
LOCK_NAME: Final = "lock"
MAX_FILE_BYTES: Final = 1_000_000
KEPT_FILES: Final = 20
"""Older ones are let go: some hundred thousand entries, years of a gateway's life."""
SHOWN: Final = 8
"""So many digests travel with the head, so that the cloud can follow the chain from the head it holds."""


class AuditLog:
    """One gateway's chain, for several processes: each entry continues what the file ends with when it is written.

    `append` takes milliseconds: what is audited is rare.

    No handle, no identifier: details are numbers, reasons, serials and hashes of documents.
    """

    def __init__(self, folder: Path, *, counters: Counters, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._folder = folder
        self._counters = counters
        self._now_ns = now_ns
        self._recent: deque[Entry] = deque(maxlen=SHOWN)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stamp: tuple[int, int] | None = None
        with self._alone():
            self._head, torn = _resume(self._file, _older(folder))
            with contextlib.suppress(OSError):
                self._stamp = _stamp(self._file.stat())
        if torn:
            # A power cut tears the line being written; the chain goes on, and says so.
            self.append("resumed", {"torn_bytes": torn})

    @property
    def _file(self) -> Path:
        return self._folder / FILE_NAME

    @property
    def head(self) -> Head:
        """The newest entry, whoever wrote it."""
        self._follow()
        return self._head

    def document(self) -> dict[str, Any]:
        """Return what health tells the cloud: the head, and the digests of the last entries up to it."""
        self._follow()
        return {"n": self._head.n, "hash": self._head.hash, "digests": [entry.digest for entry in self._recent]}

    def append(self, event: str, detail: Mapping[str, Any]) -> None:
        """Add one entry, durable when this returns; a disk that takes nothing is counted and logged, never raised."""
        try:
            with self._alone():
                self._follow()
                rotated = self._rotate()
                line, entry = make(prev=self._head, at_ns=self._now_ns(), event=event, detail=detail)
                descriptor = self._open(FILE_NAME, os.O_WRONLY | os.O_APPEND)
                try:
                    _write(descriptor, line)
                    os.fsync(descriptor)
                    self._stamp = _stamp(os.fstat(descriptor))
                finally:
                    os.close(descriptor)
        except OSError as error:
            self._counters.add("audit.unwritten")
            _LOG.error("the audit log cannot be written (%s): entry %r is not in it", error, event)
            return
        self._counters.add("audit.entries")
        self._head = Head(n=entry.n, hash=entry.hash)
        self._recent.append(entry)
        if rotated:
            self._let_go()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile. Raises OSError."""
        descriptor = self._open(LOCK_NAME, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str, how: int) -> int:
        """Return the descriptor of a file that is the folder's owner's, also where root is the first to write it."""
        descriptor = os.open(self._folder / name, how | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            owner = self._folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def _follow(self) -> None:
        """Take over what another process has written since; the file stays as it is."""
        try:
            stamp = _stamp(self._file.stat())
        except OSError:
            return
        if stamp == self._stamp:
            return
        known = self._head.n
        with contextlib.suppress(OSError):
            new = _since(known, (self._file, *reversed(_older(self._folder))))
            self._recent.extend(new)
            if new:
                self._head = Head(n=new[-1].n, hash=new[-1].hash)
            self._stamp = stamp

    def _rotate(self) -> bool:
        if not self._file.exists() or self._file.stat().st_size < MAX_FILE_BYTES:
            return False
        self._file.rename(self._folder / f"audit-{self._head.n:012d}.jsonl")
        return True

    def _let_go(self) -> None:
        """Delete the oldest files, after an entry that says so."""
        oldest = _older(self._folder)[:-KEPT_FILES]
        if not oldest:
            return
        self.append(LET_GO, {"through": int(oldest[-1].stem.removeprefix("audit-"))})
        for old in oldest:
            try:
                old.unlink(missing_ok=True)
            except OSError as error:  # it goes at the next rotation
                self._counters.add("audit.undeleted")
                _LOG.error("%s cannot be deleted: %s → mend the folder's rights, or the disk", old, error.strerror)


def lines(folder: Path) -> Iterator[bytes]:
    """Yield the chain's lines, the oldest kept one first. Raises OSError."""
    for file in (*_older(folder), folder / FILE_NAME):
        with contextlib.suppress(FileNotFoundError):
            yield from file.read_bytes().splitlines()


def _since(known: int, newest_first: Iterable[Path]) -> list[Entry]:
    """Return the entries after number `known`; reads no file that is older than that."""
    new: list[Entry] = []
    for file in newest_first:
        entries = [entry for line in file.read_bytes().splitlines() if (entry := read(line)) is not None]
        new[:0] = [entry for entry in entries if entry.n > known]
        if entries and entries[0].n <= known + 1:
            break
    return new


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_size


def _older(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-" + 12 * "[0-9]" + ".jsonl"))


def _write(descriptor: int, line: bytes) -> None:
    """Write the whole line or none of it."""
    start = os.fstat(descriptor).st_size
    done = 0
    try:
        while done < len(line):
            done += os.write(descriptor, line[done:])
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def _resume(file: Path, older: list[Path]) -> tuple[Head, int]:
    """Return where the chain ends, and how many bytes of a torn last line were cut off."""
    torn = 0
    for path in (file, *reversed(older)):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        whole, newline, rest = data.rpartition(b"\n")
        if rest and path == file:
            torn = len(rest)
            os.truncate(path, len(whole) + len(newline))
        for line in reversed(whole.splitlines()):
            entry = read(line)
            if entry is not None:
                return Head(n=entry.n, hash=entry.hash), torn
    return Head(n=0, hash=GENESIS), torn
