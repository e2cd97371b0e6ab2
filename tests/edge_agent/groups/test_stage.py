"""The stage: two classes in one gym, the bell, a wrong clock, a restart; never more in memory than two minutes."""

import asyncio
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edge_agent.groups import ClassList, Groups, Seat
from edge_agent.groups import stage as stage_module
from telemetry.counters import Counters
from telemetry.sample import Quality, Reason, Sample, Subject

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_791_422_400 * SECOND  # a full minute
END = START + 40 * MINUTE


@dataclass
class School:
    """Who is in which class, as the register says; a band's id is its pupil's name."""

    lists: list[ClassList] = field(default_factory=list)
    group: int | None = 5

    def lessons(self, at_ns):
        return [one for one in self.lists if one.start_ns <= at_ns < one.end_ns]

    def seat(self, sample):
        for one in self.lessons(sample.acquired_at_ns):
            if sample.subject is not None and sample.subject.identifier in one.members:
                return Seat(lesson=one.key, member=sample.subject.identifier)
        return None

    def min_group(self):
        return self.group


@dataclass
class Gym:
    school: School
    now_ns: int = START - 10 * SECOND
    is_synced: bool = True
    told: list[tuple[str, Sample]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self):
        self.groups = Groups(
            {"gym-bands": "heart_rate"},
            register=self.school,
            key=b"k" * 32,
            now_ns=lambda: self.now_ns,
            synced=lambda: self.is_synced,
            counters=self.counters,
        )

    def until(self, at_ns, rates=None, *, every=10 * SECOND):
        """Go on to `at_ns`; whoever is in `rates` says his rate each ten seconds."""
        while self.now_ns < at_ns:
            self.now_ns += every
            for pupil, rate in (rates or {}).items():
                self.say(pupil, rate)
            self.told += self.groups.due()

    def say(self, pupil, rate, **keys):
        sample = Sample(
            device="gym-bands",
            acquired_at_ns=self.now_ns,
            values={"heart_rate": rate},
            subject=Subject(kind="band", identifier=pupil),
        )
        self.groups.take(replace_sample(sample, **keys))

    def means(self, device="lesson-7-1"):
        return [sample.values["heart_rate_mean"] for _, sample in self.told if sample.device == device]


def replace_sample(sample, **keys):
    return Sample(**{name: keys.get(name, getattr(sample, name)) for name in sample.__struct_fields__})


def listed(group="7-1", count=45, **keys):
    members = frozenset(f"{group}/{number:02d}" for number in range(count))
    return replace(ClassList(group=group, room="gym", start_ns=START, end_ns=END, members=members), **keys)


def rates_of(lists, seed=1):
    rng = np.random.default_rng(seed)
    return {pupil: float(rng.normal(140, 15)) for one in lists for pupil in sorted(one.members)}


def test_two_classes_ninety_bands_one_gym_two_right_means():
    lists = [listed("7-1"), listed("7-2")]
    gym, rates = Gym(School(lists)), rates_of(lists)
    gym.until(END + MINUTE, rates)
    for one in lists:
        mine = [(room, sample) for room, sample in gym.told if sample.device == f"lesson-{one.group}"]
        true = sum(rates[pupil] for pupil in one.members) / 45
        assert {room for room, _ in mine} == {"gym"}
        assert {sample.values["heart_rate_mean"] for _, sample in mine} == {float(round(true))}
        assert {sample.values["pupils"] for _, sample in mine} == {45.0}
        times = [sample.acquired_at_ns for _, sample in mine]
        assert len(times) == len(set(times)) == 38  # all but the two in which bands are handed out
        assert all(START < at_ns < END and at_ns % MINUTE == MINUTE - 1_000_000 for at_ns in times)
    assert gym.groups._running == {}


def test_a_mean_says_nothing_else_and_names_nobody():
    gym = Gym(School([listed()]))
    gym.until(START + 5 * MINUTE, rates_of([listed()]))
    for _, sample in gym.told:
        assert set(sample.values) == {"heart_rate_mean", "pupils"}
        assert (sample.subject, sample.bad) == (None, {})


def test_after_the_bell_a_band_gives_nothing():
    one = listed(end_ns=START + 10 * MINUTE + 30 * SECOND)
    gym, rates = Gym(School([one])), rates_of([one])
    gym.until(one.end_ns - SECOND, rates)
    for pupil in rates:
        rates[pupil] = 200.0
    gym.until(END, rates)
    assert set(gym.means()) == {gym.means()[0]}
    assert gym.told[-1][1].acquired_at_ns == one.end_ns - 1_000_000
    assert gym.groups._running == {}


def test_the_next_class_in_the_same_gym_is_another_lesson():
    first, second = listed("7-1", end_ns=START + 10 * MINUTE), listed("7-2", start_ns=START + 10 * MINUTE)
    gym = Gym(School([first, second]))
    gym.until(END, rates_of([first, second]))
    last = max(sample.acquired_at_ns for _, sample in gym.told if sample.device == "lesson-7-1")
    assert last < first.end_ns < min(sample.acquired_at_ns for _, sample in gym.told if sample.device == "lesson-7-2")


def test_who_is_in_no_lesson_and_what_is_no_heart_rate_is_not_kept():
    gym = Gym(School([listed()]))
    rates = rates_of([listed()])
    gym.until(START + 3 * MINUTE)
    for pupil in rates:
        gym.say(pupil, 100.0)
        gym.say(pupil, 250.0, quality=Quality.SUSPECT)
        gym.say(pupil, 250.0, values={}, bad={"heart_rate": Reason.SENSOR_FAULT})
        gym.say(pupil, 250.0, device="other-bands")
        gym.say(pupil, 250.0, subject=None)
        gym.say(f"{pupil}/guest", 250.0)
    gym.until(START + 5 * MINUTE)
    assert gym.means() == [100.0]


