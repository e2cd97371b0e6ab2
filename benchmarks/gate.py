"""Privacy gate: microseconds a sample on one core, for room air and for a band whose wearer the roster names.

The band's sample takes the whole way: handle, lesson, binding, consent of one in a school of 3,000. Beside it stands
the bare HMAC that a handle costs without the gate's memory. Run `python -m benchmarks --only gate`.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from device_profiles import load_profile
from edge_agent.privacy import Gate, GatewayKeys, InForce
from edge_agent.privacy.documents import Consents, Policy, Roster
from edge_agent.privacy.reading import parse_document
from telemetry.counters import Counters
from telemetry.sample import Admitted, Sample, Subject, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT_US = 5.0
BANDS = 45
SCHOOL = 3_000
SAMPLES = 20_000
AIR: dict[str, Value] = {
    "humidity": 41.0,
    "temperature": 21.5,
    "co2": 800.0,
    "pm2_5": 12.0,
    "noise": 55.0,
    "illuminance": 320.0,
}
HEAD = 'schema = "campus.{schema}"\nsite = "s"\nserial = 1\nissued_at = {now}\n'
VALID = "valid_from = 2000-01-01T00:00:00Z\nvalid_until = 2100-01-01T00:00:00Z\n"
POLICY = """
[[purpose]]
name = "pe_lesson"
basis = "consent"
zh = "体育"
en = "sports"
[[rule]]
class = "sensitive"
purpose = "pe_lesson"
distance = "school"
consent = true
binding = "roster"
hours = "lessons"
"""


def documents(keys: GatewayKeys, now: datetime) -> InForce:
    """Return a school's documents: 3,000 consents, a lesson of 45 bands that is on now."""
    head = {name: HEAD.format(schema=name, now=now.isoformat()) for name in ("policy/2", "consents/1", "roster/1")}
    pupils = [keys.handle("pe_lesson", Subject(kind="pupil", identifier=str(number))) for number in range(SCHOOL)]
    given = 'purpose = "pe_lesson", given_by = "guardian", under_14 = true, valid_until = 2100-01-01T00:00:00Z'
    listed = ",\n".join(f'{{ handle = "{pupil}", {given} }}' for pupil in pupils)
    bands = [keys.handle("pe_lesson", band(number)) for number in range(BANDS)]
    worn = "\n".join(f'{one} = "{pupil}"' for one, pupil in zip(bands, pupils, strict=False))
    today = (now + timedelta(hours=8)).date()
    lesson = f'[[lesson]]\nclass = "c7-2"\nroom = "gym"\non = {today}\nstart = 00:00:00\nend = 23:59:59.999999\n'
    policy = parse_document(f"{head['policy/2']}{VALID}{POLICY}".encode())
    consents = parse_document(f"{head['consents/1']}consent = [\n{listed}\n]\n".encode())
    roster = parse_document(
        f'{head["roster/1"]}{VALID}{lesson}purpose = "pe_lesson"\n[lesson.bindings]\n{worn}\n'.encode()
    )
    if not (isinstance(policy, Policy) and isinstance(consents, Consents) and isinstance(roster, Roster)):
        raise TypeError("the benchmark's own documents are mixed up")
    return InForce(policy, consents, roster)


def band(number: int) -> Subject:
    """Return one band's raw identifier."""
    return Subject(kind="band", identifier=f"C400{number:08X}")


def run() -> list[dict[str, Any]]:
    """Return the figures: name, figure, unit, limit, ratio (limit ÷ figure)."""
    now = datetime.now(UTC)
    keys = GatewayKeys(
        schema="campus.gateway-keys/1",
        site="s",
        school_year="2026-2027",
        keys={"pe_lesson": hashlib.sha256(b"benchmark").hexdigest()},
    )
    in_force, now_ns = documents(keys, now), time.time_ns()
    gate = Gate(
        {"air": load_profile("modbus/multisensor_6in1"), "bands": load_profile("ble/heart_rate_service")},
        rooms={"air": "r101", "bands": "gym"},
        keys=keys,
        in_force=lambda: in_force,
        now_ns=time.time_ns,
        counters=Counters(),
    )
    air = [Sample(device="air", acquired_at_ns=now_ns, values=AIR)]
    worn = [
        Sample(
            device="bands",
            acquired_at_ns=now_ns,
            values={"heart_rate": 120.0, "rr_interval": 0.5, "battery": 80.0},
            subject=band(number),
        )
        for number in range(BANDS)
    ]
    bare = _best(lambda: [keys.handle("pe_lesson", sample.subject) for sample in worn if sample.subject]) / len(worn)
    return [
        _figure("privacy gate, an air sample of six values", _split(gate, air), LIMIT_US),
        _figure("privacy gate, a band's sample: key, lesson, binding, consent", _split(gate, worn), LIMIT_US),
        _figure("bare HMAC of one handle, which the gate remembers", bare * 1e6, None),
    ]


def _split(gate: Gate, samples: Sequence[Sample]) -> float:
    for sample in samples:
        if not all(isinstance(answer, Admitted) for answer in gate.split(sample)):
            raise RuntimeError("the benchmark's own sample is withheld")
    rounds = SAMPLES // len(samples)

    def work() -> None:
        for _ in range(rounds):
            for sample in samples:
                gate.split(sample)

    return _best(work) / (rounds * len(samples)) * 1e6


def _best(work: Callable[[], Any], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def _figure(name: str, figure: float, limit: float | None) -> dict[str, Any]:
    ratio = None if limit is None else round(limit / figure, 2)
    return {"name": name, "figure": round(figure, 2), "unit": "µs", "limit": limit, "ratio": ratio}


if __name__ == "__main__":
    for line in run():
        print(line)
