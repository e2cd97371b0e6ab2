"""What was accepted before: by it an older document is known. One JSON file, 0600, replaced as a whole."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_agent.privacy.documents import DocumentKind

SCHEMA: Final = "campus.accepted/1"
NAME: Final = "accepted.json"


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """The last document of a kind that was accepted."""

    serial: int
    digest: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The state file. Handles by purpose stand in it as they stand in the buffer beside it."""

    schema: str
    site: str
    documents: dict[str, Acceptance] = {}
    consented: dict[str, frozenset[str]] = {}
    """Purpose → handles that consented by the last accepted list."""
    withdrawn: dict[str, frozenset[str]] = {}
    """Purpose → handles that were on an earlier list and are not now, and whose buffered rows are not yet purged."""


class StateDamaged(CampusError):
    """The state file cannot be read: nobody knows what is older."""


def load(path: Path, *, site: str) -> Accepted:
    """Return the state in `path`; an empty one where there is none, or one of another site. Raises StateDamaged."""
    fresh = Accepted(schema=SCHEMA, site=site)
    try:
        state = msgspec.json.decode(path.read_bytes(), type=Accepted)
    except FileNotFoundError:
        return fresh
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StateDamaged(
            f"what was accepted before cannot be read: {path}: {what}; nobody can tell whether a document is an old one"
            " → see that the newest documents are installed, then remove that file"
        ) from error
    if state.schema != SCHEMA:
        raise StateDamaged(f"{path}: schema {state.schema!r} is of another version → remove it")
    return state if state.site == site else fresh


def save(path: Path, state: Accepted) -> None:
    """Write the state; a reader sees the old one or the new one. Raises OSError."""
    replace_file(path, msgspec.json.encode(state))


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in place of the file, mode 0600; after a power cut it is the old or the new one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def with_document(
    state: Accepted, kind: DocumentKind, acceptance: Acceptance, consented: Mapping[str, frozenset[str]] | None
) -> Accepted:
    """Return the state after a document was accepted; with `consented`, after a list of consents was."""
    documents = {**state.documents, str(kind): acceptance}
    if consented is None:
        return msgspec.structs.replace(state, documents=documents)
    gone = {
        purpose: (state.consented.get(purpose, frozenset()) | state.withdrawn.get(purpose, frozenset()))
        - consented.get(purpose, frozenset())
        for purpose in {*state.consented, *state.withdrawn}
    }
    withdrawn = {purpose: handles for purpose, handles in gone.items() if handles}
    return msgspec.structs.replace(state, documents=documents, consented=dict(consented), withdrawn=withdrawn)


def without_withdrawn(state: Accepted, purged: Mapping[str, frozenset[str]]) -> Accepted:
    """Return the state after the rows of `purged` are gone."""
    left = {purpose: handles - purged.get(purpose, frozenset()) for purpose, handles in state.withdrawn.items()}
    return msgspec.structs.replace(state, withdrawn={purpose: handles for purpose, handles in left.items() if handles})
