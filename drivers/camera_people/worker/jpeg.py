"""Is it a whole JPEG? Pure; the decoder alone would fill a cut one with grey and call it a picture."""

from __future__ import annotations

from typing import Final

_START: Final = b"\xff\xd8\xff"
_END: Final = b"\xff\xd9"


def looks_whole(data: bytes) -> bool:
    """Tell whether `data` begins and ends as a JPEG does; cameras may pad the end."""
    return data.startswith(_START) and data.rstrip(b"\0\r\n").endswith(_END)
