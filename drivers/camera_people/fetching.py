"""Models that are not shipped: fetched when a person asks for it, and kept only if the sum is the known one."""

from __future__ import annotations

import os
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drivers.camera_people.model_files import MODELS, WrongModel, check_sum, read_model
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from drivers.camera_people.model_files import ModelFile

SPARE_BYTES: Final = 4096
TIMEOUT_S: Final = 30.0


def fetch(model: ModelFile, folder: Path, *, url: str | None = None) -> Path:
    """Fetch `model` into `folder` and return its path; one that is there and right stays.

    Raises WrongModel for another file, DeviceUnavailable if it cannot be had, OSError if it cannot be written.
    """
    path = folder / model.file
    if path.exists():
        read_model(model, folder)
        return path
    data = _body(url or model.url, most=model.bytes + SPARE_BYTES)
    check_sum(model, data, url or model.url)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o644)
    Path(name).replace(path)
    return path


def states(folder: Path) -> dict[str, str]:
    """Return name → `ok`, `not fetched` or what is wrong, of the shipped models and those in `folder`."""
    found = {}
    for name, model in MODELS.items():
        if model.url and not (folder / model.file).exists():
            found[name] = NOT_FETCHED
            continue
        try:
            read_model(model, folder if model.url else None)
            found[name] = OK
        except WrongModel as error:
            found[name] = str(error)
    return found


OK: Final = "ok"
NOT_FETCHED: Final = "not fetched"


def _body(url: str, *, most: int) -> bytes:
    if not url.startswith(("https://", "http://[::1]", "http://127.0.0.1")):
        raise DeviceUnavailable(f"{url or 'no address'}: models are fetched by https")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the scheme is checked
            data: bytes = answer.read(most)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DeviceUnavailable(f"{url}: {reason}") from error
    return data
