"""What a healthy day writes to the flash card: each writer's rule, held. `benchmarks/agent_flash.py` has the bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_agent.buffer import writer as writer_module
from edge_agent.buffer.identity import BLOCK, write_meta
from tests.edge_agent.buffer.helpers import ack, opened, sample
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.identity import Meta

BATCHES = 25_000
"""What a busy classroom sends in three and a half hours."""


async def test_pain_17_a_healthy_link_writes_nothing_but_reserved_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def noted(path: Path, meta: Meta, disk: Disk) -> None:
        written.append(meta.reserved)
        write_meta(path, meta, disk)

    monkeypatch.setattr(writer_module, "write_meta", noted)
    async with opened(tmp_path, window_s=60.0, max_batch_values=1) as (buffer, counters):
        buffer.on_ready(lambda: buffer.acknowledge(ack(taken)) if (taken := buffer.take_live()) else None)
        for number in range(BATCHES):
            await buffer.append(sample(value=float(number)))
            if number % 100 == 0:
                await asyncio.sleep(0)
            if number % 1000 == 0:
                await until(lambda: not buffer._opened.identity.low)  # slower than this hurry allows for
        assert counters.get("buffer.batches") == BATCHES
        assert counters.get("buffer.syncs.samples") == 0
        assert counters.get("buffer.identity_unsaved") == 0
        assert not list((tmp_path / "samples").glob("*.log"))
    assert len(written) <= BATCHES // BLOCK + 1
