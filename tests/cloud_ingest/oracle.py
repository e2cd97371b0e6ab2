"""Which rows a message may become, read from the wire's description alone: an independent and slow second opinion.

It shares no code with the ingest. It may allow more than the ingest stores; what it does not allow is a wrong row.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from typing import Any

Key = tuple[str, frozenset[tuple[str, str]], int]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
POINT = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
HANDLE = re.compile(r"[0-9a-f]{32}")
TOPIC = re.compile(r"campus/v1/([^/]+)/([^/]+)/telemetry/(open|group|personal|sensitive|ops)/(live|backfill)")
MEASUREMENTS = {"environment", "energy", "occupancy", "lesson", "attendance", "vitals", "gateway"}
REASONS = {
    "timeout", "out_of_range", "decode", "stale", "clock_unsynced", "sensor_fault", "warming_up", "dark", "covered",
    "outside_hours",
}  # fmt: skip
QUALITIES = {"good", "suspect", "clock_uncertain"}
BOOLS, TEXTS = {"presence"}, {"state"}
NUMBERS = {
    "temperature", "humidity", "co2", "pm1", "pm2_5", "pm10", "illuminance", "noise", "pressure", "power", "energy",
    "voltage", "current", "power_factor", "heart_rate", "battery", "people", "counter", "brightness", "duration",
    "memory",
}  # fmt: skip
TAKEN = {"time", "time_ns", "site", "room", "device", "gateway", "subject", "quality", "simulated"}
YEAR_2020 = 1_577_836_800 * 10**9
LIMIT = 4 * 1024 * 1024


class No(Exception):
    """Nothing of it may be stored."""


def allowed(topic: str, payload: bytes, *, now_ns: int, future_ns: int = 86_400 * 10**9) -> dict[Key, dict[str, Any]]:
    """Return measurement, tags and time → fields, of all rows that the message may become."""
    try:
        return _rows(topic, _document(payload), now_ns + future_ns)
    except No:
        return {}


def _document(payload: bytes) -> dict[str, Any]:
    if payload[:2] == b"\x1f\x8b":
        try:
            payload = gzip.decompress(payload)
        except (OSError, EOFError, zlib.error) as error:
            raise No from error
    if len(payload) > LIMIT:
        raise No
    try:
        # What stands in fields that nobody reads need be neither UTF-8 nor short.
        found = json.loads(
            payload.decode(errors="replace"), parse_constant=_no_constant, parse_int=_integer, strict=False
        )
    except (ValueError, RecursionError) as error:
        raise No from error
    return _object(found)


def _no_constant(_: str) -> Any:
    raise No


def _integer(text: str) -> Any:
    return int(text) if len(text) < 4000 else 10**4000  # beyond what a time, a number or a float may be


def _object(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise No
    return found


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise No
    return found


def _rows(topic: str, batch: dict[str, Any], latest: int) -> dict[Key, dict[str, Any]]:
    where = TOPIC.fullmatch(topic)
    if where is None or not (NAME.fullmatch(where[1]) and NAME.fullmatch(where[2])):
        raise No
    if (batch.get("schema"), batch.get("site"), batch.get("gateway"), batch.get("class")) != (
        "campus.batch/1",
        *where.groups()[:3],
    ):
        raise No
    epoch, number = batch.get("epoch"), _whole(batch.get("batch"))
    if not isinstance(epoch, str) or not re.fullmatch(r"[0-9a-f]{16}", epoch) or not 0 <= number < 10**18:
        raise No
    rows: dict[Key, dict[str, Any]] = {}
    for device in _list(batch.get("devices")):
        tags = _tags(where[1], where[2], _object(device))
        for sample in _list(device.get("samples")):
            found = _row(_object(sample), device, latest, personal=where[3] in {"personal", "sensitive"})
            if tags is None or found is None:
                continue
            at, fields = found
            mine = {**tags, **({} if sample.get("subject") is None else {"subject": sample["subject"]})}
            if batch.get("simulated") is True:
                fields["simulated"] = True
            rows[device["measurement"], frozenset(mine.items()), at] = fields
    return rows


def _whole(found: Any) -> int:
    if type(found) is int:
        return found
    if type(found) is float and found.is_integer():
        return int(found)
    raise No


def _tags(site: str, gateway: str, device: dict[str, Any]) -> dict[str, str] | None:
    name, room, measurement = (device.get(key) for key in ("device", "room", "measurement"))
    if not all(isinstance(one, str) for one in (name, room, measurement)):
        raise No
    if measurement not in MEASUREMENTS or not NAME.fullmatch(name) or not NAME.fullmatch(room):
        return None
    place = {"gateway": gateway} if measurement == "gateway" else {"room": room}
    return {"site": site, "device": name, **place}


def _type(device: dict[str, Any], point: str) -> type | None:
    quantity = _object(device.get("quantities")).get(point)
    if not POINT.fullmatch(point) or point in TAKEN or point.endswith("_bad") or not isinstance(quantity, str):
        return None
    kinds = [kind for names, kind in ((BOOLS, bool), (TEXTS, str), (NUMBERS, float)) if quantity in names]
    spoils = [kind for names, kind in ((BOOLS, bool), (TEXTS, str), (NUMBERS, float)) if point in names]
    return kinds[0] if kinds and (not spoils or spoils == kinds) else None


def _row(
    sample: dict[str, Any], device: dict[str, Any], latest: int, *, personal: bool
) -> tuple[int, dict[str, Any]] | None:
    at, quality, subject = _whole(sample.get("acquired_at_ns")), sample.get("quality", "good"), sample.get("subject")
    in_time = (quality == "clock_uncertain" or at >= YEAR_2020) and 0 <= at <= latest
    his = subject is None or (personal and isinstance(subject, str) and HANDLE.fullmatch(subject) is not None)
    if quality not in QUALITIES or not in_time or not his:
        return None
    fields: dict[str, Any] = {}
    for point, value in _object(sample.get("values", {})).items():
        fields[point] = _fitting(value, _type(device, point))
    for point, reason in _object(sample.get("bad") or {}).items():
        right = _type(device, point) is not None and point not in fields and reason in REASONS
        fields[f"{point}_bad"] = reason if right else None
    if not fields or None in fields.values():
        return None
    return at, fields if quality == "good" else {**fields, "quality": quality}


def _fitting(value: Any, wanted: type | None) -> Any:
    """Return the value of that type; none if it is not."""
    if wanted is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            return None
    if type(value) is not wanted or (wanted is float and math.isinf(value)):
        return None
    return None if wanted is str and (len(value) > 1024 or "\0" in value) else value


_FIELD = re.compile(r'((?:\\.|[^,= \\])+)=("(?:\\.|[^"\\])*"|[^, ]+)(,| (-?\d+)(?:\n|$))', re.DOTALL)
_SERIES = re.compile(r"((?:\\.|[^ \\])+) ")


def lines(text: str) -> list[tuple[str, dict[str, Any], int]]:
    """Read line protocol: series, fields and time of each line."""
    found: list[tuple[str, dict[str, Any], int]] = []
    at = 0
    while at < len(text):
        series = _SERIES.match(text, at)
        assert series is not None, f"no series at {at}: {text[at : at + 80]!r}"
        at = series.end()
        fields: dict[str, Any] = {}
        while True:
            field = _FIELD.match(text, at)
            assert field is not None, f"no field at {at}: {text[at : at + 80]!r}"
            at = field.end()
            fields[field[1]] = _value(field[2])
            if field[4] is not None:
                found.append((series[1], fields, int(field[4])))
                break
    return found


def _value(text: str) -> Any:
    if text.startswith('"'):
        return re.sub(r"\\([\"\\])", r"\1", text[1:-1])
    return {"true": True, "false": False}[text] if text in {"true", "false"} else float(text)
