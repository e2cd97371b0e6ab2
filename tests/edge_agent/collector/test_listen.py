"""listen: passes on what a device says, opens it again after each loss, and knows whether it works."""

import asyncio

import pytest

from edge_agent.collector import DeviceState, listen
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError
from telemetry.sample import Sample
from tests.drivers.helpers import running
from tests.waiting import until


class Speaking:
    """A device that says `words` at each opening and is then lost by `error`; at the last opening it stays silent."""

    def __init__(self, *openings) -> None:
        self._openings = list(openings)
        self.opened = self.closed = self.ended = 0

    async def __aenter__(self):
        self.opened += 1
        return self

    async def __aexit__(self, kind, error, trace):
        self.closed += 1

    async def samples(self):
        words, error = self._openings[self.opened - 1] if self.opened <= len(self._openings) else (0, None)
        try:
            for number in range(words):
                yield Sample(device="d", acquired_at_ns=number, values={"presence": True})
            if error is None:
                await asyncio.Event().wait()
            elif isinstance(error, Exception):
                raise error
        finally:
            self.ended += 1


def listened(driver):
    samples, state = [], DeviceState(device="d")

    async def emit(sample):
        samples.append(sample)

    return samples, state, listen(lambda: driver, emit, state)


@pytest.mark.parametrize(
    "error", [DeviceUnavailable("lost"), ProtocolError("lost"), KeyError("bug"), "ends without an error"]
)
async def test_a_lost_device_is_opened_again_and_nothing_it_said_is_lost(error):
    driver = Speaking((2, error), (3, error), (1, None))
    samples, state, listening = listened(driver)
    async with running(listening):
        await until(lambda: len(samples) == 6)
        assert state.state == "up"
    assert (driver.opened, driver.closed, driver.ended) == (3, 3, 3)


async def test_the_state_says_why_it_is_down():
    samples, state, listening = listened(Speaking((1, DeviceUnavailable("link bus is lost"))))
    lost = []
    state.on_lost = lambda: lost.append(1)
    async with running(listening):
        await until(lambda: state.state == "down")
        assert state.document()["error"] == "link bus is lost"
        assert state.document()["last_sample_age_s"] >= 0
    assert lost == [1]
    assert len(samples) == 1


async def test_the_pauses_grow_while_the_device_stays_lost(monkeypatch):
    pauses, sleep = [], asyncio.sleep

    async def noted(seconds):
        if seconds > 0.1:
            pauses.append(seconds)
        await sleep(min(seconds, 0.002))

    driver = Speaking(*[(0, DeviceUnavailable("lost"))] * 4)
    _, _, listening = listened(driver)
    monkeypatch.setattr(asyncio, "sleep", noted)
    async with running(listening):
        await until(lambda: driver.opened == 5)
    first, second, third, fourth = pauses
    assert 0.125 <= first <= 0.25 <= second <= 0.5 <= third <= 1.0
    assert 0.75 <= fourth <= 1.5


async def test_a_refused_login_is_not_tried_again_soon():
    driver = Speaking((0, AuthError("refused")))
    _, state, listening = listened(driver)
    async with running(listening):
        await until(lambda: state.state == "down")
        with pytest.raises(TimeoutError):
            await until(lambda: driver.opened > 1, within_s=0.3)


async def test_cancelling_releases_the_device():
    driver = Speaking((1, None))
    samples, _, listening = listened(driver)
    async with running(listening):
        await until(lambda: samples)
    assert (driver.closed, driver.ended) == (1, 1)


async def test_a_sink_that_fails_is_not_a_lost_device():
    async def emit(_sample):
        raise OSError("disk full")

    driver = Speaking((1, None))
    with pytest.raises(OSError, match="disk full"):
        await listen(lambda: driver, emit, DeviceState(device="d"))
    assert (driver.opened, driver.closed, driver.ended) == (1, 1, 1)


def test_a_change_is_logged_once_not_each_failure(caplog):
    caplog.set_level("INFO")
    state = DeviceState(device="r101-air")
    for _ in range(3):
        state.down(DeviceUnavailable("silent"))
    state.down(DeviceUnavailable("unplugged"))
    for _ in range(3):
        state.sampled()
    assert [record.getMessage() for record in caplog.records] == [
        "device r101-air: silent",
        "device r101-air: unplugged",
        "device r101-air: is back",
    ]


def test_a_device_that_changes_its_error_each_second_does_not_fill_the_log(caplog, monkeypatch):
    caplog.set_level("INFO")
    now = [1000.0]
    monkeypatch.setattr("edge_agent.collector.state.time.monotonic", lambda: now[0])
    state = DeviceState(device="r101-air")
    for second in range(3600):
        now[0] += 1.0
        state.down(ProtocolError(f"reply of {second % 7} bytes has a wrong CRC"))
        if second % 3 == 0:
            state.sampled()
    assert len(caplog.records) <= 6 * 7
    assert any("changes before it were not logged" in record.getMessage() for record in caplog.records)
