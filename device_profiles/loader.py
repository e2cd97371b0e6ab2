"""Finds and validates device profiles; errors name file, key and mend, all at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from telemetry.errors import ConfigError, Problem
from telemetry.profile import DeviceProfile
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED: Final = Path(__file__).parent


def profile_ids(folder: Path = SHIPPED) -> list[str]:
    """Return the ids of all profiles below `folder`, sorted."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))


def load_profile(profile_id: str, folders: Sequence[Path] = (SHIPPED,)) -> DeviceProfile:
    """Return profile `profile_id`, from the first of `folders` that has it.

    Raises ConfigError listing every problem of the file, or the known ids if there is no such file.
    """
    for folder in folders:
        # Looked up among those that are there: no name can lead out of the folder.
        if profile_id in profile_ids(folder):
            return read_profile(folder / f"{profile_id}.toml", expected_id=profile_id)
    known = sorted({name for folder in folders for name in profile_ids(folder)})
    raise ConfigError(
        [
            Problem(
                where=f"profile {profile_id!r}",
                what="no such device profile",
                mend=f"use one of {', '.join(known)}, or add device_profiles/{profile_id}.toml",
            )
        ]
    )


def read_profile(path: Path, *, expected_id: str) -> DeviceProfile:
    """Return the profile in `path`. Raises ConfigError with every problem, each with file, key and mend."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            [Problem(where=str(path), what=str(error), mend="mend the TOML syntax or the file's rights")]
        ) from error
    found: list[Problem] = []
    profile = validated(DeviceProfile, table, f"{path}:", found, see="docs/guides/add-a-device-model.md")
    if profile is None:
        raise ConfigError(found)
    if profile.id != expected_id:
        raise ConfigError(
            [
                Problem(
                    where=f"{path}: id",
                    what=f"is {profile.id!r} but the file's path says {expected_id!r}",
                    mend=f'write id = "{expected_id}", or move the file',
                )
            ]
        )
    return profile
