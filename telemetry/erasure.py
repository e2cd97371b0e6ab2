"""Orders to erase people: a signed text that names them by keyed hashes only. Pure.

A keyed hash is HMAC-SHA-256 of the handle under the order's random salt, cut to 128 bits: whoever has a handle can tell
whether it is meant, and nobody can get a handle out of it.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from telemetry.errors import ProtocolError
from telemetry.signed import SignatureRefused, sign, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from telemetry.signed import PublicKey

SCHEMA: Final = "campus.erase/1"
COMMAND_SCHEMA: Final = "campus.command/1"
COMMAND_KIND: Final = "erase"
CLOUD: Final = "_cloud"
"""Target of what is for the ingest's workers; no gateway can bear this name."""
HASH_BYTES: Final = 16
SALT_BYTES: Final = 32
MAX_ERASURES: Final = 200
"""In one order."""
MAX_HASHES: Final = 200
"""Of one request: a person has one handle for each purpose and school year."""
_HANDLES_KEPT: Final = 20_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Hash = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * HASH_BYTES}}}$")]
RequestId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One person's (or some people's) erasure."""

    request: RequestId
    salt: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * SALT_BYTES}}}$")]
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=MAX_HASHES)]
    keep_until: Time
    """Until then rows of theirs that turn up are dropped."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud orders one gateway, or all workers of the ingest, to erase."""

    schema: str
    site: str
    target: str
    """A gateway's name, or `_cloud`."""
    serial: Annotated[int, msgspec.Meta(ge=1)]
    """Only grows: an older order is not followed again."""
    issued_at: Time
    not_after: Time
    erasure: Annotated[tuple[Erasure, ...], msgspec.Meta(min_length=1, max_length=MAX_ERASURES)]


def keyed_hash(salt: bytes, handle: str) -> str:
    """Return the handle's hash under `salt`, 32 hex digits."""
    return hmac.new(salt, handle.encode(), hashlib.sha256).digest()[:HASH_BYTES].hex()


class Erased:
    """Whether a handle is one of those that the erasures mean; remembers its last answers."""

    def __init__(self, erasures: Iterable[Erasure]) -> None:
        self._by_salt: dict[bytes, frozenset[str]] = {}
        for erasure in erasures:
            salt = bytes.fromhex(erasure.salt)
            self._by_salt[salt] = self._by_salt.get(salt, frozenset()) | frozenset(erasure.hashes)
        self._ask = lru_cache(maxsize=_HANDLES_KEPT)(self._is_meant)

    def __bool__(self) -> bool:
        return bool(self._by_salt)

    def __call__(self, handle: str) -> bool:
        """Return whether the handle is meant."""
        return self._ask(handle)

    def _is_meant(self, handle: str) -> bool:
        return any(keyed_hash(salt, handle) in hashes for salt, hashes in self._by_salt.items())


def encode_order(order: Order, key: Ed25519PrivateKey) -> str:
    """Return the order as a signed text that a person can read."""
    lines = [
        f'schema = "{order.schema}"',
        f'site = "{order.site}"',
        f'target = "{order.target}"',
        f"serial = {order.serial}",
        f"issued_at = {_moment(order.issued_at)}",
        f"not_after = {_moment(order.not_after)}",
    ]
    for erasure in order.erasure:
        hashes = ", ".join(f'"{value}"' for value in erasure.hashes)
        lines += [
            "",
            "[[erasure]]",
            f'request = "{erasure.request}"',
            f'salt = "{erasure.salt}"',
            f"hashes = [{hashes}]",
            f"keep_until = {_moment(erasure.keep_until)}",
        ]
    return sign("\n".join(lines).encode() + b"\n", key).decode()


def decode_order(text: str, trusted: Mapping[str, PublicKey], *, site: str | None, target: str, now_ns: int) -> Order:
    """Return the order in a signed text, if it is for `target` of `site` (none: any) and not out of date.

    Raises ProtocolError saying what is wrong with it.
    """
    try:
        body = verify(text.encode("utf-8", "replace"), trusted).body
        order = msgspec.convert(tomllib.loads(body.decode()), Order)
    except SignatureRefused as error:
        raise ProtocolError(f"the order {error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ProtocolError("the order cannot be decoded") from error
    if order.schema != SCHEMA:
        raise ProtocolError(f"schema {order.schema[:40]!r} is not supported; this version takes {SCHEMA!r}")
    if (site is not None and order.site != site) or order.target != target:
        raise ProtocolError(f"the order is for {order.target!r} of site {order.site!r}")
    if to_ns(order.not_after) < now_ns:
        raise ProtocolError(f"the order is out of date: it was to be followed until {_moment(order.not_after)}")
    return order


def to_ns(moment: datetime) -> int:
    """Return UTC nanoseconds; exact."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def to_moment(time_ns: int) -> datetime:
    """Return UTC nanoseconds as a datetime, to the second."""
    return _EPOCH + timedelta(seconds=time_ns // 1_000_000_000)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
