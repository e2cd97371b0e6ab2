"""Lessons: from signed documents, keys and bands to a class's rows; without consent, binding or rule nobody counts."""

import asyncio
from datetime import UTC, date, datetime

import numpy as np
import pytest
from pydantic import TypeAdapter

from device_profiles import load_profile
from edge_agent.buffer import Buffer
from edge_agent.catalogue import device_info
from edge_agent.lessons import LESSON_PROFILE, PURPOSE, LessonDevices, heart_rate_points, make_groups
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate, GatewayKeys, InForce
from edge_agent.privacy.documents import Consents, Policy, Roster
from telemetry.batch import decode_batch, unpack
from telemetry.counters import Counters
from telemetry.sample import PERSON_CLASSES, Admitted, DataClass, Sample, Subject
from tests.edge_agent.groups.oracle import cells_of
from tests.edge_agent.privacy.files import SITE, handle, subkey

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = int(datetime(2026, 10, 8, 2, 0, tzinfo=UTC).timestamp()) * SECOND  # 10:00 in Shanghai
END = START + 40 * MINUTE
BANDS = load_profile("ble/heart_rate_service")
GROUP_RULE = {"class": "group", "purpose": PURPOSE, "hours": "lessons"}
VITALS_RULE = {"class": "sensitive", "purpose": PURPOSE, "distance": "school", "binding": "roster"}
CLASSES = {"7-1": range(45), "7-2": range(45, 90)}


def band(number):
    return f"C4000000{number:04X}"


def pupil(number):
    return handle(PURPOSE, f"{number:010X}")


def bound(number):
    return handle(PURPOSE, band(number), kind="band")


def in_force(*, rules=(GROUP_RULE,), consenting=range(90), classes=None, room="gym", purpose=PURPOSE, hours=1):
    issued = datetime.fromtimestamp(START / SECOND - 3600 * hours, UTC).isoformat()
    common = {"site": SITE, "serial": 1, "issued_at": issued}
    valid = {"valid_from": "2026-09-01T00:00:00+08:00", "valid_until": "2027-07-15T00:00:00+08:00"}
    policy = {
        "schema": "campus.policy/2",
        **common,
        **valid,
        "purpose": [{"name": PURPOSE, "basis": "consent", "zh": "体育课", "en": "PE lessons"}],
        "rule": list(rules),
    }
    consents = {
        "schema": "campus.consents/1",
        **common,
        "consent": [
            {
                "handle": pupil(number),
                "purpose": PURPOSE,
                "given_by": "guardian",
                "under_14": True,
                "valid_until": "2027-07-15T00:00:00+08:00",
            }
            for number in consenting
        ],
    }
    roster = {
        "schema": "campus.roster/1",
        **common,
        **valid,
        "lesson": [
            {
                "class": name,
                "room": room,
                "on": date(2026, 10, 8),
                "start": "10:00:00",
                "end": "10:40:00",
                "purpose": purpose,
                "bindings": {bound(number): pupil(number) for number in numbers},
            }
            for name, numbers in (classes or CLASSES).items()
        ],
    }
    return InForce(
        TypeAdapter(Policy).validate_python(policy),
        TypeAdapter(Consents).validate_python(consents),
        TypeAdapter(Roster).validate_python(roster),
    )


class Sink:
    def __init__(self):
        self.taken: list[Admitted] = []

    async def append(self, admitted):
        self.taken.append(admitted)


