"""The whole configuration: settings, devices, keys; everything that is wrong with it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.catalogue import Device, build_catalogue
from edge_agent.privacy import GatewayKeys, load_keys
from edge_agent.settings import SEE, DeviceSettings, LinkSettings, Settings, parse_settings, read_table
from telemetry.errors import ConfigError, Problem
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping

Item = TypeVar("Item", DeviceSettings, LinkSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the agent runs on."""

    settings: Settings
    devices: Mapping[str, Device]
    keys: GatewayKeys | None


def load_configuration(path: Path) -> Configuration:
    """Return the configuration in `path`. Raises ConfigError naming every problem, however many places have one."""
    table = read_table(path)
    problems: list[Problem] = []
    settings: Settings | None = None
    try:
        settings = parse_settings(table, f"{path}:")
    except ConfigError as error:
        problems.extend(error.problems)
    # Devices are looked at even when another section is wrong: a technician mends all in one go.
    folders = [Path(str(folder)) for folder in _list(table, "profile_folders")]
    devices, found = build_catalogue(
        settings.devices if settings else _readable(DeviceSettings, _list(table, "device")),
        settings.links if settings else _readable(LinkSettings, _list(table, "link")),
        settings.profile_folders if settings else folders,
    )
    problems.extend(found)
    keys = None
    if settings is not None:
        if settings.gateway in devices:
            what = "the gateway itself bears this name: its own row is stored under it"
            where = f"[[device]] {settings.gateway}"
            problems.append(Problem(where=where, what=what, mend="give the device another name"))
        keys, found = _keys(settings)
        problems.extend(found)
    if problems or settings is None:
        raise ConfigError(problems)
    return Configuration(settings=settings, devices=devices, keys=keys)


def _keys(settings: Settings) -> tuple[GatewayKeys | None, list[Problem]]:
    path = settings.privacy.key_file
    if path is None:
        return None, []
    try:
        keys = load_keys(path)
    except ConfigError as error:
        return None, error.problems
    problems = []
    if keys.site != settings.site:
        what = f"the keys are of site {keys.site!r}, this gateway is of {settings.site!r}"
        problems.append(Problem(where=f"{path}: site", what=what, mend="install the key file of this site"))
    if keys.simulated and not settings.simulated:
        what = "the keys are a demo's, but the settings do not say simulated = true"
        problems.append(Problem(where=f"{path}: simulated", what=what, mend="install the school's own keys"))
    return keys, problems


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    items = table.get(key, [])
    return items if isinstance(items, list) else []


def _readable(kind: type[Item], tables: list[Any]) -> list[Item]:
    """Return those tables that are sound by themselves; the others' problems are already on the list."""
    ignored: list[Problem] = []
    items = (validated(kind, table, "", ignored, see=SEE) for table in tables if isinstance(table, dict))
    return [item for item in items if item is not None]
