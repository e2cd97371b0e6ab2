"""Work that goes on to its end though whoever waits for it is cancelled: half of it would be neither done nor not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Unbroken:
    """Runs such work in tasks of one name, and knows what of it is still running."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, work: Coroutine[None, None, T]) -> T:
        """Return what `work` returns; it is finished even if the caller is cancelled."""
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(work, name=self._name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Return when nothing is running any more."""
        while self._running:
            await asyncio.wait(self._running)


def _retrieve(task: asyncio.Task[T]) -> None:
    """Look at the outcome, so that an error nobody waited for any more is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
