"""The clocks: what the kernel says is believed; the even clock is never set; steps are followed and counted."""

import time
from types import SimpleNamespace

import pytest

from edge_agent import clock as clock_module
from edge_agent.clock import GRAIN_NS, Clock, Source, boot_id, boottime_ns, utc_of

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NOW = 1_800_000_000 * SECOND


class World:
    """A machine's clocks, moved by hand: the true time, the system's clock, and who calls it synchronised."""

    def __init__(self, monkeypatch, tmp_path, *, wrong_by_ns=0):
        self.boot_ns = 100 * SECOND
        self.started_ns = NOW
        self.wrong_by_ns = wrong_by_ns
        self.flag = tmp_path / "synchronized"
        self.kernel = False
        system = SimpleNamespace(time_ns=lambda: self.true_ns() + self.wrong_by_ns)
        monkeypatch.setattr(clock_module, "_TIMESYNCD", self.flag)
        monkeypatch.setattr(clock_module, "_kernel_synced", lambda: self.kernel)
        monkeypatch.setattr(clock_module, "boottime_ns", lambda: self.boot_ns)
        monkeypatch.setattr(clock_module, "time", system)

    def true_ns(self):
        return self.started_ns + self.boot_ns

    def sleep(self, seconds):
        self.boot_ns += int(seconds * SECOND)


@pytest.fixture
def world(monkeypatch, tmp_path):
    return World(monkeypatch, tmp_path)


def test_nobody_says_so_is_not_synchronised(world):
    assert not Clock().synced()


def test_timesyncd_says_so(world):
    world.flag.touch()
    assert Clock().synced()


def test_the_kernel_says_so(world):
    world.kernel = True
    clock = Clock()
    assert clock.synced()
    assert clock.source is Source.SYSTEM


def test_where_the_kernel_may_not_be_asked_timesyncd_is_enough(world):
    world.kernel = None
    assert not Clock().synced()
    world.flag.touch()
    assert Clock().synced()


def test_a_file_may_say_so_and_then_nobody_else_is_asked(world, tmp_path):
    world.kernel = True
    clock = Clock(sync_file=tmp_path / "set")
    assert not clock.synced()
    (tmp_path / "set").touch()
    assert clock.synced()


def test_once_believed_it_stays_so_for_this_boot(world):
    world.flag.touch()
    clock = Clock()
    world.flag.unlink()
    assert clock.synced()
    assert not Clock().synced()


def test_it_may_be_told_to_believe(world):
    assert Clock(assume_synced=True).synced()


@pytest.mark.parametrize("wrong_by_ns", [-NOW, 90 * 365 * 24 * HOUR])
def test_a_time_before_this_program_or_far_in_the_future_is_not_believed_whoever_calls_it_right(world, wrong_by_ns):
    world.wrong_by_ns, world.kernel = wrong_by_ns, True
    clock = Clock()
    assert not clock.synced()
    world.wrong_by_ns = 0
    assert clock.synced()


def test_the_real_kernel_can_be_asked():
    assert clock_module._kernel_synced() in {True, False, None}


def test_now_is_utc_and_the_boots_clock_only_grows():
    assert abs(Clock().now_ns() - time.time_ns()) < 1e9
    first = boottime_ns()
    assert 0 < first <= boottime_ns()


@pytest.mark.parametrize("wrong_by_ns", [-HOUR, HOUR, -NOW, 0])
def test_before_synchronisation_time_goes_on_evenly_whatever_is_set(world, wrong_by_ns):
    world.wrong_by_ns = wrong_by_ns
    clock = Clock()
    first = clock.now_ns()
    world.wrong_by_ns += 7 * HOUR
    world.sleep(5)
    assert (clock.synced(), clock.now_ns() - first, clock.even_ns() - first) == (False, 5 * SECOND, 5 * SECOND)
    taken = clock.even_ns()
    world.wrong_by_ns, world.kernel = 0, True
    true_ns = world.true_ns()
    world.sleep(60)
    assert clock.synced()
    assert clock.even_ns() - first == 65 * SECOND
    assert abs(utc_of(clock.boottime_of(taken), clock.offset_ns) - true_ns) <= 2 * GRAIN_NS
    assert clock.even_of(clock.now_ns()) == clock.even_ns()
    assert clock.steps == 0


