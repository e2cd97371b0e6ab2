"""What lies inside data: gzip streams, and the rows of SQLite files (their pages cut long values into pieces)."""

from __future__ import annotations

import sqlite3
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP: Final = b"\x1f\x8b\x08"
_SQLITE: Final = b"SQLite format 3\0"
_MAX_INFLATED: Final = 16 * 1024 * 1024
_CHUNK: Final = 1 << 20


def inflated(data: bytes) -> Iterator[bytes]:
    """Yield what each gzip stream inside `data` holds, as far as it can be read."""
    at = data.find(_GZIP)
    while at >= 0:
        inflater = zlib.decompressobj(wbits=31)
        try:
            plain = inflater.decompress(data[at : at + _CHUNK], _MAX_INFLATED)
        except zlib.error:  # the magic by chance, or a stream cut into pages
            plain = b""
        if plain:
            yield plain
        at = data.find(_GZIP, at + len(_GZIP))


def is_sqlite(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is an SQLite database."""
    return head.startswith(_SQLITE)


def sqlite_values(path: Path) -> Iterator[bytes]:
    """Yield every row of every table of the database at `path`, joined, a table at a time. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        connection.text_factory = bytes
        tables = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            quoted = table.replace('"', '""')
            rows = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - its own table names, quoted
            yield b"\n".join(b"\t".join(_bytes(value) for value in row) for row in rows)
    finally:
        connection.close()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
