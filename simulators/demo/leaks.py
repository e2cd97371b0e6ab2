"""Search for personal identifiers in everything the gateway and the cloud keep or send, in every common encoding.

One pass over the data with sets of integers, not one search per pattern: hundreds of thousands of patterns in 10 MB
take about a second. Not searched for, as they would be found by chance in any data: CRC-32 and other hashes
below 64 bits, and a card's bare four tag bytes (they are found in the five raw bytes and as text).
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

    from simulators.demo.identities import Identity

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
    """One way to write one identifier, as bytes; never printed, only named by `how`."""

    data: bytes
    how: str
    alone: frozenset[int] = frozenset()
    """Bytes that may not stand directly before or after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """An identifier found: whose (by its place in the plan), in which form, where."""

    who: str
    how: str
    where: str


def patterns(identity: Identity) -> Iterator[Pattern]:
    """Yield every form that the scan looks for: text, raw, base64, escaped, and unkeyed hashes of those."""
    forms = {how: text.encode() for how, text in identity.texts.items()}
    for how, data in forms.items():
        yield Pattern(data=data, how=how, alone=_boundary(data))
    for how, data in identity.binary.items():
        yield Pattern(data=data, how=how)
    for how, data in (*identity.binary.items(), *forms.items(), *identity.hashed.items()):
        for digest_how, digest in digests(data):
            yield from _written(digest[:_KEPT_DIGEST], f"{digest_how} of {how}")
    for how in identity.usual:
        yield from _base64(forms[how], how)
        escaped = "".join(f"\\u{byte:04x}" for byte in forms[how])
        yield Pattern(data=escaped.encode(), how=f"{how}, JSON-escaped")
        yield Pattern(data="".join(f"%{byte:02X}" for byte in forms[how]).encode(), how=f"{how}, URL-escaped")
        yield Pattern(data=identity.texts[how].encode("utf-16-le"), how=f"{how}, UTF-16")
    for how, data in identity.binary.items():
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
    """Looks for identifiers; made once, used on many pieces of data."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        self._identities = list(identities)
        every = [[pattern.data for pattern in patterns(identity)] for identity in self._identities]
        self._groups = (_Group(_LONG, every), _Group(_SHORT, every))
        self._forms: dict[int, list[Pattern]] = {}
        """Of those identities whose forms began like something that was found; all would be hundreds of thousands."""

    def scan(self, data: bytes, where: str) -> list[Leak]:
        """Return each form found in `data` itself or in gzip inside it, once."""
        found = self._plain(data, where)
        for number, inner in enumerate(inflated(data)):
            found += self._plain(inner, f"{where} (gzip {number})")
        return found

    def _plain(self, data: bytes, where: str) -> list[Leak]:
        return [
            Leak(who=who, how=pattern.how, where=where)
            for group in self._groups
            for who, pattern in self._suspects(group, group.hits(data))
            if _contains(data, pattern)
        ]

    def _suspects(self, group: _Group, hits: set[int]) -> Iterator[tuple[str, Pattern]]:
        """Yield the patterns of `group` that begin like one of `hits`, and whose they are; each form once."""
        for at in group.whose(hits):
            identity = self._identities[at]
            if at not in self._forms:
                self._forms[at] = [*{pattern.data: pattern for pattern in reversed([*patterns(identity)])}.values()]
            for pattern in self._forms[at]:
                if group.has(pattern.data) and group.key(pattern.data) in hits:
                    yield identity.who, pattern


class _Group:
    """Patterns that are found by their first 4 or 8 bytes, read as an integer of this machine.

    `every`: for each identity the bytes of its patterns; those of other lengths are another group's.
    """

    def __init__(self, size: int, every: Iterable[Iterable[bytes]]) -> None:
        self._size = size
        self._code: Literal["Q", "I"] = "Q" if size == _LONG else "I"
        self._keys = [
            frozenset(memoryview(b"".join(data[:size] for data in forms if self.has(data))).cast(self._code))
            for forms in every
        ]
        self._all = frozenset().union(*self._keys)

    def has(self, data: bytes) -> bool:
        """Tell whether a pattern of these bytes is one of the group's."""
        return len(data) >= _LONG if self._size == _LONG else _SHORT <= len(data) < _LONG

    def key(self, data: bytes) -> int:
        """Return what a pattern of these bytes is found by."""
        return int.from_bytes(data[: self._size], sys.byteorder)

    def hits(self, data: bytes) -> set[int]:
        """Return the keys that stand anywhere in `data`; the loop over all positions runs in C."""
        view = memoryview(data)
        hits: set[int] = set()
        for offset in range(self._size):
            whole = (len(data) - offset) // self._size * self._size
            if whole > 0:
                hits |= self._all.intersection(view[offset : offset + whole].cast(self._code))
        return hits

    def whose(self, hits: set[int]) -> Iterator[int]:
        """Yield the numbers of the identities that have one of these keys."""
        if hits:
            yield from (at for at, keys in enumerate(self._keys) if not keys.isdisjoint(hits))


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
