"""The files that agent and ingest are given: settings, keys, signed documents and bands, from the scene."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from simulators.demo.handles import handle, subkey
from simulators.demo.officer import new_officer
from simulators.demo.options import WINDOW_S
from simulators.demo.scene import OCCUPANCY, VITALS
from simulators.scenario import CAMERA_USER, camera_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from simulators.demo.scene import Scene
    from simulators.scenario import SceneDevice

GATEWAY: Final = "gw-101"
SCHOOL_YEAR: Final = "2026-2027"
ATTENDANCE: Final = "attendance"
LESSON: Final = "pe_lesson"
HEALTH_S: Final = 1.0
OCCUPANCY_PURPOSE: Final = "occupancy"
KEYS: Final = "keys.toml"
SECRETS: Final = ".password"
"""Ending of the files with the cameras' passwords."""
RECORDS: Final = "records"
"""Folder of what left the cameras' workers, as the agent kept it for an audit."""
_ROOM_TYPES: Final = {"gate": "entrance", "g1": "gym", "hall": "hall"}
BINDINGS: Final = "bindings"
"""Folder of the lists of bound bands, one a radio: what the agent is given, so not what it may let out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run's school: a name of its own, so that a shared broker or store cannot mix runs, and demo keys."""

    name: str
    keys: Mapping[str, bytes]
    """Purpose → subkey; the master key was thrown away."""

    def card(self, card: str) -> str:
        """Return the pseudonym under which a card's holder is stored."""
        return handle(self.keys[ATTENDANCE], kind="card", identifier=card)

    def band(self, identifier: str) -> str:
        """Return the pseudonym under which a band's wearer is stored."""
        return handle(self.keys[LESSON], kind="band", identifier=identifier)


def new_site(seed: int) -> Site:
    """Return a fresh site for one run."""
    name = f"demo-{seed}-{secrets.token_hex(3)}"
    master = secrets.token_bytes(32)
    keys = {
        purpose: subkey(master, site=name, school_year=SCHOOL_YEAR, purpose=purpose) for purpose in (ATTENDANCE, LESSON)
    }
    return Site(name=name, keys=keys)


