"""Key derivation and handles, from the text of the contract; standard library only.

On purpose not the agent's code: truth and system must not share a bug.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

_SUBKEY_BYTES: Final = 32
_HANDLE_BYTES: Final = 16


def hkdf_sha256(key: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes by HKDF-SHA256 (RFC 5869: extract, then expand)."""
    extracted = hmac.new(salt or bytes(hashlib.sha256().digest_size), key, hashlib.sha256).digest()
    block, output = b"", b""
    counter = 0
    while len(output) < length:
        counter += 1
        block = hmac.new(extracted, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def subkey(master: bytes, *, site: str, school_year: str, purpose: str) -> bytes:
    """Return the site's 32-byte subkey for one purpose and school year."""
    info = f"campus-edge/1|{site}|{school_year}|{purpose}".encode()
    return hkdf_sha256(master, salt=b"", info=info, length=_SUBKEY_BYTES)


def handle(purpose_key: bytes, *, kind: str, identifier: str) -> str:
    """Return the pseudonym of a raw identifier: 32 lower-case hex digits."""
    message = b"campus-handle/1\0" + kind.encode() + b"\0" + identifier.encode()
    return hmac.new(purpose_key, message, hashlib.sha256).digest()[:_HANDLE_BYTES].hex()
