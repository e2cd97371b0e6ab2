"""Signed documents: readable text whose last line is an Ed25519 signature over all bytes before it.

    # signature: ed25519 <key-id> <base64>

What is signed is `DOMAIN` and the body. A key-id is the first 16 hex digits of SHA-256 of the raw public key: a hint
which key it was, never a reason to trust. Bytes are compared as they are, so a file must be copied, not converted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DOMAIN: Final = b"campus-signed/1\0"
"""Before the body: a signature made for something else is none here."""
MAX_BYTES: Final = 4 * 1024 * 1024
KEY_BYTES: Final = 32
_MARK: Final = b"# signature:"
_LINE: Final = re.compile(rb"# signature: ed25519 ([0-9a-f]{16}) ([A-Za-z0-9+/]{86}==)\n")


class Flaw(StrEnum):
    """What is wrong with a signed text."""

    TOO_LARGE = "too_large"
    UNSIGNED = "unsigned"
    CONVERTED = "converted"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"


class SignatureRefused(CampusError):
    """The text is not what a trusted key signed: believe nothing of it."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An Ed25519 public key, and what its file says about it."""

    raw: bytes = field(repr=False)
    comment: str = ""

    @property
    def key_id(self) -> str:
        """16 hex digits that name the key."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.key_id} ({self.comment})" if self.comment else self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a trusted key signed."""

    body: bytes
    """Everything before the signature's line."""
    key: PublicKey


def sign(body: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return `body` with its signature's line; a body without a last line end gets one.

    Raises ValueError if the body has carriage returns, a signature's line, or is too large: nobody could verify it.
    """
    body = body if body.endswith(b"\n") else body + b"\n"
    if b"\r" in body:
        raise ValueError("the text has Windows line ends: convert them (to LF) before it is signed")
    if any(line.startswith(_MARK) for line in body.split(b"\n")):
        raise ValueError("the text is signed already: remove the line '# signature: …' first")
    raw = key.public_key().public_bytes_raw()
    line = b" ".join((b"# signature: ed25519", PublicKey(raw=raw).key_id.encode(), _signature(body, key))) + b"\n"
    if len(body) + len(line) > MAX_BYTES:
        raise ValueError(f"the text is longer than {MAX_BYTES} bytes")
    return body + line


def _signature(body: bytes, key: Ed25519PrivateKey) -> bytes:
    return base64.b64encode(key.sign(DOMAIN + body))


def verify(text: bytes, trusted: Mapping[str, PublicKey]) -> Signed:
    """Return what one of the `trusted` keys (by key-id) signed. Raises SignatureRefused saying what is wrong."""
    if len(text) > MAX_BYTES:
        raise SignatureRefused(Flaw.TOO_LARGE, f"is longer than {MAX_BYTES} bytes")
    start = text.rfind(b"\n", 0, -1) + 1
    body, line = text[:start], text[start:]
    if b"\r" in text:
        raise SignatureRefused(Flaw.CONVERTED, "its line ends were converted on the way: copy the file as it is")
    if not line.startswith(_MARK):
        later = "something follows the signature" if b"\n" + _MARK in b"\n" + text else "is not signed"
        raise SignatureRefused(Flaw.UNSIGNED, f"{later}: its last line must be '# signature: ed25519 …'")
    found = _LINE.fullmatch(line)
    if found is None:
        raise SignatureRefused(Flaw.UNSIGNED, "its signature's line is cut short or damaged")
    if b"\n" + _MARK in b"\n" + body:
        raise SignatureRefused(Flaw.FORGED, "has two signatures")
    key_id = found[1].decode()
    key = trusted.get(key_id)
    if key is None:
        known = ", ".join(str(key) for key in trusted.values()) or "no key is trusted here"
        raise SignatureRefused(Flaw.UNKNOWN_KEY, f"is signed with key {key_id}, which is not trusted here ({known})")
    if not _is_valid(body, found[2], key):
        raise SignatureRefused(Flaw.FORGED, f"was altered after it was signed, or key {key_id} never signed it")
    return Signed(body=body, key=key)


def _is_valid(body: bytes, signature: bytes, key: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only who verifies needs the library
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    raw = base64.b64decode(signature, validate=True)
    if base64.b64encode(raw) != signature:  # unused bits that are not zero: another text for the same signature
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, DOMAIN + body)
    except (InvalidSignature, ValueError):  # ValueError: the key's bytes are no point of the curve
        return False
    return True


def read_public_key(text: str) -> PublicKey:
    """Return the key in a PEM file's text, or in one line `ed25519 <base64> <comment>`. Raises ValueError."""
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key, which belongs to the officer alone: give the public one (officer.pub)")
    if text.lstrip().startswith("-----BEGIN"):
        return _from_pem(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    words = lines[0].split(maxsplit=2) if len(lines) == 1 else []
    if len(words) < 2 or words[0] != "ed25519":  # noqa: PLR2004 - kind and key
        raise ValueError("is no public key: it must be PEM, or one line 'ed25519 <base64> <comment>'")
    try:
        raw = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("its key is not base64") from error
    if len(raw) != KEY_BYTES:
        raise ValueError(f"its key has {len(raw)} bytes, an Ed25519 key has {KEY_BYTES}")
    return PublicKey(raw=raw, comment=words[2].strip() if len(words) > 2 else "")  # noqa: PLR2004


def _from_pem(text: str) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is not a PEM public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is not an Ed25519 key")  # noqa: TRY004 - the file is wrong, not the caller
    return PublicKey(raw=key.public_bytes_raw())


def public_line(key: PublicKey) -> str:
    """Return the key as one line, the other form that `read_public_key` takes."""
    return " ".join(("ed25519", base64.b64encode(key.raw).decode(), key.comment)).rstrip() + "\n"
