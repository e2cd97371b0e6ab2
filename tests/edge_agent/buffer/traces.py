"""Finds what must not be there: a text in any file of a folder, also where it stands compressed."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP = b"\x1f\x8b\x08"


def traces(folder: Path, text: str) -> list[str]:
    """Return the files that hold `text`, its bytes if it is hex, or a gzip member with it."""
    wanted = [text.encode(), bytes.fromhex(text)]
    return [
        f"{path.relative_to(folder)} ({kind})"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for kind, data in _contents(path.read_bytes())
        if any(needle in data for needle in wanted)
    ]


def _contents(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain", data
    at = data.find(GZIP)
    while at >= 0:
        # Cut short or damaged at its end, it still tells what stands before.
        with contextlib.suppress(zlib.error):
            yield f"gzip at {at}", zlib.decompressobj(wbits=31).decompress(data[at:])
        at = data.find(GZIP, at + 1)