def link_settings(device: SceneDevice, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the agent reaches the process of `device`, from the process's answer when it was ready."""
    match device.kind:
        case "camera":
            return {"kind": "camera", "url": answer["url"], "capture": device.capture, "username": CAMERA_USER}
        case "modbus-tcp":
            return {"kind": "tcp", "host": answer["host"], "port": answer["port"]}
        case "ble-bands":
            return {"kind": "bluetooth", "hci": answer["endpoint"]}
        case _:
            return {"kind": "serial", "path": answer["link"], "baudrate": 9600}


def write_agent(
    folder: Path,
    scene: Scene,
    site: Site,
    *,
    mqtt: str,
    protocol: str,
    links: Mapping[str, Mapping[str, Any]],
    vitals: bool = True,
    sync_file: Path | None = None,
) -> Path:
    """Write agent.toml, keys, signed documents and what links and devices name below `folder`; return the first.

    `links`: name → its settings. Without `vitals` the policy has no rule for them. `sync_file`: says whether the clock
    is synchronised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys, officer = folder / KEYS, new_officer()
    write_private(keys, key_file(site))
    write_private(folder / "officer.pub", officer.public_line)
    privacy = {"key_file": str(keys), "trusted_keys": [str(folder / "officer.pub")]}
    for name, text in documents(scene, site, now=datetime.now(UTC), vitals=vitals).items():
        write_private(folder / f"{name}.toml", officer.sign(text))
        privacy[f"{name}_file"] = str(folder / f"{name}.toml")
    tables: list[tuple[str, dict[str, Any]]] = [
        ("", {"site": site.name, "gateway": GATEWAY, "simulated": True, "window_s": WINDOW_S}),
        ("[mqtt]", {"url": mqtt, "protocol": protocol}),
        ("[buffer]", {"path": str(folder / "buffer"), "max_bytes": 256_000_000}),
        ("[privacy]", privacy),
        # The truth is told by this machine's clock too, so it does not matter whether NTP has set it.
        ("[clock]", {"assume_synced": True} if sync_file is None else {"sync_file": str(sync_file)}),
        ("[health]", {"period_s": HEALTH_S}),
    ]
    # A camera is refused in some kinds of room, so the agent must know what kind each is.
    tables += [
        ("[[room]]", {"name": room, "type": _ROOM_TYPES.get(room, "classroom")})
        for room in dict.fromkeys(scene.rooms.values())
    ]
    cameras = {device.link: device.name for device in scene.scenario.devices if device.kind == "camera"}
    for name, settings in links.items():
        password = {"password_file": _password_file(folder, scene, cameras[name])} if name in cameras else {}
        tables.append(("[[link]]", {"name": name, **settings, **password}))
    for device in scene.scenario.devices:
        told = {"name": device.name, "room": device.room, "profile": device.profile, "link": device.link}
        options = _options(folder, scene, device)
        tables.append(("[[device]]", told | ({"options": options} if options else {})))
    path = folder / "agent.toml"
    write_private(path, toml(tables))
    return path


def _options(folder: Path, scene: Scene, device: SceneDevice) -> dict[str, Any]:
    """Return the device's options, and write the files that they name."""
    options: dict[str, Any] = dict(device.options)
    if device.kind == "ble-bands":
        path = folder / BINDINGS / f"{device.name}.toml"
        path.parent.mkdir(exist_ok=True)
        bound = [wearer.identifier for wearer in scene.wearers[device.name] if wearer.bound]
        write_private(path, toml([("", {"schema": "campus.bands/1", "bound": bound})]))
        options["bindings_file"] = str(path)
    if device.kind == "camera":
        options["records_file"] = str(records_file(folder, device.name))
        records_file(folder, device.name).parent.mkdir(exist_ok=True)
    return options


def records_file(folder: Path, camera: str) -> Path:
    """Return where the agent whose files are in `folder` keeps what left the camera's worker."""
    return folder / RECORDS / f"{camera}.jsonl"


def _password_file(folder: Path, scene: Scene, camera: str) -> str:
    path = folder / f"{camera}{SECRETS}"
    write_private(path, camera_password(scene.seed, camera) + "\n")
    return str(path)


def write_ingest(folder: Path, site: Site, *, mqtt: str, protocol: str, store: str) -> Path:
    """Write ingest.toml below `folder` (0600: a store's URL may hold credentials); return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ingest.toml"
    tables: list[tuple[str, dict[str, Any]]] = [
        ("", {"data": str(folder)}),
        ("[mqtt]", {"url": mqtt, "protocol": protocol, "client_id": f"ingest-{site.name}"}),
        ("[store]", {"url": store}),
    ]
    write_private(path, toml(tables))
    return path


def key_file(site: Site) -> str:
    """Return the text of the gateway's key file."""
    head = {
        "schema": "campus.gateway-keys/1", "site": site.name, "school_year": SCHOOL_YEAR, "simulated": True
    }  # fmt: skip
    return toml([("", head), ("[keys]", {purpose: key.hex() for purpose, key in site.keys.items()})])


def documents(scene: Scene, site: Site, *, now: datetime, vitals: bool) -> dict[str, str]:
    """Return the texts of policy and consents by name, not yet signed: everybody consents but those who refuse."""
    return {"policy": _policy(scene, site, now=now, vitals=vitals), "consents": _consents(scene, site, now=now)}


def _policy(scene: Scene, site: Site, *, now: datetime, vitals: bool) -> str:
    day = timedelta(days=1)
    head = _head("policy/2", site, now) | {"valid_from": now - day, "valid_until": now + day}
    purposes = [{"name": ATTENDANCE, "basis": "consent", "zh": "考勤", "en": "who came"}]
    rules = [_rule("personal", ATTENDANCE, consent=True)]
    if VITALS in scene.families:
        purposes.append({"name": LESSON, "basis": "consent", "zh": "体育课", "en": "PE lessons"})
    if vitals and VITALS in scene.families:
        rules += [_rule("sensitive", LESSON, consent=True), _rule("group", LESSON, consent=False)]
    if OCCUPANCY in scene.families:
        purposes.append(
            {"name": OCCUPANCY_PURPOSE, "basis": "legal_duty", "zh": "在室人数", "en": "how many are there"}
        )
        rules.append(_rule("group", OCCUPANCY_PURPOSE, consent=False))
    return toml([
        ("", head), *(("[[purpose]]", purpose) for purpose in purposes), *(("[[rule]]", rule) for rule in rules)
    ])  # fmt: skip


def _rule(data_class: str, purpose: str, *, consent: bool) -> dict[str, Any]:
    return {"class": data_class, "purpose": purpose, "distance": "school", "consent": consent, "retention_days": 180}


def _consents(scene: Scene, site: Site, *, now: datetime) -> str:
    given = {"given_by": "guardian", "under_14": True, "valid_until": now + timedelta(days=1)}
    handles = {
        ATTENDANCE: [site.card(card) for card in scene.cards if card != scene.refusing_card],
        LESSON: [site.band(wearer.identifier) for wearer in scene.bands if wearer.withheld is None],
    }
    listed = [
        {"handle": handle, "purpose": purpose} | given for purpose, who in handles.items() for handle in sorted(who)
    ]
    return toml([("", _head("consents/1", site, now)), *(("[[consent]]", consent) for consent in listed)])


def _head(schema: str, site: Site, now: datetime) -> dict[str, Any]:
    return {"schema": f"campus.{schema}", "site": site.name, "serial": 1, "issued_at": now}


def toml(tables: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Return (header, keys) pairs as TOML; an empty header is the root table."""
    lines: list[str] = []
    for header, table in tables:
        lines += ["", header] if header else []
        lines += [f"{name} = {_value(value)}" for name, value in table.items()]
    return "\n".join(lines).strip() + "\n"


def _value(value: Any) -> str:
    match value:
        case datetime():
            return value.isoformat(timespec="seconds")
        case dict():
            return "{ " + ", ".join(f"{name} = {_value(item)}" for name, item in value.items()) + " }"
        case list():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            return json.dumps(value)  # for strings, numbers and booleans JSON is TOML


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from the first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
