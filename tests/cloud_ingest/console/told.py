"""What gateways say of themselves, as bytes, for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cloud_ingest.console.fleet import Fleet
from telemetry.counters import Counters
from tests.cloud_ingest.console.stored import NS, SITE, WEDNESDAY, Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY = "gw-101"


def topic(channel: str, gateway: str = GATEWAY, site: str = SITE) -> str:
    return f"campus/v1/{site}/{gateway}/{channel}"


def encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def status(state: str = "online", at_ns: int = WEDNESDAY, **more: Any) -> bytes:
    return encoded(
        {"schema": "campus.status/1", "state": state, "epoch": "0" * 16, "boot_id": "b", "at_ns": at_ns, **more}
    )


def standing(state: str = "in_force", **more: Any) -> dict[str, Any]:
    times = {"issued_at_ns": WEDNESDAY - 3600 * NS, "valid_until_ns": WEDNESDAY + 7200 * NS}
    return {"state": state, "serial": 7, **times, "text": f"{state}: serial 7", **more}


def standings(**given: Any) -> dict[str, Any]:
    none = standing("none", serial=None, issued_at_ns=None, valid_until_ns=None, text="none: no roster_file is set")
    return {"policy": standing(), "consents": standing(), "roster": none} | given


def health(gateway: str = GATEWAY, **more: Any) -> bytes:
    document = {
        "schema": "campus.health/1",
        "site": SITE,
        "gateway": gateway,
        "epoch": "0" * 16,
        "boot_id": "b",
        "at_ns": WEDNESDAY,
        "uptime_s": 12.5,
        "clock": "synced",
        "simulated": False,
        "gate_closed_for_people": None,
        "documents": standings(),
        "audit": {"n": 12, "hash": "8f0b19ae" * 8, "digests": ["c3d4" * 16]},
        "buffer": {"batches": 3, "values": 120, "bytes": 4096, "oldest_age_s": 0.5, "hours_left": 812.5},
        "devices": {"r101-air": {"state": "up", "last_sample_age_s": 0.6, "error": None}},
        "counters": {"gate.withheld.personal.no_consent": 2, "publisher.acks": 99},
    }
    return encoded(document | more)


def device(name: str = "r101-air", room: str = "r101", **more: Any) -> dict[str, Any]:
    points = [
        {"name": "co2", "quantity": "co2", "unit": "ppm"},
        {"name": "illuminance", "quantity": "illuminance", "unit": "lx", "at_least_every_s": 10.0},
        {"name": "sequence", "quantity": "counter", "unit": "count"},
    ]
    described = {
        "name": name,
        "room": room,
        "profile": "modbus/multisensor_6in1@1.0.0",
        "measurement": "environment",
        "period_s": 1.0,
        "points": points,
        "state": "up",
    }
    return described | more


def devices(*described: dict[str, Any], gateway: str = GATEWAY, **more: Any) -> bytes:
    document = {"schema": "campus.devices/1", "site": SITE, "gateway": gateway, "at_ns": WEDNESDAY, "simulated": False}
    return encoded(document | {"devices": list(described)} | more)


def fleet_of(clock: Clock, **more: Any) -> tuple[Fleet, Counters]:
    counters = Counters()
    return Fleet(counters, now_ns=clock.now_ns, clock_s=clock.monotonic, **more), counters
