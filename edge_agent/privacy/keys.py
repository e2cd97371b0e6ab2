"""Keys and handles: a gateway holds subkeys for its purposes and school year only, never the site's master key."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import tomllib
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID
from telemetry.validation import validated

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.sample import Subject

SUBKEY_BYTES: Final = 32
HANDLE_BYTES: Final = 16
_LABEL: Final = b"campus-handle/1"
_SEE: Final = "edge_agent/privacy/README.md"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class GatewayKeys:
    """What the key file holds; `keys` maps a purpose to its subkey (64 hex digits). Never printed."""

    schema: Literal["campus.gateway-keys/1"]
    site: str
    school_year: str
    simulated: bool = False
    # As a default: inside Annotated a dataclass does not see that the field must not be printed.
    keys: dict[str, Hex] = Field(repr=False)

    def handle(self, purpose: str, subject: Subject) -> str | None:
        """Return the subject's handle for `purpose` (32 hex digits), or none if there is no key for it.

        HMAC-SHA-256 of the identifier, cut to 128 bits: another purpose, site or school year gives another handle.
        """
        key = self.keys.get(purpose)
        if key is None:
            return None
        message = b"\0".join((_LABEL, subject.kind.encode(), subject.identifier.encode()))
        return hmac.new(bytes.fromhex(key), message, hashlib.sha256).digest()[:HANDLE_BYTES].hex()


def load_keys(path: Path) -> GatewayKeys:
    """Return the keys in `path`. Raises ConfigError if others may read the file, or it is no key file."""
    try:
        mode = path.stat().st_mode
        # systemd guards its credentials by an access list, which shows as group rights.
        private = 0o007 if str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY") else 0o077
        if stat.S_IMODE(mode) & private:
            raise ConfigError(
                [
                    Problem(
                        where=str(path), what=f"others may read it (mode {mode & 0o777:04o})", mend=f"chmod 600 {path}"
                    )
                ]
            )
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            [Problem(where=str(path), what=_plain(error), mend=f"ask for a new key file; see {_SEE}")]
        ) from error
    problems: list[Problem] = []
    keys = validated(GatewayKeys, table, f"{path}:", problems, see=_SEE)
    if keys is None:
        hidden = [
            Problem(where=problem.where, what="is not what a key file has there", mend=problem.mend)
            for problem in problems
        ]
        raise ConfigError(hidden)
    return keys


def _plain(error: Exception) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else "is not a TOML file"
