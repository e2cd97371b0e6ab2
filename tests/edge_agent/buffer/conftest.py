from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge_agent.buffer.rooms import Boots, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from edge_agent.buffer import WaitingRoom
    from telemetry.counters import Counters


@pytest.fixture
async def open_room(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    rooms: list[WaitingRoom] = []

    async def make(now: Boots, counters: Counters | None = None, **options: object) -> WaitingRoom:
        rooms.append(await opened(tmp_path, now, counters, **options))
        return rooms[-1]

    yield make
    for room in rooms:
        await room.close()
