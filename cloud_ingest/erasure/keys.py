"""The cloud's signing key: made once, kept beside the ingest's files; gateways and workers have its public half."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from telemetry.errors import ConfigError, Problem
from telemetry.signed import PublicKey, public_line, read_public_key

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cloud_ingest.settings import Settings

PRIVATE_NAME: Final = "cloud.pem"
PUBLIC_NAME: Final = "cloud.pub"
_MAKE: Final = "make it once: cloud-ingest erase keygen --data DIR"
_MAX_BYTES: Final = 10_000


def make_keys(data: Path) -> PublicKey:
    """Make the key pair in `data`. Raises ConfigError if there is one already, or the folder cannot be written."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only who signs needs it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = PublicKey(raw=key.public_key().public_bytes_raw(), comment="cloud-ingest")
    try:
        data.mkdir(parents=True, exist_ok=True)
        _write_new(data / PRIVATE_NAME, pem, 0o600)
        _write_new(data / PUBLIC_NAME, public_line(public).encode(), 0o644)
    except OSError as error:
        what = "exists already" if isinstance(error, FileExistsError) else error.strerror or "cannot be written"
        mend = "keep it: receipts and gateways know it" if isinstance(error, FileExistsError) else "allow writing"
        raise ConfigError([Problem(where=str(error.filename or data), what=what, mend=mend)]) from error
    return public


def private_key(settings: Settings) -> Ed25519PrivateKey:
    """Return the key that signs orders and receipts. Raises ConfigError."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    path = settings.erasure.key_file or settings.data / PRIVATE_NAME
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError([Problem(where=str(path), what="others may read it", mend=f"chmod 600 {path}")])
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError([Problem(where=str(path), what=error.strerror or "", mend=_MAKE)]) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError([Problem(where=str(path), what="is no plain PEM private key", mend=_MAKE)]) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError([Problem(where=str(path), what="is no Ed25519 key", mend=_MAKE)])
    return key


def public_path(settings: Settings) -> Path:
    """Return where the public key is, by which workers believe orders."""
    return settings.erasure.trusted_key or settings.data / PUBLIC_NAME


def public_keys(path: Path) -> dict[str, PublicKey]:
    """Return the public key in the file by its key-id. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            key = read_public_key(file.read(_MAX_BYTES).decode())
    except OSError as error:
        raise ConfigError([Problem(where=str(path), what=error.strerror or "", mend=_MAKE)]) from error
    except ValueError as error:
        raise ConfigError([Problem(where=str(path), what=str(error), mend="name the cloud's cloud.pub")]) from error
    return {key.key_id: key}


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
