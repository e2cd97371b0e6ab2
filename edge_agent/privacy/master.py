"""What stays with the school's officer: the site's master key, from which every gateway's subkeys are derived.

Never on a gateway. Subkey = HKDF-SHA256(master key, no salt, "campus-edge/1|<site>|<school year>|<purpose>"), 32 bytes.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tomllib
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_agent.privacy.keys import SUBKEY_BYTES, GatewayKeys, Hex
from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEE: Final = "docs/guides/privacy-officer.md"
_YEAR: Final = re.compile(r"(\d{4})-(\d{4})")


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class MasterKey:
    """A site's master key. Never printed."""

    schema: Literal["campus.master-key/1"]
    site: str
    key: Hex = Field(repr=False)

    def subkey(self, purpose: str, school_year: str) -> str:
        """Return the site's subkey for one purpose and school year, 64 hex digits."""
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - the officer's commands only
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        info = f"campus-edge/1|{self.site}|{school_year}|{purpose}".encode()
        derive = HKDF(algorithm=SHA256(), length=SUBKEY_BYTES, salt=None, info=info).derive
        return derive(bytes.fromhex(self.key)).hex()

    def gateway_keys(self, purposes: Iterable[str], school_year: str, *, simulated: bool = False) -> GatewayKeys:
        """Return what a gateway is given: subkeys of these purposes and this year only."""
        return GatewayKeys(
            schema="campus.gateway-keys/1",
            site=self.site,
            school_year=school_year,
            simulated=simulated,
            keys={purpose: self.subkey(purpose, school_year) for purpose in purposes},
        )


def new_master_key(site: str) -> MasterKey:
    """Return a fresh random one."""
    return MasterKey(schema="campus.master-key/1", site=site, key=secrets.token_hex(SUBKEY_BYTES))


def is_school_year(text: str) -> bool:
    """Tell whether it is two years in a row, such as `2026-2027`: a misspelt one would give other handles."""
    found = _YEAR.fullmatch(text)
    return found is not None and int(found[2]) == int(found[1]) + 1


def master_text(key: MasterKey) -> str:
    """Return the text of the master key's file."""
    return (
        "# The site's master key. It belongs to the school's officer, on no gateway and no server. Keep a copy apart.\n"
        f'schema = "{key.schema}"\nsite = "{key.site}"\nkey = "{key.key}"\n'
    )


def gateway_text(keys: GatewayKeys) -> str:
    """Return the text of a gateway's key file."""
    lines = [
        f'schema = "{keys.schema}"',
        f'site = "{keys.site}"',
        f'school_year = "{keys.school_year}"',
        *(["simulated = true"] if keys.simulated else []),
        "",
        "[keys]",
        *(f'{purpose} = "{key}"' for purpose, key in sorted(keys.keys.items())),
    ]
    return "\n".join(lines) + "\n"


def load_master_key(path: Path) -> MasterKey:
    """Return the master key in `path`. Raises ConfigError, quoting nothing, if others may read it or it is none."""
    text = _private_text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise ConfigError([Problem(where=str(path), what="is not a TOML file", mend=f"see {SEE}")]) from None
    problems: list[Problem] = []
    key = validated(MasterKey, table, f"{path}:", problems, see=SEE)
    if key is None:
        raise ConfigError([Problem(where=str(path), what="is not a master key's file", mend=f"see {SEE}")])
    return key


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the officer's signing key in a PEM file. Raises ConfigError if others may read it, or it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(_private_text(path).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        mend = f"name the officer's signing key (officer.pem); see {SEE}"
        raise ConfigError(
            [Problem(where=str(path), what="is not an Ed25519 private key without a password", mend=mend)]
        )
    return key


def write_new(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file that must not exist yet, in `mode` from its first byte. Raises ConfigError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        mend = "a key that is overwritten is lost for ever: move it away first, or write elsewhere"
        raise ConfigError([Problem(where=str(path), what="exists already", mend=mend)]) from error
    except OSError as error:
        raise ConfigError([_problem(path, error)]) from error


def _private_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            what = f"others may read it (mode {mode & 0o777:04o})"
            raise ConfigError([Problem(where=str(path), what=what, mend=f"chmod 600 {path}")])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([_problem(path, error)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(where=str(path), what="is no text file", mend=f"see {SEE}")]) from error


def _problem(path: Path, error: OSError) -> Problem:
    return Problem(where=str(path), what=error.strerror or "cannot be used", mend="check the path and its rights")
