"""The files that agent and ingest are given: settings, key and signed documents, from the classroom's table."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from simulators.demo.classroom import SCENE, cards, refusing
from simulators.demo.handles import handle, subkey
from simulators.demo.officer import new_officer
from simulators.demo.options import WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

GATEWAY: Final = "gw-101"
SCHOOL_YEAR: Final = "2026-2027"
PURPOSE: Final = "attendance"
HEALTH_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run's school: a name of its own, so that a shared broker or store cannot mix runs, and a demo key."""

    name: str
    seed: int
    key: bytes
    """Subkey for attendance; the master key was thrown away."""

    def handle(self, card: str) -> str:
        """Return the pseudonym under which the card's holder is stored."""
        return handle(self.key, kind="card", identifier=card)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a device process can be reached: a serial port's stable path, or host and port."""

    path: str = ""
    host: str = ""
    port: int = 0


def new_site(seed: int) -> Site:
    """Return a fresh site for one run."""
    name = f"demo-{seed}-{secrets.token_hex(3)}"
    master = secrets.token_bytes(32)
    return Site(name=name, seed=seed, key=subkey(master, site=name, school_year=SCHOOL_YEAR, purpose=PURPOSE))


def write_agent(folder: Path, site: Site, *, mqtt: str, protocol: str, endpoints: Mapping[str, Endpoint]) -> Path:
    """Write agent.toml, keys.toml, officer.pub and the signed documents below `folder`; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, officer, now = folder / "keys.toml", new_officer(), datetime.now(UTC)
    write_private(keys, key_file(site))
    write_private(folder / "officer.pub", officer.public_line)
    documents = {"policy": policy_file(site, now=now), "consents": consents_file(site, now=now)}
    for name, text in documents.items():
        write_private(folder / f"{name}.toml", officer.sign(text))
    privacy = {"key_file": str(keys), "trusted_keys": [str(folder / "officer.pub")]}
    privacy |= {f"{name}_file": str(folder / f"{name}.toml") for name in documents}
    tables: list[tuple[str, dict[str, Any]]] = [
        ("", {"site": site.name, "gateway": GATEWAY, "simulated": True, "window_s": WINDOW_S}),
        ("[mqtt]", {"url": mqtt, "protocol": protocol}),
        ("[buffer]", {"path": str(folder / "buffer"), "max_bytes": 256_000_000}),
        ("[privacy]", privacy),
        # The truth is told by this machine's clock too, so it does not matter whether NTP has set it.
        ("[clock]", {"assume_synced": True}),
        ("[health]", {"period_s": HEALTH_S}),
    ]
    for name, endpoint in endpoints.items():
        serial = {"kind": "serial", "path": endpoint.path, "baudrate": 9600}
        tcp = {"kind": "tcp", "host": endpoint.host, "port": endpoint.port}
        tables.append(("[[link]]", {"name": name} | (serial if endpoint.path else tcp)))
    for device in SCENE.devices:
        told = {"name": device.name, "room": device.room, "profile": device.profile, "link": device.link}
        tables.append(("[[device]]", told | ({"options": dict(device.options)} if device.options else {})))
    path = folder / "agent.toml"
    write_private(path, toml(tables))
    return path


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
    return toml([("", head), ("[keys]", {PURPOSE: site.key.hex()})])


def policy_file(site: Site, *, now: datetime) -> str:
    """Return the text of the policy, not yet signed: attendance may leave, with consent."""
    day = timedelta(days=1)
    head = _head("policy/2", site, now) | {"valid_from": now - day, "valid_until": now + day}
    purpose = {"name": PURPOSE, "basis": "consent", "zh": "考勤", "en": "who came"}
    rule = {"class": "personal", "purpose": PURPOSE, "distance": "school", "consent": True, "retention_days": 180}
    return toml([("", head), ("[[purpose]]", purpose), ("[[rule]]", rule)])


def consents_file(site: Site, *, now: datetime) -> str:
    """Return the text of the list of consents, not yet signed: everybody consents but the one who refuses."""
    given = {"purpose": PURPOSE, "given_by": "guardian", "under_14": True, "valid_until": now + timedelta(days=1)}
    consents = sorted(site.handle(card) for card in cards(site.seed) if card != refusing(site.seed))
    return toml([("", _head("consents/1", site, now)), *(("[[consent]]", {"handle": who} | given) for who in consents)])


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
