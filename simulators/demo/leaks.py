"""Search for raw card numbers in everything the gateway and the cloud keep or send, in every common encoding.

One pass over the data with sets of integers, not one search per pattern: tens of thousands of patterns in 10 MB
take about a second. Not searched for, as they would be found by chance in any data: CRC-32 and other hashes
below 64 bits, and the bare four tag bytes (they are found in the five raw bytes and as text).
"""

from __future__ import annotations

import base64
import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from simulators.demo.packed import inflated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HASHES: Final = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b", "blake2s", "sha3_224", "sha3_256", "sha3_384",
    "sha3_512", "sha512_256", "sm3", "ripemd160",
)  # fmt: skip
_BLAKE_SIZES: Final = (16, 20, 32)
_LONG: Final = 8
_SHORT: Final = 4
_KEPT_DIGEST: Final = 16
"""Bytes of a digest that are looked for: a 128-bit truncation is a leak too, and its start is the whole's start."""
_SIMPLE: Final = 10
"""Text patterns of up to so many characters count only where they stand alone, else chance digits would match."""
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_DIGITS: Final = frozenset(b"0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One way to write one card number, as bytes; never printed, only named by `how`."""

    data: bytes
    how: str
    alone: frozenset[int] = frozenset()
    """Bytes that may not stand directly before or after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A card number found: which (by its place in the plan), in which form, where."""

    card: int
    how: str
    where: str


def texts(card: str) -> Iterator[tuple[str, str]]:
    """Yield (how, text) for each common way to write the ten hex digits of `card` as text."""
    raw = bytes.fromhex(card)
    for part, name in ((raw, "card"), (raw[1:], "tag")):
        for order, data in (("", part), (" reversed", part[::-1])):
            digits = data.hex()
            number = int.from_bytes(data, "big")
            yield f"{name}{order} hex", digits
            yield f"{name}{order} HEX", digits.upper()
            for separator in (":", "-", " "):
                yield f"{name}{order} hex with {separator!r}", data.hex(separator)
                yield f"{name}{order} HEX with {separator!r}", data.hex(separator).upper()
            yield f"{name}{order} decimal", str(number)
            yield f"{name}{order} decimal, ten digits", f"{number:010d}"
    facility, number = raw[2], int.from_bytes(raw[3:], "big")
    for separator in (",", ":", "-", "."):
        yield f"Wiegand 26 with {separator!r}", f"{facility:03d}{separator}{number:05d}"
    yield "Wiegand 26", f"{facility:03d}{number:05d}"


def patterns(card: str) -> Iterator[Pattern]:
    """Yield every form of `card` that the scan looks for: text, raw, base64, escaped, and unkeyed hashes of those."""
    raw = bytes.fromhex(card)
    written = dict(texts(card))
    forms = {how: text.encode() for how, text in written.items()}
    for how, data in forms.items():
        yield Pattern(data=data, how=how, alone=_boundary(data))
    binary = {"raw": raw, "raw reversed": raw[::-1]}
    for how, data in binary.items():
        yield Pattern(data=data, how=how)
    for how, data in (binary | forms | {"raw tag": raw[1:]}).items():
        for digest_how, digest in digests(data):
            yield from _written(digest[:_KEPT_DIGEST], f"{digest_how} of {how}")
    for how in ("card hex", "card HEX", "tag hex", "tag HEX", "card decimal", "tag decimal"):
        yield from _base64(forms[how], how)
        escaped = "".join(f"\\u{byte:04x}" for byte in forms[how])
        yield Pattern(data=escaped.encode(), how=f"{how}, JSON-escaped")
        yield Pattern(data="".join(f"%{byte:02X}" for byte in forms[how]).encode(), how=f"{how}, URL-escaped")
        yield Pattern(data=written[how].encode("utf-16-le"), how=f"{how}, UTF-16")
    for how, data in binary.items():
        yield from _base64(data, how)
        yield Pattern(data=quote(data, safe="").encode(), how=f"{how}, URL-escaped")


def digests(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, digest) of each unkeyed hash in use that this Python has."""
    for name in _HASHES:
        if name in hashlib.algorithms_available:
            try:
                yield name, hashlib.new(name, data, usedforsecurity=False).digest()
            except ValueError:  # OpenSSL lists it but has its provider switched off
                continue
    for size in _BLAKE_SIZES:
        yield f"blake2b-{size * 8}", hashlib.blake2b(data, digest_size=size).digest()
        yield f"blake2s-{size * 8}", hashlib.blake2s(data, digest_size=size).digest()


def _written(digest: bytes, how: str) -> Iterator[Pattern]:
    yield Pattern(data=digest, how=how)
    yield Pattern(data=digest.hex().encode(), how=f"{how}, hex")
    yield Pattern(data=digest.hex().upper().encode(), how=f"{how}, HEX")
    # The last characters of a truncated digest's base64 differ from the whole one's: look for what both share.
    shared = len(digest) // 3 * 4
    yield Pattern(data=base64.b64encode(digest)[:shared], how=f"{how}, base64")
    yield Pattern(data=base64.urlsafe_b64encode(digest)[:shared], how=f"{how}, URL-safe base64")


def _base64(data: bytes, how: str) -> Iterator[Pattern]:
    for encode, name in ((base64.b64encode, "base64"), (base64.urlsafe_b64encode, "URL-safe base64")):
        yield Pattern(data=encode(data).rstrip(b"="), how=f"{how}, {name}")


def _boundary(data: bytes) -> frozenset[int]:
    if len(data) >= _SIMPLE and not data.isdigit():
        return frozenset()
    return _DIGITS if data.isdigit() else _HEX


class Scanner:
    """Looks for the cards of a plan; made once, used on many pieces of data."""

    def __init__(self, cards: Iterable[str]) -> None:
        self._groups = {_LONG: _Group(_LONG), _SHORT: _Group(_SHORT)}
        for number, card in enumerate(cards):
            forms = {pattern.data: pattern for pattern in reversed(list(patterns(card)))}
            for pattern in forms.values():
                self._groups[_LONG if len(pattern.data) >= _LONG else _SHORT].add(number, pattern)

    def scan(self, data: bytes, where: str) -> list[Leak]:
        """Return each card form found in `data` itself or in gzip inside it, once."""
        found = self._plain(data, where)
        for number, inner in enumerate(inflated(data)):
            found += self._plain(inner, f"{where} (gzip {number})")
        return found

    def _plain(self, data: bytes, where: str) -> list[Leak]:
        return [
            Leak(card=card, how=pattern.how, where=where)
            for group in self._groups.values()
            for card, pattern in group.suspects(data)
            if _contains(data, pattern)
        ]


class _Group:
    """Patterns that are found by their first 4 or 8 bytes, read as an integer of this machine."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._code: Literal["Q", "I"] = "Q" if size == _LONG else "I"
        self._by_key: dict[int, list[tuple[int, Pattern]]] = {}
        self._keys: set[int] = set()

    def add(self, card: int, pattern: Pattern) -> None:
        key = int.from_bytes(pattern.data[: self._size], sys.byteorder)
        self._by_key.setdefault(key, []).append((card, pattern))
        self._keys.add(key)

    def suspects(self, data: bytes) -> Iterator[tuple[int, Pattern]]:
        """Yield the patterns whose first bytes stand anywhere in `data`; the loop over all positions runs in C."""
        view = memoryview(data)
        hits: set[int] = set()
        for offset in range(self._size):
            whole = (len(data) - offset) // self._size * self._size
            if whole > 0:
                hits |= self._keys.intersection(view[offset : offset + whole].cast(self._code))
        for key in hits:
            yield from self._by_key[key]


def _contains(data: bytes, pattern: Pattern) -> bool:
    at = data.find(pattern.data)
    while at >= 0:
        end = at + len(pattern.data)
        before, after = data[at - 1 : at] if at else b"", data[end : end + 1]
        fraction = pattern.alone is _DIGITS and before == b"."  # the digits of a float, not a number of its own
        if not fraction and not pattern.alone.intersection(before + after):
            return True
        at = data.find(pattern.data, at + 1)
    return False
