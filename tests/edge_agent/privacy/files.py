"""Key files and signed documents as an officer would make them; by the contract's text, not by the agent's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MASTER = bytes(range(32))
SITE, YEAR = "demo-school", "2026-2027"
CARD = "0A0012ABCD"
OFFICER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
EVER, NEVER_ENDS = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


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


def signed(text: str | bytes, key: Ed25519PrivateKey = OFFICER) -> bytes:
    """The text with its signature's line."""
    body = text.encode() if isinstance(text, str) else text
    body = body if body.endswith(b"\n") else body + b"\n"
    key_id = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
    signature = base64.b64encode(key.sign(b"campus-signed/1\0" + body)).decode()
    return body + f"# signature: ed25519 {key_id} {signature}\n".encode()


def public_line(key: Ed25519PrivateKey = OFFICER, comment: str = "officer") -> str:
    return f"ed25519 {base64.b64encode(key.public_key().public_bytes_raw()).decode()} {comment}\n"


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="seconds")


def head(schema: str, *, serial: int = 1, issued_at: str = "", site: str = SITE) -> str:
    return (
        f'schema = "campus.{schema}"\nsite = "{site}"\nserial = {serial}\nissued_at = {issued_at or ago(minutes=1)}\n'
    )


POLICY = """
valid_from = {first}
valid_until = {last}

[[purpose]]
name = "attendance"
basis = "consent"
zh = "考勤"
en = "attendance"

[[purpose]]
name = "occupancy"
basis = "legal_duty"
zh = "在室人数"
en = "how many are there"

[[purpose]]
name = "pe_lesson"
basis = "consent"
zh = "体育课心率"
en = "heart rate in sports"

[[rule]]
class = "personal"
purpose = "attendance"
distance = "school"
consent = true

[[rule]]
class = "group"
purpose = "occupancy"
distance = "school"
"""
BANDS_RULE = """
[[rule]]
class = "sensitive"
purpose = "pe_lesson"
distance = "school"
consent = true
"""


def policy_text(*, first: str = EVER, last: str = NEVER_ENDS, more: str = "", **heading) -> str:
    return head("policy/2", **heading) + POLICY.format(first=first, last=last) + more


def consents_text(*handles: str, purpose: str = "attendance", **heading) -> str:
    return head("consents/1", **heading) + "".join(consent(item, purpose=purpose) for item in handles)


def consent(
    who: str, *, purpose: str = "attendance", given_by: str = "guardian", under_14: bool = True, until: str = NEVER_ENDS
) -> str:
    return (
        f'\n[[consent]]\nhandle = "{who}"\npurpose = "{purpose}"\ngiven_by = "{given_by}"\n'
        f"under_14 = {str(under_14).lower()}\nvalid_until = {until}\n"
    )


def lesson(
    school_class: str = "c7-2",
    *,
    on: str = '"Mon-Sun"',
    start: str = "00:00:00",
    end: str = "23:59:59",
    room: str = "gym",
    purpose: str | None = "pe_lesson",
    bindings: dict[str, str] | None = None,
) -> str:
    text = f'\n[[lesson]]\nclass = "{school_class}"\nroom = "{room}"\non = {on}\nstart = {start}\nend = {end}\n'
    text += f'purpose = "{purpose}"\n' if purpose else ""
    if bindings:
        text += "[lesson.bindings]\n" + "".join(f'{band} = "{pupil}"\n' for band, pupil in bindings.items())
    return text


def roster_text(*lessons: str, first: str = EVER, last: str = NEVER_ENDS, **heading) -> str:
    return head("roster/1", **heading) + f"valid_from = {first}\nvalid_until = {last}\n" + "".join(lessons)


def write_documents(
    folder: Path, *, policy: str | None = None, consents: str | Iterable[str] | None = None, roster: str | None = None
) -> str:
    """Write officer.pub and the signed documents below `folder`; return the lines for [privacy] of agent.toml."""
    (folder / "officer.pub").write_text(public_line(), encoding="utf-8")
    lines = [f'trusted_keys = ["{folder}/officer.pub"]']
    if consents is not None and not isinstance(consents, str):
        consents = consents_text(*consents)
    for name, text in (("policy", policy), ("consents", consents), ("roster", roster)):
        lines.append(f'{name}_file = "{folder}/{name}.toml"')
        if text is not None:
            (folder / f"{name}.toml").write_bytes(signed(text))
    return "\n".join(lines) + "\n"
