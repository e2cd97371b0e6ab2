"""listen: takes what one device sends, for ever; reopens it after each loss."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

from edge_agent.collector.backoff import AUTH_S, Backoff
from edge_agent.collector.faults import Passing, expected
from telemetry.errors import AuthError, DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from edge_agent.collector.state import DeviceState
    from telemetry.driver import PushDriver
    from telemetry.sample import Sample

_STEADY_S: Final = 2.0
"""A link that stayed open for so long was no failure: the next loss starts with the shortest delay."""


async def listen(
    create: Callable[[], PushDriver], emit: Callable[[Sample], Awaitable[None]], state: DeviceState
) -> None:
    """Pass on the device's samples until cancelled."""
    loop = asyncio.get_running_loop()
    backoff = Backoff()
    while True:
        started = loop.time()
        error = await _until_lost(create, emit, state)
        if loop.time() - started >= _STEADY_S:
            backoff.reset()
        state.down(error)
        await asyncio.sleep(AUTH_S if isinstance(error, AuthError) else backoff.next_s())


async def _until_lost(
    create: Callable[[], PushDriver], emit: Callable[[Sample], Awaitable[None]], state: DeviceState
) -> Exception:
    """Pass on samples until the device is lost; return why it was."""
    passing = Passing(emit, state)
    try:
        async with (
            create() as driver,
            aclosing(cast("AsyncGenerator[Sample, None]", driver.samples())) as samples,
        ):
            async for sample in samples:
                state.sampled()
                await passing(sample)
    except Exception as error:  # whatever a driver does must not stop the others
        if passing.failed:
            raise
        return expected(error)
    return DeviceUnavailable("the driver ended without an error")
