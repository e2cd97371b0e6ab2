"""RDM6300 frames, pure: a byte stream to card numbers. Garbage is skipped and counted, never read as a card.

Frame: 02, ten ASCII hex digits (version and 4-byte tag), two ASCII hex digits (XOR of the five bytes), 03.
The ID-12 has CR LF before 03. Source: RDM6300 and ID-12 data sheets.
"""

from __future__ import annotations

from typing import Final

STX: Final = 0x02
ETX: Final = 0x03
DIGITS: Final = 12
FRAME_BYTES: Final = DIGITS + 2
_UPPER_HEX: Final = frozenset(b"0123456789ABCDEF")
_BEFORE_ETX: Final = b"\r\n"


class FrameDecoder:
    """Finds frames in whatever comes; keeps at most one unfinished frame."""

    def __init__(self) -> None:
        self._body: bytearray | None = None
        self.garbage_bytes = 0
        self.checksum_errors = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the card numbers (ten upper-case hex digits) of the frames that `data` completes."""
        cards = []
        for byte in data:
            if byte == STX:
                self._drop()
                self._body = bytearray()
            elif self._body is None:
                self.garbage_bytes += 1
            elif byte == ETX:
                card = self._card(bytes(self._body))
                self._body = None
                if card is not None:
                    cards.append(card)
            elif len(self._body) < DIGITS + len(_BEFORE_ETX):
                self._body.append(byte)
            else:
                self._drop()
                self.garbage_bytes += 1
        return cards

    def _drop(self) -> None:
        if self._body is not None:
            self.garbage_bytes += len(self._body) + 1
            self._body = None

    def _card(self, body: bytes) -> str | None:
        digits = body.removesuffix(_BEFORE_ETX)
        if len(digits) != DIGITS or not _UPPER_HEX.issuperset(digits):
            self.garbage_bytes += len(body) + 2
            return None
        numbers = bytes.fromhex(digits.decode("ascii"))
        checksum = 0
        for number in numbers[:-1]:
            checksum ^= number
        if checksum != numbers[-1]:
            self.checksum_errors += 1
            return None
        return digits[:-2].decode("ascii")
