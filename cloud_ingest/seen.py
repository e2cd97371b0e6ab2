"""Memory of batch identities: a resend is told from a conflict, also after a restart, bounded for each gateway.

Claims are committed before the store is written, so that a batch with other bytes under a known identity
is noticed even when the ingest died in between. A commit survives the process (WAL, synchronous NORMAL);
a power cut may forget the last ones, which costs a rewrite of equal rows and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.private import create_private
from telemetry.ack import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_ingest.decode import Identity

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS seen (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    epoch TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    settled INTEGER NOT NULL,
    refused BLOB NOT NULL,
    UNIQUE (gateway, epoch, number)
);
CREATE INDEX IF NOT EXISTS seen_by_gateway ON seen (gateway, id);
"""
FILE_NAME: Final = "seen.sqlite"
_RECENT: Final = 50_000
MOST_EPOCHS: Final = 100
"""Of each gateway, those whose highest number is known by heart; an honest one has a new epoch once in years."""
MOST_REFUSED: Final = 256
"""Samples in an answer that is remembered: a batch with more is written again when it comes again, as equal rows."""
_refusals = msgspec.json.Decoder(list[Refused])


@dataclass(slots=True, kw_only=True)
class Entry:
    """What is known of one identity."""

    digest: bytes
    settled: bool = False
    """The answer is final: stored but for `refused`."""
    refused: tuple[Refused, ...] = ()


class Seen:
    """Identity → Entry. `lookup`, `claim` and `settle` are for the event loop, `commit` for a thread."""

    def __init__(self, path: Path, *, per_gateway: int) -> None:
        self._path = path
        self._per_gateway = per_gateway
        create_private(path)
        self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reader.execute("PRAGMA journal_mode=WAL")
        self._reader.executescript(_SCHEMA)
        self._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._writer.execute("PRAGMA synchronous=NORMAL")
        self._recent: OrderedDict[Identity, Entry] = OrderedDict()
        self._changed: dict[Identity, Entry] = {}
        self._highest: dict[str, dict[str, int]] = {}
        """Gateway → epoch → number."""
        for gateway, epoch, number in self._reader.execute(
            "SELECT gateway, epoch, max(number) FROM seen GROUP BY gateway, epoch"
        ):
            self._note_highest(gateway, epoch, number)
        self._added: dict[str, int] = {}

    def lookup(self, identity: Identity) -> Entry | None:
        """Return what is known of `identity`; reads the file only for numbers below the highest known one."""
        entry = self._recent.get(identity) or self._changed.get(identity)
        if entry is not None:
            return entry
        gateway = _key(identity)
        if self._is_new(gateway, identity):
            return None
        row = self._reader.execute(
            "SELECT digest, settled, refused FROM seen WHERE gateway = ? AND epoch = ? AND number = ?",
            (gateway, identity.epoch, identity.number),
        ).fetchone()
        return row and Entry(digest=row[0], settled=bool(row[1]), refused=tuple(_refusals.decode(row[2])))

    def gateways(self, site: str) -> list[str]:
        """Return the gateways of a site that ever sent a batch, as far as is remembered."""
        first, last = f"{site}/", f"{site}0"  # 0 follows the slash
        return sorted(gateway.removeprefix(first) for gateway in self._highest if first < gateway < last)

    def claim(self, identity: Identity, digest: bytes) -> None:
        """Bind `identity` to its bytes."""
        self._put(identity, Entry(digest=digest))
        self._note_highest(_key(identity), identity.epoch, identity.number)

    def _is_new(self, gateway: str, identity: Identity) -> bool:
        """Tell whether nothing of an identity can stand in the file."""
        epochs = self._highest.get(gateway, {})
        highest = epochs.get(identity.epoch, -1)
        return identity.number > highest and (highest >= 0 or len(epochs) < MOST_EPOCHS)

    def _note_highest(self, gateway: str, epoch: str, number: int) -> None:
        epochs = self._highest.setdefault(gateway, {})
        if epoch in epochs or len(epochs) < MOST_EPOCHS:
            epochs[epoch] = max(number, epochs.get(epoch, -1))

    def settle(self, identity: Identity, digest: bytes, refused: tuple[Refused, ...]) -> None:
        """Note the final answer, to be given again to a resend; one of too many refusals is not remembered."""
        if sum(len(one.samples) for one in refused) <= MOST_REFUSED:
            self._put(identity, Entry(digest=digest, settled=True, refused=refused))

    def _put(self, identity: Identity, entry: Entry) -> None:
        self._recent[identity] = self._changed[identity] = entry
        self._recent.move_to_end(identity)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def take_changes(self) -> dict[Identity, Entry]:
        """Return what `commit` has to write; call on the event loop."""
        changes, self._changed = self._changed, {}
        return changes

    def commit(self, changes: dict[Identity, Entry]) -> None:
        """Write `changes` in one transaction and forget the oldest of each gateway. Raises sqlite3.Error."""
        if not changes:
            return
        rows = [
            (_key(i), i.epoch, i.number, entry.digest, entry.settled, msgspec.json.encode(entry.refused))
            for i, entry in changes.items()
        ]
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany(
                "INSERT INTO seen (gateway, epoch, number, digest, settled, refused) VALUES (?,?,?,?,?,?)"
                " ON CONFLICT (gateway, epoch, number) DO UPDATE SET"
                " digest = excluded.digest, settled = excluded.settled, refused = excluded.refused",
                rows,
            )
            for gateway, *_ in rows:
                self._added[gateway] = self._added.get(gateway, 0) + 1
                if self._added[gateway] > self._per_gateway // 8:
                    self._forget_oldest(gateway)
                    self._added[gateway] = 0
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # a full disk makes SQLite roll back by itself: keep its error, not ours
                self._writer.execute("ROLLBACK")
            raise

    def _forget_oldest(self, gateway: str) -> None:
        self._writer.execute(
            "DELETE FROM seen WHERE gateway = :gateway AND id <="
            " (SELECT id FROM seen WHERE gateway = :gateway ORDER BY id DESC LIMIT 1 OFFSET :keep)",
            {"gateway": gateway, "keep": self._per_gateway},
        )

    def close(self) -> None:
        """Write what is left and close the file."""
        with closing(self._reader), closing(self._writer):
            self.commit(self.take_changes())


def _key(identity: Identity) -> str:
    return f"{identity.site}/{identity.gateway}"


def gateways_in(data: Path, site: str) -> list[str]:
    """Return the gateways of a site in the memory of a data folder, whether or not its ingest runs."""
    return sorted(gateway for where, gateway in _senders_in(data) if where == site)


def sites_in(data: Path) -> list[str]:
    """Return the sites in the memory of a data folder."""
    return sorted({site for site, _ in _senders_in(data)})


def _senders_in(data: Path) -> list[tuple[str, str]]:
    """Return (site, gateway) of whoever sent a batch."""
    path = data / FILE_NAME
    if not path.is_file():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as reader:
        rows = reader.execute("SELECT DISTINCT gateway FROM seen").fetchall()
    return [(site, gateway) for site, _, gateway in (name.partition("/") for (name,) in rows)]
