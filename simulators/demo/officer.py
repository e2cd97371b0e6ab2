"""The demo's officer: signs the demo's documents with a key made for the run, by the text of the contract.

On purpose not the agent's code: what signs and what verifies must not share a bug.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Officer:
    """One run's officer; the key is thrown away with it."""

    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_line(self) -> str:
        """The public key as a gateway's `trusted_keys` takes it."""
        return f"ed25519 {base64.b64encode(self.key.public_key().public_bytes_raw()).decode()} demo officer\n"

    def sign(self, text: str) -> str:
        """Return the document with its signature as the last line; `text` ends with a line end."""
        key_id = hashlib.sha256(self.key.public_key().public_bytes_raw()).hexdigest()[:16]
        signature = self.key.sign(b"campus-signed/1\0" + text.encode())
        return f"{text}# signature: ed25519 {key_id} {base64.b64encode(signature).decode()}\n"


def new_officer() -> Officer:
    """Return an officer with a fresh key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - a plain simulator needs none
        Ed25519PrivateKey,
    )

    return Officer(key=Ed25519PrivateKey.generate())
