"""The models that may be used, from `models/models.toml`, each with the sum of its file: another file is not loaded."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "models"
SCHEMA: Final = "campus.models/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One model: where it lies and what it must be; `models/README.md` is its card."""

    file: str
    sha256: str
    role: str = ""
    bytes: int = 0
    source: str = ""
    licence: str = ""
    trained_on: str = ""
    input: str = ""
    companion: str = ""
    """Name of a file that it does not work without."""
    url: str = ""
    """Where it can be had; it is not shipped."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Use → how sure it must be."""

    @property
    def path(self) -> Path:
        """Where it lies, if it is shipped."""
        return FOLDER / self.file


class WrongModel(Exception):
    """The file is missing, or is not the one that was tested: nothing may be counted with it."""


def parse_models(text: str) -> dict[str, ModelFile]:
    """Return name → model. Raises ValueError or TypeError for a file that is none of ours."""
    tables = tomllib.loads(text)
    if tables.pop("schema", None) != SCHEMA:
        raise ValueError(f'the schema is not "{SCHEMA}"')
    return {name: ModelFile(**table) for name, table in tables.items()}


MODELS: Final = parse_models((FOLDER / "models.toml").read_text(encoding="utf-8"))


def read_model(model: ModelFile, folder: Path | None = None) -> bytes:
    """Return the model's bytes, as shipped or from `folder`. Raises WrongModel unless they are the known ones."""
    path = model.path if folder is None else folder / model.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WrongModel(f"{path}: {error.strerror}") from error
    check_sum(model, data, str(path))
    return data


def check_sum(model: ModelFile, data: bytes, where: str) -> None:
    """Raise WrongModel unless `data` is the model."""
    found = hashlib.sha256(data).hexdigest()
    if found != model.sha256:
        raise WrongModel(f"{where}: its sha256 is {found[:12]}…, not {model.sha256[:12]}…")
