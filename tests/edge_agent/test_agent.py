"""The agent in this process: what a fault of its own leaves behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent import agent as agent_module
from edge_agent.agent import Agent
from edge_agent.configuration import load_configuration
from tests.edge_agent.pipeline_kit import opened_room
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.buffer import WaitingRoom

CONFIG = """
site = "s"
gateway = "g"
window_s = 60.0
[mqtt]
url = "mqtt://[::1]:1"
[buffer]
path = "{folder}/buffer"
[clock]
sync_file = "{folder}/no-clock"
"""


async def test_a_fault_leaves_on_disk_also_what_waits_for_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[WaitingRoom] = []
    known = agent_module.open_room

    async def open_room(*arguments: object, **keys: object) -> WaitingRoom:
        rooms.append(await known(*arguments, **keys))  # type: ignore[arg-type]
        return rooms[0]

    async def fault(_progress: object) -> None:
        await until(lambda: rooms[0].waiting)  # the gateway's own row
        raise RuntimeError("a bug")

    monkeypatch.setattr(agent_module, "open_room", open_room)
    monkeypatch.setattr(agent_module, "feed_watchdog", fault)
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    with pytest.raises(ExceptionGroup) as caught:
        await Agent(load_configuration(path)).run(asyncio.Event())
    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    async with opened_room(tmp_path / "buffer") as room:
        assert room.waiting == 1