class Gateway:
    """Pipeline, gate and stage as the agent wires them, with a clock that is moved by hand."""

    def __init__(self, documents, *, purposes=(PURPOSE,), synced=True):
        self.time_ns = START - 30 * SECOND
        self.is_synced = synced
        self.documents = documents
        self.counters, self.sink = Counters(), Sink()
        keys = GatewayKeys(
            schema="campus.gateway-keys/1",
            site=SITE,
            school_year="2026-2027",
            keys={purpose: subkey(purpose).hex() for purpose in purposes},
        )
        profiles, rooms = {"gym-bands": BANDS}, {"gym-bands": "gym"}
        self.infos = {"gym-bands": device_info("gym-bands", "gym", BANDS)}
        common = {"counters": self.counters}
        self.groups = make_groups(profiles, rooms, keys=keys, in_force=lambda: self.documents, clock=self, **common)
        gate = Gate(profiles, rooms=rooms, keys=keys, in_force=lambda: self.documents, now_ns=self.now_ns, **common)
        self.pipeline = Pipeline(
            profiles, gate=gate, sink=self.sink, room=self, clock=self, overhear=self.groups.take, **common
        )
        self.devices = LessonDevices(
            load_profile(LESSON_PROFILE),
            profiles=profiles,
            rooms=rooms,
            infos=self.infos,
            pipeline=self.pipeline,
            **common,
        )

    def now_ns(self):
        return self.time_ns

    def synced(self):
        return self.is_synced

    @property
    def offset_ns(self):
        return 0 if self.is_synced else None

    def even_of(self, at_ns):
        return at_ns

    async def put(self, taken_ns, admitted):
        """As a waiting room: nobody asks for it."""

    def boottime_of(self, at_ns):
        return at_ns

    async def until(self, at_ns, rates):
        while self.time_ns < at_ns:
            self.time_ns += 15 * SECOND
            for number, rate in rates.items():
                await self.pipeline.emit(
                    Sample(
                        device="gym-bands",
                        acquired_at_ns=self.time_ns,
                        values={"heart_rate": rate},
                        subject=Subject(kind="band", identifier=band(number)),
                    )
                )
            for room, sample in self.groups.due():
                await self.devices.emit(room, sample)

    def told(self, name="7-1"):
        return [sample for sample in self.sink.taken if sample.device == f"lesson-{name}"]


def heart_rates(numbers=range(90), seed=3):
    rng = np.random.default_rng(seed)
    return {number: float(rng.normal(140, 15)) for number in numbers}


async def test_two_classes_ninety_bands_one_gym():
    gateway, rates = Gateway(in_force()), heart_rates()
    await gateway.until(END + 2 * MINUTE, rates)
    for name, numbers in CLASSES.items():
        true = sum(rates[number] for number in numbers) / 45
        told = gateway.told(name)
        assert len(told) == 38
        assert {sample.values["heart_rate_mean"] for sample in told} == {float(round(true))}
        assert {(sample.data_class, sample.purpose, sample.handle) for sample in told} == {
            (DataClass.GROUP, PURPOSE, None)
        }
        assert max(sample.acquired_at_ns for sample in told) < END
        assert gateway.infos[f"lesson-{name}"].room == "gym"
    assert not [sample for sample in gateway.sink.taken if sample.data_class in PERSON_CLASSES]


