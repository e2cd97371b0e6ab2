"""The officers' public keys that this gateway trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry.errors import ConfigError, Problem
from telemetry.signed import PublicKey, read_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAX_BYTES: Final = 10_000
_SEE: Final = "docs/guides/privacy-officer.md"


def load_trusted(paths: Iterable[Path]) -> dict[str, PublicKey]:
    """Return the keys in the files by key-id. Raises ConfigError naming every file that holds none."""
    keys: dict[str, PublicKey] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                key = read_public_key(file.read(_MAX_BYTES).decode())
            keys[key.key_id] = key
        except (OSError, ValueError) as error:  # ValueError: no text, or no key
            what = (error.strerror or "cannot be read") if isinstance(error, OSError) else _plain(error)
            problems.append(Problem(where=str(path), what=what, mend=f"install the officer's public key; see {_SEE}"))
    if problems:
        raise ConfigError(problems)
    return keys


def _plain(error: ValueError) -> str:
    return "is no text file" if isinstance(error, UnicodeDecodeError) else str(error)
