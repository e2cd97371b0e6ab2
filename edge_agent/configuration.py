"""The whole configuration: settings, devices, keys; everything that is wrong with it at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.catalogue import Device, build_catalogue
from edge_agent.privacy import DocumentKind, Documents, GatewayKeys, load_keys, load_trusted
from edge_agent.privacy.accepted import NAME as STATE_NAME
from edge_agent.settings import SEE, DeviceSettings, LinkSettings, RoomSettings, Settings, parse_settings, read_table
from telemetry.errors import ConfigError, Problem
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.clock import Clock
    from telemetry.counters import Counters
    from telemetry.signed import PublicKey

Item = TypeVar("Item", DeviceSettings, LinkSettings, RoomSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the agent runs on."""

    settings: Settings
    devices: Mapping[str, Device]
    keys: GatewayKeys | None
    trusted: Mapping[str, PublicKey] = field(default_factory=dict)
    """The officers' public keys by key-id."""
    cloud_keys: Mapping[str, PublicKey] = field(default_factory=dict)
    """The ingest's public key, by key-id, if there is one."""

    @property
    def rooms(self) -> dict[str, str]:
        """The room of each device; the gateway itself is in none."""
        return {name: device.settings.room for name, device in self.devices.items()}


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
        settings.rooms if settings else _readable(RoomSettings, _list(table, "room")),
    )
    problems.extend(found)
    keys = None
    trusted: Mapping[str, PublicKey] = {}
    cloud_keys: Mapping[str, PublicKey] = {}
    if settings is not None:
        if settings.gateway in devices:
            what = "the gateway itself bears this name: its own row is stored under it"
            where = f"[[device]] {settings.gateway}"
            problems.append(Problem(where=where, what=what, mend="give the device another name"))
        keys, found = _keys(settings)
        problems.extend(found)
        cloud_key = settings.privacy.cloud_key
        try:
            trusted = load_trusted(settings.privacy.trusted_keys)
        except ConfigError as error:
            problems.extend(error.problems)
        try:
            cloud_keys = load_trusted([cloud_key] if cloud_key is not None else [])
        except ConfigError as error:
            problems.extend(error.problems)
    if problems or settings is None:
        raise ConfigError(problems)
    return Configuration(settings=settings, devices=devices, keys=keys, trusted=trusted, cloud_keys=cloud_keys)


def open_documents(configuration: Configuration, *, clock: Clock, counters: Counters, peek: bool = False) -> Documents:
    """Return the officer's documents, looked at once; with `peek` nothing is written or remembered."""
    settings = configuration.settings
    documents = Documents(
        site=settings.site,
        trusted=configuration.trusted,
        paths={
            DocumentKind.POLICY: settings.privacy.policy_file,
            DocumentKind.CONSENTS: settings.privacy.consents_file,
            DocumentKind.ROSTER: settings.privacy.roster_file,
        },
        state_file=settings.privacy_dir / STATE_NAME,
        now_ns=clock.now_ns,
        clock_synced=clock.synced,
        counters=counters,
        consents_max_age_h=settings.privacy.consents_max_age_h,
        peek=peek,
    )
    documents.look()
    return documents


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