async def test_with_one_band_missing_the_mean_is_that_of_the_complete_cells():
    """Against cells worked out here from the text of the README, not by the stage."""
    gateway, rates = Gateway(in_force()), heart_rates()
    del rates[7]
    await gateway.until(START + 10 * MINUTE, rates)
    by_handle = {pupil(number): rate for number, rate in rates.items()}
    whole = [
        cell
        for cell in cells_of("7-1", [pupil(number) for number in CLASSES["7-1"]], size=10, key=subkey(PURPOSE))
        if cell <= by_handle.keys()
    ]
    told = [by_handle[member] for cell in whole for member in cell]
    assert len(whole) == 3
    assert {sample.values["heart_rate_mean"] for sample in gateway.told()} == {float(round(sum(told) / len(told)))}
    assert {sample.values["pupils"] for sample in gateway.told()} == {float(len(told) // 5 * 5)}


async def test_without_consent_a_band_counts_nowhere():
    gateway, rates = Gateway(in_force(consenting=range(5, 90))), heart_rates()
    for number in range(5):
        rates[number] = 230.0
    await gateway.until(END, rates)
    true = sum(rates[number] for number in range(5, 45)) / 40
    assert {sample.values["heart_rate_mean"] for sample in gateway.told()} == {float(round(true))}
    assert {sample.values["pupils"] for sample in gateway.told()} == {40.0}


@pytest.mark.parametrize(
    "documents",
    [
        InForce(),
        in_force(rules=[VITALS_RULE]),
        in_force(consenting=()),
        in_force(room="hall"),
        in_force(purpose=None, classes={"7-1": (), "7-2": ()}),
        in_force(hours=25),
    ],
    ids=["nothing", "no rule", "no consents", "another room", "nobody bound", "consents too old"],
)
async def test_what_is_missing_leaves_nothing_to_tell(documents):
    gateway = Gateway(documents)
    await gateway.until(START + 10 * MINUTE, heart_rates())
    assert gateway.told() == gateway.told("7-2") == []


async def test_without_a_key_or_with_a_wrong_clock_nothing_is_told():
    for gateway in (Gateway(in_force(), purposes=("attendance",)), Gateway(in_force(), synced=False)):
        await gateway.until(START + 10 * MINUTE, heart_rates())
        assert gateway.sink.taken == []


async def test_a_list_of_consents_that_becomes_too_old_in_the_lesson_ends_the_telling():
    gateway = Gateway(in_force(hours=23.75))
    await gateway.until(END, heart_rates())
    assert 0 < len(gateway.told()) < 15


async def test_a_band_bound_in_two_lessons_at_once_is_nobodys():
    gateway = Gateway(in_force(classes={"7-1": range(20), "7-2": [*range(20, 40), 0]}))
    await gateway.until(START + 5 * MINUTE, heart_rates(range(40)))
    assert {sample.values["pupils"] for sample in gateway.told()} == {10.0}  # the cell without him


async def test_who_has_no_band_today_still_belongs_to_his_cell():
    """The class list is everybody whom the roster binds in any lesson of the class."""
    documents = in_force()
    monday = documents.roster.lessons[0]
    object.__setattr__(monday, "bindings", {bound(number): pupil(number) for number in range(1, 45)})
    other = TypeAdapter(type(monday)).validate_python(
        {
            "class": "7-1",
            "room": "gym",
            "on": date(2026, 10, 9),
            "start": "10:00:00",
            "end": "10:40:00",
            "purpose": PURPOSE,
            "bindings": {bound(0): pupil(0)},
        }
    )
    documents.roster.lessons.append(other)
    gateway = Gateway(documents)
    await gateway.until(START + 5 * MINUTE, heart_rates())
    assert {sample.values["pupils"] for sample in gateway.told()} == {30.0}


async def test_a_class_whose_name_is_a_devices_is_counted_and_not_told():
    gateway = Gateway(in_force())
    gateway.devices._configured |= {"lesson-7-1"}
    await gateway.until(START + 5 * MINUTE, heart_rates())
    assert gateway.told() == []
    assert len(gateway.told("7-2")) == 2
    assert gateway.counters.get("groups.unusable_name") == 2


def test_only_heart_rates_of_bands_are_listened_to():
    profiles = {"bands": BANDS, "mi": load_profile("ble/mi_band_hr"), "air": load_profile("modbus/airbox_tcp")}
    assert heart_rate_points(profiles) == {"bands": "heart_rate", "mi": "heart_rate"}


def test_a_gateway_without_bands_has_no_such_stage():
    profiles = {"air": load_profile("modbus/airbox_tcp"), "lesson": load_profile(LESSON_PROFILE)}
    assert make_groups(profiles, {}, keys=None, in_force=InForce, clock=None, counters=Counters()) is None


async def test_a_class_that_comes_while_the_agent_runs_is_buffered_and_travels_with_its_room(tmp_path):
    gateway = Gateway(in_force())
    buffer = await Buffer.open(
        tmp_path,
        site=SITE,
        gateway="gw-gym",
        simulated=True,
        window_s=2.0,
        max_bytes=50_000_000,
        devices=gateway.infos,
        counters=gateway.counters,
        now_ns=gateway.now_ns,
    )
    async with buffer, asyncio.TaskGroup() as group:
        group.create_task(buffer.run(), name="buffer")
        gateway.pipeline._sink = buffer
        await gateway.until(START + 4 * MINUTE, heart_rates())
        buffer.close_open_batches()
        batches = []
        while (taken := buffer.take_live() or await buffer.take_backfill()) is not None:
            batches.append(decode_batch(unpack(taken.payload)))
        await buffer.close()
    told = {
        (batch.data_class, block.device, block.room, block.measurement) for batch in batches for block in batch.devices
    }
    assert told == {(DataClass.GROUP, f"lesson-{name}", "gym", "lesson") for name in CLASSES}
