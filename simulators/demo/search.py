"""Where identifiers are looked for: everything on disk below the demo's folder, on the wire, and in the store."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from simulators.demo.config import BINDINGS, KEYS, SECRETS
from simulators.demo.packed import is_sqlite, sqlite_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from simulators.demo.leaks import Leak, Scanner

TRUTH: Final = ("ledger.jsonl", "said")
DEVICE_LOG: Final = "log/device-"
"""The truth itself, and what the simulated devices say of themselves: they must know cards and bands."""
_HEAD: Final = 16


def search(
    scanner: Scanner, data: Path, *, elsewhere: Iterable[Path] = (), texts: Mapping[str, Any] | None = None
) -> list[Leak]:
    """Return every leak in the files below `data` (but truth, keys, bindings), below `elsewhere`, and in `texts`."""
    found: list[Leak] = []
    for path in files(data, elsewhere):
        where = str(path.relative_to(data)) if path.is_relative_to(data) else str(path)
        for piece in _pieces(path):
            found += scanner.scan(piece, where)
        found += scanner.scan(path.name.encode(), f"the name of {where}")
    for name, value in (texts or {}).items():
        found += scanner.scan(json.dumps(value, ensure_ascii=False, default=str).encode(), name)
    return sorted(set(found), key=lambda leak: (leak.where, leak.who, leak.how))


def files(data: Path, elsewhere: Iterable[Path]) -> Iterator[Path]:
    """Yield the files to look into."""
    for root in (data, *elsewhere):
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and not (root == data and _may_know(path.relative_to(data))):
                yield path


def _may_know(path: Path) -> bool:
    """Whether a file of the demo is the truth's, or what the agent is given."""
    ours = path.parts[0] in TRUTH or path.as_posix().startswith(DEVICE_LOG)
    return ours or path.name == KEYS or path.parent.name == BINDINGS or path.suffix == SECRETS


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield the file's bytes, and for a database its rows as well."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # a spilled segment or a WAL may go while we look
        return
    yield data
    if is_sqlite(data[:_HEAD]):
        try:
            yield from sqlite_values(path)
        except sqlite3.Error:  # its raw bytes were yielded
            return
