"""What the pipeline's tests share: profiles, clocks moved by hand, a sink, samples."""

import asyncio
import contextlib
import time

import pytest

from edge_agent.buffer import WaitingRoom
from edge_agent.clock import boottime_ns
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate
from telemetry.counters import Counters
from telemetry.profile import DeviceProfile, Point, Range, Report, Text
from telemetry.sample import Admitted, Sample, Subject
from tests.edge_agent.privacy.test_gate import ATTENDANCE, CONSENTED, keys_for, policy

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
ALLOWED = policy(ATTENDANCE, consents=CONSENTED, first="2000-01-01T00:00:00Z", last="2100-01-01T00:00:00Z")
BASE_NS = 1_800_000_000 * SECOND
CARD = Subject(kind="card", identifier="0A0012ABCD")


def profile(*points, **keys):
    fields = {
        "id": "test/device",
        "version": "1.0.0",
        "name": Text(zh="测", en="test"),
        "manufacturer": "m",
        "model": "m",
        "driver": "modbus",
        "measurement": "environment",
        "point": points,
    }
    return DeviceProfile(**(fields | keys))


AIR = profile(
    Point(name="co2", quantity="co2", physical=Range(low=0, high=5000), report=Report(deadband=5, at_least_every_s=60)),
    Point(name="noise", quantity="noise"),
    warmup_s=0,
)
GATE = profile(Point(name="presence", quantity="presence", purpose="attendance", **{"class": "personal"}))


class Now:
    """A gateway's clocks: UTC, wrong by `wrong_by_ns` until it is synchronised, and the boot's own, moved by hand."""

    def __init__(self, *, wrong_by_ns=0, synced=False, uptime_ns=None):
        self.wrong_by_ns = wrong_by_ns
        self.is_synced = synced
        self.slept_ns = 0 if uptime_ns is None else uptime_ns - boottime_ns()
        self.true_offset_ns = (time.time_ns() - boottime_ns() - self.slept_ns) // 1000 * 1000
        self.guess_ns = self.true_offset_ns + wrong_by_ns
        self.reckonings = 0

    def boot_ns(self):
        return boottime_ns() + self.slept_ns

    def true_ns(self):
        return self.boot_ns() + self.true_offset_ns

    def now_ns(self):
        return self.boot_ns() + (self.true_offset_ns if self.is_synced else self.guess_ns)

    def even_ns(self):
        return self.boot_ns() + self.guess_ns

    def boottime_of(self, even_ns):
        return even_ns - self.guess_ns

    def even_of(self, utc_ns):
        return utc_ns - self.true_offset_ns + self.guess_ns

    @property
    def offset_ns(self):
        return self.true_offset_ns if self.is_synced else None

    def synced(self):
        return self.is_synced

    def new_reckoning(self):
        self.reckonings += 1
        return self.reckonings


class Sink:
    def __init__(self):
        self.taken: list[Admitted] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.settlements = 0

    async def append(self, admitted):
        self.taken.append(admitted)
        await self.gate.wait()

    async def settled(self):
        self.settlements += 1


@contextlib.asynccontextmanager
async def opened_room(
    folder, clock=None, *, boot="this", window_s=2.0, max_bytes=64_000_000, devices=None, counters=None
):
    """A waiting room in the buffer's folder."""
    room = await WaitingRoom.open(
        folder,
        boot=boot,
        guess_ns=0 if clock is None else clock.guess_ns,
        window_s=window_s,
        max_bytes=max_bytes,
        devices={} if devices is None else devices,
        counters=Counters() if counters is None else counters,
        now_boot_ns=boottime_ns if clock is None else clock.boot_ns,
    )
    try:
        yield room
    finally:
        await room.close()


@pytest.fixture
async def build(tmp_path):
    rooms = contextlib.AsyncExitStack()

    async def made(clock, rules=None, *, boot="this", window_s=0.5, max_bytes=64_000_000, **profiles):
        rules = rules or (lambda: ALLOWED)
        counters, sink = Counters(), Sink()
        profiles = profiles or {"air": AIR, "gate": GATE}
        gate = Gate(
            profiles, rooms={}, keys=keys_for("attendance"), in_force=rules, now_ns=clock.now_ns, counters=counters
        )
        room = await rooms.enter_async_context(
            opened_room(tmp_path, clock, boot=boot, window_s=window_s, max_bytes=max_bytes, counters=counters)
        )
        pipeline = Pipeline(profiles, gate=gate, sink=sink, room=room, clock=clock, counters=counters)
        return pipeline, sink, counters

    async with rooms:
        yield made


def air(clock, co2=400.0, **keys):
    return Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": co2, "noise": 40.0}, **keys)


def card(clock):
    return Sample(device="gate", acquired_at_ns=clock.even_ns(), values={"presence": True}, subject=CARD)
