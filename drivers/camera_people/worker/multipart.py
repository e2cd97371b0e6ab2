"""The parts of a multipart/x-mixed-replace body, pure: bytes in, whole parts out; bounded, whatever comes."""

from __future__ import annotations

import re
from typing import Final

from telemetry.errors import ProtocolError

MAX_PART: Final = 8 * 1024 * 1024
MAX_HEAD: Final = 8192
_BOUNDARY: Final = re.compile(r'boundary\s*=\s*(?:"([^"]{1,128})"|([^\s;,"]{1,128}))', re.IGNORECASE)
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_BLANK: Final = re.compile(rb"\r?\n\r?\n")


def boundary_of(content_type: str) -> bytes:
    """Return the line that stands before each part. Raises ProtocolError if the type is not a multipart one."""
    kind, _, rest = content_type.partition(";")
    found = _BOUNDARY.search(rest)
    if not kind.strip().lower().startswith("multipart/") or found is None:
        raise ProtocolError("what the camera sends is no multipart stream")
    text: str = found[1] or found[2]
    # Many cameras write the two hyphens into the header already.
    return (text if text.startswith("--") else f"--{text}").encode("latin-1", "replace")


class MultipartParser:
    """Feed it the body. A length that lies costs the picture, or the stream: a bounded skip, or an error."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._buffer = bytearray()
        self._searched = 0
        self._head: bytes | None = None
        """The headers of the part that is being read; none between parts."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies of the parts that `data` completes. Raises ProtocolError; the stream is useless then."""
        self._buffer += data
        parts = []
        while (part := self._next()) is not None:
            parts.append(part)
        return parts

    def _next(self) -> bytes | None:
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None  # noqa: S101 - just read
        length = _LENGTH.search(self._head)
        return self._rest_of(int(length[1])) if length else self._until_boundary()

    def _read_head(self) -> bool:
        """Skip to the next boundary and take the headers behind it; tell whether they are all there."""
        start = self._buffer.find(self._boundary)
        if start < 0:
            surplus = len(self._buffer) - len(self._boundary)
            if surplus > MAX_HEAD:
                raise ProtocolError("the camera's stream has no boundary where one must be")
            return False
        end = _BLANK.search(self._buffer, start + len(self._boundary))
        if end is None:
            if len(self._buffer) - start > MAX_HEAD:
                raise ProtocolError("the headers of a picture have no end")
            return False
        self._head = bytes(self._buffer[start + len(self._boundary) : end.start()])
        del self._buffer[: end.end()]
        self._searched = 0
        return True

    def _rest_of(self, length: int) -> bytes | None:
        """Return the body of the length that the part's header says."""
        if not 0 < length <= MAX_PART:
            raise ProtocolError(f"a picture of {length} bytes")
        if len(self._buffer) < length:
            return None
        part = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        return part

    def _until_boundary(self) -> bytes | None:
        """Return the body up to the next boundary, for cameras that do not say its length."""
        end = self._buffer.find(self._boundary, self._searched)
        if end < 0:
            if len(self._buffer) > MAX_PART:
                raise ProtocolError(f"a picture of more than {MAX_PART} bytes")
            self._searched = max(0, len(self._buffer) - len(self._boundary))
            return None
        part = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._head = None
        return part.removesuffix(b"\n").removesuffix(b"\r")
