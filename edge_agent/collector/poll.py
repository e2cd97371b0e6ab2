"""poll: reads one device each period for ever; what was tried and failed is reported as bad, once a period at most."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from edge_agent.collector.backoff import AUTH_S, Backoff
from edge_agent.collector.faults import Passing, expected
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError
from telemetry.sample import Reason, Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_agent.collector.state import DeviceState
    from telemetry.driver import DeviceContext, PollDriver

_STALL_FACTOR: Final = 10
"""A reading that takes so many deadlines has hung: it is abandoned, whatever the driver thinks."""
_PATIENCE: Final = 3
"""Failures in a row before a device counts as lost and is asked less often than a short period says."""


async def poll(
    context: DeviceContext,
    create: Callable[[], PollDriver],
    emit: Callable[[Sample], Awaitable[None]],
    state: DeviceState,
    *,
    period_s: float,
) -> None:
    """Read the device at once and then every `period_s` seconds, from a random phase on, until cancelled."""
    backoff = Backoff()
    passing = Passing(emit, state)
    gaps = _Gaps(context, passing, period_s)
    while True:
        try:
            async with create() as driver:
                await _read_for_ever(driver, context, passing, gaps, state=state, backoff=backoff, period_s=period_s)
        except Exception as error:  # whatever a driver does must not stop the others
            if passing.failed:
                raise
            fault = expected(error)
            state.down(fault)
            await gaps.report(fault)
            await asyncio.sleep(AUTH_S if isinstance(fault, AuthError) else backoff.next_s())


class _Gaps:
    """Puts on record what was tried and failed: opening the device, or reading it."""

    def __init__(self, context: DeviceContext, emit: Callable[[Sample], Awaitable[None]], period_s: float) -> None:
        self._context = context
        self._emit = emit
        self._period_s = period_s
        self._reported_s = float("-inf")

    async def report(self, error: DeviceUnavailable | ProtocolError | AuthError) -> None:
        self._context.counters.add(f"device.{self._context.device}.failed_readings")
        now_s = asyncio.get_running_loop().time()
        if now_s - self._reported_s >= 0.9 * self._period_s:
            self._reported_s = now_s
            await self._emit(_failed(self._context, error))


async def _read_for_ever(
    driver: PollDriver,
    context: DeviceContext,
    emit: Callable[[Sample], Awaitable[None]],
    gaps: _Gaps,
    *,
    state: DeviceState,
    backoff: Backoff,
    period_s: float,
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    phase_s = random.random() * min(period_s, 1.0)  # noqa: S311 - spreads devices over the bus
    failures = 0
    while True:
        await asyncio.sleep(due - loop.time())
        try:
            sample = await _read(driver, context.profile.deadline_s)
        except (DeviceUnavailable, ProtocolError) as error:
            failures += 1
            state.down(error, lost=failures >= _PATIENCE or _link_lost(error))
            await gaps.report(error)
        else:
            failures = 0
            backoff.reset()
            state.sampled()
            await emit(sample)
        due += period_s + phase_s
        phase_s = 0.0
        if due < loop.time():
            missed = int((loop.time() - due) / period_s) + 1
            context.counters.add(f"device.{context.device}.missed_periods", missed)
            due += missed * period_s
        if failures >= _PATIENCE:
            due = max(due, loop.time() + backoff.next_s())


async def _read(driver: PollDriver, deadline_s: float) -> Sample:
    try:
        async with asyncio.timeout(_STALL_FACTOR * deadline_s):
            return await driver.read()
    except TimeoutError as error:
        raise DeviceUnavailable(f"a reading hung for {_STALL_FACTOR * deadline_s:g} s", timed_out=True) from error
    except Exception as error:
        raise expected(error) from error


def _link_lost(error: Exception) -> bool:
    return isinstance(error, DeviceUnavailable) and not error.timed_out


def _failed(context: DeviceContext, error: DeviceUnavailable | ProtocolError | AuthError) -> Sample:
    """Return a sample whose points are all bad: the gap is on record with its reason."""
    known = error.reason if isinstance(error, DeviceUnavailable) else None
    reason = Reason.DECODE if isinstance(error, ProtocolError) else known or Reason.TIMEOUT
    return Sample(
        device=context.device,
        acquired_at_ns=context.now_ns(),
        bad={point.name: reason for point in context.profile.points},
    )
