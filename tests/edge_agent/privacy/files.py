"""Key and policy files as an officer would write them."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MASTER = bytes(range(32))
SITE, YEAR = "demo-school", "2026-2027"
CARD = "0A0012ABCD"


def subkey(purpose: str, *, master: bytes = MASTER, site: str = SITE, year: str = YEAR) -> bytes:
    """HKDF-SHA256 (RFC 5869) with an empty salt and one block of output, by the text of the contract."""
    extracted = hmac.digest(bytes(32), master, "sha256")
    info = f"campus-edge/1|{site}|{year}|{purpose}".encode()
    return hmac.digest(extracted, info + b"\x01", "sha256")


def handle(purpose: str, identifier: str = CARD, kind: str = "card", **site) -> str:
    message = b"campus-handle/1\0" + kind.encode() + b"\0" + identifier.encode()
    return hmac.new(subkey(purpose, **site), message, hashlib.sha256).digest()[:16].hex()


def write_keys(path: Path, *purposes: str, mode: int = 0o600, more: str = "", **site) -> Path:
    keys = "\n".join(f'{purpose} = "{subkey(purpose, **site).hex()}"' for purpose in purposes)
    path.write_text(
        f'schema = "campus.gateway-keys/1"\nsite = "{site.get("site", SITE)}"\n'
        f'school_year = "{site.get("year", YEAR)}"\n{more}\n[keys]\n{keys}\n',
        encoding="utf-8",
    )
    path.chmod(mode)
    return path


POLICY = """
schema = "campus.policy/1"
site = "demo-school"
version = {version}
valid_from = 2026-09-01T00:00:00+08:00
valid_until = 2027-07-15T00:00:00+08:00

[[allow]]
class = "personal"
purpose = "attendance"
consent = true

[[allow]]
class = "group"
purpose = "occupancy"
consent = false

[consents]
attendance = [{handles}]
"""


def policy_text(*handles: str, version: int = 1) -> str:
    return POLICY.format(version=version, handles=", ".join(f'"{handle}"' for handle in handles))
