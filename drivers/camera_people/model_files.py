"""The models that may be used, each with the sum of its file: another file is not loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One model: where it lies and what it must be; `models/README.md` is its card."""

    file: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return FOLDER / self.file


MODELS: Final[dict[str, ModelFile]] = {
    "centerface": ModelFile(
        file="centerface_dyn_w16.onnx",
        sha256="a7d171fd83b34eea9ed313d69dd1aeb459d55cb48e67d2829604a1e188ccd0f3",
    ),
}


class WrongModel(Exception):
    """The file is missing, or is not the one that was tested: nothing may be counted with it."""


def read_model(model: ModelFile) -> bytes:
    """Return the model's bytes. Raises WrongModel unless they are exactly the known ones."""
    try:
        data = model.path.read_bytes()
    except OSError as error:
        raise WrongModel(f"{model.path}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != model.sha256:
        raise WrongModel(f"{model.path}: its sha256 is {found[:12]}…, not {model.sha256[:12]}…")
    return data
