"""From a signed text to a document: is it signed by a key we trust, of our site, and sound? Pure; knows no clock.

No error quotes what stands in a document: it may be an identifier put there by mistake, and errors are logged and sent.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from edge_agent.privacy.documents import TYPES, Consents, DocumentKind, Policy, Roster
from telemetry.errors import CampusError
from telemetry.sample import WithheldReason
from telemetry.signed import MAX_BYTES, SignatureRefused, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_agent.privacy.documents import Document
    from telemetry.signed import PublicKey

_SCHEMAS: Final = {
    f"campus.{kind}/{number}": kind
    for kind, number in ((DocumentKind.POLICY, 2), (DocumentKind.CONSENTS, 1), (DocumentKind.ROSTER, 1))
}
_PLACE: Final = re.compile(r"\(at [a-z0-9 ,]*\)")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_SHOWN: Final = 3


class DocumentRefused(CampusError):
    """The document is not to be believed; `reason` is what the gate counts for it."""

    def __init__(self, reason: WithheldReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadDocument:
    """A document that a trusted key signed, for this site, and that is sound in itself."""

    kind: DocumentKind
    document: Document
    key: PublicKey
    digest: str
    """SHA-256 of the signed body."""


def read_document(
    text: bytes, *, site: str, trusted: Mapping[str, PublicKey], kind: DocumentKind | None = None
) -> ReadDocument:
    """Return the document in a signed text, of `kind` if one is wanted. Raises DocumentRefused."""
    try:
        signed = verify(text, trusted)
    except SignatureRefused as error:
        raise DocumentRefused(WithheldReason.DOCUMENT_FORGED, str(error)) from error
    document = parse_document(signed.body)
    found = kind_of(document)
    if kind is not None and found is not kind:
        raise _refused(f"is the {found}, not the {kind}: put each file in its own place")
    if document.site != site:
        raise _refused(f"is for site {document.site!r}, this gateway is of {site!r}")
    digest = hashlib.sha256(signed.body).hexdigest()
    return ReadDocument(kind=found, document=document, key=signed.key, digest=digest)


def parse_document(body: bytes) -> Document:
    """Return the document in an unsigned body. Raises DocumentRefused naming up to three flaws, without quoting any."""
    try:
        table = tomllib.loads(body.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        raise _refused(f"is not TOML {place[0] if place else ''}".rstrip()) from None
    schema = table.get("schema")
    kind = _SCHEMAS.get(schema) if isinstance(schema, str) else None
    if kind is None:
        raise _refused(f"its schema is none of {', '.join(_SCHEMAS)}")
    try:
        document: Document = TypeAdapter(TYPES[kind]).validate_python(table)
    except (ValidationError, OverflowError) as error:
        raise _refused(_flaws(error)) from None
    return document


def kind_of(document: Document) -> DocumentKind:
    """Return which of the three it is."""
    return {Policy: DocumentKind.POLICY, Consents: DocumentKind.CONSENTS, Roster: DocumentKind.ROSTER}[type(document)]


def read_file(path: Path) -> bytes:
    """Return the file's bytes, no more than a document may have and one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _refused(message: str) -> DocumentRefused:
    return DocumentRefused(WithheldReason.DOCUMENT_REFUSED, message)


def _flaws(error: ValidationError | OverflowError) -> str:
    if isinstance(error, OverflowError):
        return "holds a time that no calendar has"
    items = error.errors(include_input=False, include_url=False)
    told = [f"{_place(item['loc'])}: {_what(item)}" for item in items[:_SHOWN]]
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(told) + more


def _place(path: tuple[Any, ...]) -> str:
    parts = [str(part) if isinstance(part, int) or _NAME.fullmatch(str(part)) else "…" for part in path]
    # Below `bindings` every key is a handle, or an identifier put there by mistake.
    if "bindings" in parts:
        parts = [*parts[: parts.index("bindings") + 1], "…"]
    return ".".join(parts) or "the document"


def _what(item: Any) -> str:
    if item["type"] == "string_pattern_mismatch" and "[0-9a-f]{32}" in str(item.get("ctx")):
        return "is not a handle (32 lower-case hex digits)"
    return str(item["msg"]).removeprefix("Value error, ")