def test_on_a_wrong_clock_nothing_is_told_nor_kept():
    gym = Gym(School([listed()]), is_synced=False)
    gym.until(START + 10 * MINUTE, rates_of([listed()]))
    assert gym.told == []
    assert gym.groups._running == {}


def test_without_a_rule_nothing_is_kept():
    gym = Gym(School([listed()], group=None))
    gym.until(START + 10 * MINUTE, rates_of([listed()]))
    assert gym.told == []
    assert all(running.state is None for running in gym.groups._running.values())


@pytest.mark.parametrize(("count", "group", "told"), [(7, 5, False), (8, 5, True), (8, 6, False), (12, 20, False)])
def test_the_policys_smallest_group_counts(count, group, told):
    gym = Gym(School([listed(count=count)], group=group))
    gym.until(START + 10 * MINUTE, rates_of([listed(count=count)]))
    assert bool(gym.told) is told


def test_a_policy_made_stricter_in_the_lesson_counts_at_once():
    school = School([listed(count=20)])
    gym, rates = Gym(school), rates_of([listed(count=20)])
    gym.until(START + 10 * MINUTE, rates)
    before = len(gym.told)
    assert before
    school.group = 6
    gym.until(START + 20 * MINUTE, rates)
    assert len(gym.told) == before
    school.group = None
    gym.until(START + 25 * MINUTE, rates)
    assert len(gym.told) == before
    school.group = 5
    gym.until(START + 30 * MINUTE, rates)
    assert len(gym.told) == before + 5


def test_a_list_may_grow_while_bands_are_handed_out_and_not_later():
    school = School([listed(count=20)])
    gym = Gym(school)
    gym.until(START + 90 * SECOND, rates_of([listed(count=20)]))
    school.lists = [listed(count=40)]
    gym.until(START + 10 * MINUTE, rates_of([listed(count=40)]))
    assert {sample.values["pupils"] for _, sample in gym.told} == {40.0}
    school.lists = [listed(count=45)]
    gym.until(START + 20 * MINUTE, rates_of([listed(count=45)]))
    assert {sample.values["pupils"] for _, sample in gym.told} == {40.0}
    assert gym.counters.get("groups.not_counted") > 0


def test_who_withdraws_in_the_lesson_takes_his_cell_with_him():
    school = School([listed()])
    gym = Gym(school)
    gym.until(START + 10 * MINUTE, rates_of([listed()]))
    school.lists = [listed(members=listed().members - {"7-1/00"})]
    before = len(gym.told)
    gym.until(START + 15 * MINUTE, rates_of([listed()]))
    assert {sample.values["pupils"] for _, sample in gym.told[before + 2 :]} == {30.0}


def test_after_a_restart_the_cells_are_the_same_and_a_small_class_is_silent():
    for count, told in ((45, True), (15, False)):
        gym = Gym(School([listed(count=count)]), now_ns=START + 10 * MINUTE)
        rates = rates_of([listed(count=count)])
        gym.until(START + 15 * MINUTE, rates)
        assert bool(gym.told) is told


def test_a_lesson_that_is_made_longer_goes_on_with_the_same_pupils():
    school = School([listed(count=9, end_ns=START + 10 * MINUTE)])
    gym, rates = Gym(school), rates_of([listed(count=9)])
    gym.until(START + 8 * MINUTE, rates)
    school.lists = [listed(count=9, end_ns=START + 20 * MINUTE)]
    gym.until(END, rates)
    assert len(gym.told) == 18


def test_lessons_and_pupils_are_bounded(monkeypatch):
    monkeypatch.setattr(stage_module, "MAX_LESSONS", 3)
    monkeypatch.setattr(stage_module, "MAX_PUPILS", 100)
    lists = [listed(f"7-{number}") for number in range(5)]
    gym = Gym(School(lists))
    gym.until(START + 5 * MINUTE, rates_of(lists))
    assert len(gym.groups._running) == 3
    assert sum(running.state is not None for running in gym.groups._running.values()) == 2
    assert gym.counters.get("groups.too_many_lessons") > 0
    assert gym.counters.get("groups.too_many_pupils") > 0


def test_a_clock_that_jumps_ahead_makes_no_flood_of_empty_minutes():
    gym = Gym(School([listed(end_ns=START + 10_000_000 * MINUTE)]))
    gym.until(START + 5 * MINUTE, rates_of([listed()]))
    gym.now_ns += 5_000_000 * MINUTE
    before = gym.counters.get("groups.minutes_untold")
    gym.groups.due()
    assert gym.counters.get("groups.minutes_untold") - before <= 2


async def test_run_emits_what_is_due_until_it_is_cancelled(monkeypatch):
    monkeypatch.setattr(stage_module, "LOOK_S", 0.001)
    gym, rates = Gym(School([listed()])), rates_of([listed()])
    taken = asyncio.Event()
    emitted = []

    async def emit(room, sample):
        emitted.append((room, sample))
        taken.set()

    gym.until(START + 2 * MINUTE, rates)
    for _ in range(7):
        gym.now_ns += 10 * SECOND
        for pupil, rate in rates.items():
            gym.say(pupil, rate)
    running = asyncio.create_task(gym.groups.run(emit), name="groups")
    async with asyncio.timeout(5):
        await taken.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [room for room, _ in emitted] == ["gym"]
