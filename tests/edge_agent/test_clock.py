"""The clocks: what the kernel says is believed, and what was once believed stays so."""

import time

import pytest

from edge_agent import clock as clock_module
from edge_agent.clock import Clock, boot_id, boottime_ns


@pytest.fixture
def says(monkeypatch, tmp_path):
    """Whether timesyncd and the kernel say `synchronised`."""
    flag = tmp_path / "synchronized"
    kernel = {"synced": False}
    monkeypatch.setattr(clock_module, "_TIMESYNCD", flag)
    monkeypatch.setattr(clock_module, "_kernel_synced", lambda: kernel["synced"])
    return flag, kernel


def test_nobody_says_so_is_not_synchronised(says):
    assert not Clock().synced()


def test_timesyncd_says_so(says):
    says[0].touch()
    assert Clock().synced()


def test_the_kernel_says_so(says):
    says[1]["synced"] = True
    assert Clock().synced()


def test_once_believed_it_stays_so_for_this_boot(says):
    clock = Clock()
    says[0].touch()
    assert clock.synced()
    says[0].unlink()
    assert clock.synced()
    assert not Clock().synced()


def test_it_may_be_told_to_believe(says):
    assert Clock(assume_synced=True).synced()


def test_the_real_kernel_can_be_asked():
    assert clock_module._kernel_synced() in {True, False}


def test_now_is_utc_and_the_boots_clock_only_grows():
    assert abs(Clock().now_ns() - time.time_ns()) < 1e9
    first = boottime_ns()
    assert 0 < first <= boottime_ns()


@pytest.mark.parametrize("step_ns", [-3_600_000_000_000, 3_600_000_000_000, 1_600_000_000_000_000_000])
def test_a_clock_that_is_set_moves_no_time_until_it_is_believed(says, monkeypatch, step_ns):
    clock = Clock()
    before = clock.now_ns()
    now = time.time_ns
    monkeypatch.setattr(clock_module.time, "time_ns", lambda: now() + step_ns)
    assert not clock.synced()
    assert 0 <= clock.now_ns() - before < 1e9
    assert abs(clock.boottime_of(before) - boottime_ns()) < 1e9
    assert clock.right_ns(before) == before
    says[1]["synced"] = True
    assert clock.synced()
    assert abs(clock.step_ns - step_ns) < 1e9
    assert 0 <= clock.now_ns() - before - step_ns < 1e9
    assert abs(clock.right_ns(before) - clock.now_ns()) < 1e9
    later = clock.now_ns()
    assert clock.right_ns(later) == later
    monkeypatch.setattr(clock_module, "boottime_ns", lambda: boottime_ns() + 61_000_000_000)
    assert clock.right_ns(before) == before


def test_the_ingests_clock_will_do_where_ntp_is_blocked(says):
    clock = Clock()
    before = clock.now_ns()
    clock.correct(before + 5_000_000_000_000)
    assert clock.synced()
    assert 0 <= clock.now_ns() - before - 5_000_000_000_000 < 1e9
    assert abs(clock.right_ns(before) - clock.now_ns()) < 1e9
    clock.correct(before)
    assert clock.now_ns() > before + 4_000_000_000_000


def test_a_boot_has_one_id():
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
