"""What a backlog needs of the ingest: answers that come soon, since its gateway waits for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from telemetry.topics import Flow
from tests.cloud_ingest.conftest import connected_gateway
from tests.cloud_ingest.gateway import batch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud_ingest.conftest import MakeIngest
    from tests.servers import Server

pytestmark = pytest.mark.server("mosquitto")
FLUSH_S = 3.0


async def test_old_batches_do_not_wait_for_company_and_new_ones_do(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    await make_ingest(mosquitto, f"sqlite://{tmp_path}/store.sqlite", CAMPUS_INGEST_WRITER__FLUSH_S=str(FLUSH_S))
    async with connected_gateway(mosquitto) as gateway:
        began = time.monotonic()
        for number in range(1, 5):
            await gateway.send(batch(number), flow=Flow.BACKFILL)
            await gateway.stored(number)
        assert time.monotonic() - began < FLUSH_S
        began = time.monotonic()
        await gateway.send(batch(5))
        await gateway.stored(5)
        assert time.monotonic() - began > FLUSH_S / 2


async def test_live_and_old_batches_that_wait_together_are_all_stored(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    """They are written in turn: neither may be forgotten for the other."""
    await make_ingest(
        mosquitto, f"sqlite://{tmp_path}/store.sqlite", CAMPUS_INGEST_WRITER__FLUSH_VALUES="7"
    )  # a group is full after three batches
    async with connected_gateway(mosquitto) as gateway:
        for number in range(1, 60, 2):
            await gateway.send(batch(number), flow=Flow.BACKFILL)
            await gateway.send(batch(number + 1))
        for number in range(1, 61):
            await gateway.stored(number)