@pytest.mark.parametrize("step_ns", [-HOUR, HOUR, -SECOND, SECOND, 300 * 24 * HOUR])
def test_a_confirmed_step_of_the_systems_clock_is_followed_and_counted(world, step_ns):
    world.kernel = True
    clock = Clock()
    before, told = clock.offset_ns, []
    clock.on_reckoning.append(lambda: told.append(1))
    world.wrong_by_ns += step_ns
    world.sleep(1)
    assert clock.synced()
    assert abs(clock.offset_ns - before - step_ns) < GRAIN_NS
    assert (clock.steps, clock.last_step_ns // GRAIN_NS, len(told)) == (1, (step_ns - before % GRAIN_NS) // GRAIN_NS, 1)
    assert abs(clock.now_ns() - world.true_ns() - step_ns) < 2 * GRAIN_NS
    assert clock.even_ns() == world.true_ns()


def test_times_by_two_reckonings_are_never_equal_though_the_clock_was_set_back(world):
    world.kernel = True
    clock = Clock()
    times = set()
    for _ in range(50):
        times |= {utc_of(world.boot_ns + k * GRAIN_NS, clock.offset_ns) for k in range(20)}
        world.wrong_by_ns -= 1 * SECOND
        world.sleep(1)
        assert clock.synced()
    assert len(times) == 50 * 20


def test_what_is_no_step_moves_nothing(world):
    world.kernel = True
    clock = Clock()
    before = clock.offset_ns
    for wrong_by_ns in (5_000_000, -5_000_000, 0):
        world.wrong_by_ns = wrong_by_ns
        assert clock.synced()
    assert (clock.offset_ns, clock.steps) == (before, 0)


def test_a_clock_that_somebody_set_is_not_believed_until_it_is_confirmed(world):
    """Setting the clock makes the kernel say "not synchronised"; timesyncd's flag stays and says nothing then."""
    world.kernel = True
    world.flag.touch()
    clock = Clock()
    world.wrong_by_ns, world.kernel = 3 * HOUR, False
    world.sleep(60)
    assert (clock.synced(), clock.held, clock.steps) == (True, True, 0)
    assert abs(clock.now_ns() - world.true_ns()) < 2 * GRAIN_NS
    world.wrong_by_ns = 0  # NTP mends it
    assert (clock.synced(), clock.held, clock.steps) == (True, False, 0)
    world.wrong_by_ns = 3 * HOUR
    assert clock.synced()
    world.kernel = True
    assert (clock.synced(), clock.held, clock.steps) == (True, False, 1)
    assert abs(clock.now_ns() - world.true_ns() - 3 * HOUR) < 2 * GRAIN_NS


def test_pain_15_the_ingests_clock_will_do_where_ntp_is_blocked_and_ntp_takes_over_later(world):
    world.wrong_by_ns = -NOW
    clock = Clock()
    clock.correct(world.started_ns + 300_000_000)
    assert (clock.synced(), clock.source, clock.steps) == (True, Source.INGEST, 0)
    assert abs(clock.now_ns() - world.true_ns()) < SECOND
    for better_ns in (0, -100_000_000):  # within what nobody can tell
        clock.correct(world.started_ns + better_ns)
    assert clock.steps == 0
    clock.correct(world.started_ns - 2 * SECOND)
    assert clock.steps == 1
    world.wrong_by_ns, world.kernel = 0, True
    assert clock.synced()
    assert (clock.source, clock.steps) == (Source.SYSTEM, 2)
    assert abs(clock.now_ns() - world.true_ns()) < 2 * GRAIN_NS
    clock.correct(world.started_ns + HOUR)
    assert abs(clock.now_ns() - world.true_ns()) < 2 * GRAIN_NS


def test_a_held_clock_may_be_corrected_by_the_ingest(world):
    world.kernel = True
    clock = Clock()
    world.wrong_by_ns, world.kernel = HOUR, False
    assert clock.synced()
    clock.correct(world.started_ns + 10 * SECOND)
    assert (clock.source, clock.steps) == (Source.INGEST, 1)


def test_what_somebody_set_is_not_believed_either_once_the_ingest_has_corrected_it(world):
    """timesyncd's flag stays when the clock is set; before the ingest's answer it counted for nothing, too."""
    world.kernel = True
    world.flag.touch()
    clock = Clock()
    world.wrong_by_ns, world.kernel = HOUR, False
    assert (clock.synced(), clock.held) == (True, True)
    clock.correct(world.started_ns + SECOND)
    for _ in range(3):
        world.sleep(1)
        assert (clock.synced(), clock.source) == (True, Source.INGEST)
        assert abs(clock.now_ns() - world.true_ns()) <= SECOND + 2 * GRAIN_NS
    world.wrong_by_ns, world.kernel = 0, True  # NTP mends it
    assert (clock.synced(), clock.source) == (True, Source.SYSTEM)
    assert abs(clock.now_ns() - world.true_ns()) < 2 * GRAIN_NS


def test_a_restart_in_the_same_boot_goes_on_by_what_was_known(world):
    world.kernel = True
    offset_ns = Clock().offset_ns
    world.kernel, world.wrong_by_ns = False, -NOW
    clock = Clock()
    assert not clock.synced()
    clock.begin(17)
    clock.remember(offset_ns)
    assert (clock.synced(), clock.source, clock.offset_ns % GRAIN_NS) == (True, Source.EARLIER, 18)
    assert abs(clock.now_ns() - world.true_ns()) < 2 * GRAIN_NS
    world.kernel, world.wrong_by_ns = True, 0
    assert clock.synced()
    assert (clock.source, clock.steps, clock.offset_ns % GRAIN_NS) == (Source.SYSTEM, 0, 18)


def test_a_boot_has_one_id():
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
