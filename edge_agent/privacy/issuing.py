"""Issuing a document: what an officer's text must be before it is signed. The other end of reading.py."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from edge_agent.privacy.reading import DocumentRefused, kind_of, parse_document
from edge_agent.privacy.standing import minute
from telemetry.errors import ConfigError, Problem
from telemetry.signed import sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SIGNATURE: Final = re.compile(rb"^# signature:.*\n?\Z", re.MULTILINE)
_SERIAL: Final = re.compile(rb"^(serial\s*=\s*)(\d+)", re.MULTILINE)
_ISSUED: Final = re.compile(rb"^(issued_at\s*=\s*)[^\s#]+(?: [0-9:.+-]+Z?)?", re.MULTILINE)


def issue(text: bytes, key: Ed25519PrivateKey, *, where: str, renew: bool = False) -> tuple[bytes, str]:
    """Return the signed text and what to say of it. Raises ConfigError if no gateway would take it."""
    body = _SIGNATURE.sub(b"", text.replace(b"\r\n", b"\n"))
    if renew:
        body = _renewed(body, where)
    try:
        document = parse_document(body)
        signed = sign(body, key)
    except (DocumentRefused, ValueError) as error:
        mend = "mend the document; its keys: edge_agent/privacy/README.md"
        raise ConfigError([Problem(where=where, what=str(error), mend=mend)]) from error
    return signed, f"{kind_of(document)}, serial {document.serial}, issued {minute(document.issued_at)}"


def _renewed(body: bytes, where: str) -> bytes:
    # In the text, not by writing TOML anew: the officer's comments and order stay.
    if len(_SERIAL.findall(body)) != 1 or len(_ISSUED.findall(body)) != 1:
        mend = "give it one line 'serial = 1' and one line 'issued_at = 2026-09-01T08:00:00+08:00'"
        raise ConfigError([Problem(where=where, what="serial or issued_at is not where it can be renewed", mend=mend)])
    now = datetime.now(UTC).astimezone().isoformat(timespec="seconds").encode()
    body = _SERIAL.sub(lambda found: found[1] + str(int(found[2]) + 1).encode(), body)
    return _ISSUED.sub(lambda found: found[1] + now, body)
