"""A database in trouble: full, slow, hanging, gone for a day. Memory stays bounded, nothing is lost or given up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from telemetry.ranges import covers
from tests.cloud_ingest.conftest import IngestProcess, MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import AIR, NOW, attendance, batch, block, sample
from tests.cloud_ingest.influx2_imitation import Influx2, fail
from tests.cloud_ingest.test_service import counters_of, letters_of
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.batch import Batch
    from tests.cloud_ingest.gateway import Gateway
    from tests.servers import Server

RETRY_AT = "Wed, 21 Oct 2026 07:28:04 GMT"
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


def memory_of(ingest: IngestProcess) -> int:
    """Resident bytes of the process."""
    assert ingest.process is not None
    with open(f"/proc/{ingest.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def full(number: int, samples: int = 333) -> Batch:
    """As large as a gateway makes them: a thousand values."""
    first = NOW + number * 1_000_000_000
    one_of = [sample(first + n, dict.fromkeys(AIR, n + number / 7)) for n in range(samples)]
    return batch(number, [block(one_of)])


async def insist(gateway: Gateway, batches: list[Batch], done: asyncio.Event, in_flight: int = 6) -> None:
    """Send with a full window, again and again, far sooner than a gateway would; until all are stored."""
    waiting = {one.number: one for one in batches}
    while waiting:
        acks, gateway.acks = gateway.acks, []
        spans = [span for ack in acks for span in ack.stored]
        waiting = {number: one for number, one in waiting.items() if not covers(spans, number)}
        await gateway.send(*list(waiting.values())[:in_flight])
        await asyncio.sleep(0.1 if done.is_set() else 0.25)


async def outage(
    broker: Server, ingest: IngestProcess, influx2: Influx2, *, gateways: int, seconds: float, batches: int = 12
) -> tuple[int, int]:
    """Let many gateways insist while the store is away; return by how many bytes the ingest grew, and its writes."""
    over = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        many = [await stack.enter_async_context(connected_gateway(broker, f"gw-{n}")) for n in range(gateways)]
        # What it keeps by heart in good times is no growth.
        for number in range(-3, 1):
            for one in many:
                await one.send(full_of(one.gateway, 5 + number))
            for one in many:
                await one.stored(5 + number)
        before, writes = memory_of(ingest), influx2.writes
        influx2.down = True
        async with asyncio.TaskGroup() as group:
            for one in many:
                mine = [full_of(one.gateway, number) for number in range(10, 10 + batches)]
                group.create_task(insist(one, mine, over))
            ends = time.monotonic() + seconds
            grew = 0
            while time.monotonic() < ends:
                await asyncio.sleep(0.2)
                grew = max(grew, memory_of(ingest) - before)
            asked = influx2.writes - writes
            influx2.down = False
            over.set()
    return grew, asked


def full_of(gateway: str, number: int) -> Batch:
    one = full(number)
    (device,) = one.devices
    return batch(number, [block(device.samples, device=f"{gateway}-air")], gateway=gateway)


async def test_pain_09_retries_never_amplify_an_outage(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    ingest = await make_ingest(mosquitto, influx2.url)
    grew, asked = await outage(mosquitto, ingest, influx2, gateways=3, seconds=4.0, batches=8)
    assert await ingest.stop() == 0
    # Attempts 0.5 s, then up to 1, 2 and 4 s apart, for two groups; not one for each message.
    assert 1 <= asked <= 14
    assert grew < 50_000_000
    assert len(influx2.points) == 3 * (4 + 8) * 333
    assert letters_of(ingest) == []
    assert counters_of(ingest).get("intake.conflicts", 0) == 0


@pytest.mark.long
async def test_pain_09_a_day_without_a_database_takes_bounded_memory(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accelerated: gateways that resend 120 times as often as real ones, for twelve minutes of theirs a second."""
    ingest = await make_ingest(mosquitto, influx2.url)
    grew, asked = await outage(mosquitto, ingest, influx2, gateways=20, seconds=60.0, batches=60)
    messages = counters_of(ingest)["intake.messages"]
    assert await ingest.stop() == 0
    with capsys.disabled():
        print(f"\noutage: grew {grew / 1e6:.1f} MB, {asked} writes tried for {messages} messages")  # noqa: T201
    assert grew < 50_000_000
    assert asked < 40
    assert len(influx2.points) == 20 * (4 + 60) * 333


async def test_whose_batches_were_shed_is_greeted_when_the_store_is_back(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    """Its own time-out may be ten minutes away by then."""
    ingest = await make_ingest(mosquitto, influx2.url, CAMPUS_INGEST_WRITER__FLUSH_VALUES="6")
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "1"})]
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        await gateway.send(*(batch(number) for number in range(2, 10)))
        await gateway.stored(1)
        await gateway.until(lambda ack: not ack.stored and not ack.retry_after_s, within=3)
        await gateway.send(*(batch(number) for number in range(2, 10)))
        for number in range(2, 10):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    assert counters_of(ingest)["intake.shed_batches"] >= 6
    assert len(influx2.points) == 9


@pytest.mark.parametrize(
    ("answer", "least_s"),
    [
        ((429, {"Retry-After": "3"}), 2.5),
        ((503, {"Retry-After": RETRY_AT, "Date": DATE}), 3.5),
        ((503, {}), 1.5),
    ],
)
async def test_retry_after_is_told_on_to_gateways(
    mosquitto: Server,
    make_ingest: MakeIngest,
    influx2: Influx2,
    answer: tuple[int, dict[str, str]],
    least_s: float,
) -> None:
    status, headers = answer
    influx2.answers.append(fail(status, "busy", "later", **headers))
    ingest = await make_ingest(mosquitto, influx2.url)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        told = await gateway.until(lambda ack: ack.retry_after_s > 0)
        assert least_s <= told.retry_after_s <= 5
        started = time.monotonic()
        await gateway.stored(1)
        assert time.monotonic() - started > least_s - 1
    assert await ingest.stop() == 0
    assert letters_of(ingest) == []


async def test_a_hanging_store_holds_up_its_own_classes_only(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, tmp_path: Path
) -> None:
    """Long before its deadline: more than Receive Maximum wait for it, and the other store's rows go by."""
    routes = f'{{"open": "{influx2.url}"}}'
    limits = {"CAMPUS_INGEST_STORE__ROUTES": routes, "CAMPUS_INGEST_MQTT__RECEIVE_MAXIMUM": "5"}
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite", **limits)
    influx2.hanging = True
    try:
        async with connected_gateway(mosquitto) as gateway:
            await gateway.send(*(batch(number) for number in range(1, 20)))
            told = await gateway.until(lambda ack: ack.retry_after_s > 0, within=6)
            assert not told.stored
            await gateway.send(attendance(50))
            await gateway.stored(50, within=5)
            influx2.hanging = False
            for number in range(1, 20):
                await gateway.stored(number)
    finally:
        influx2.hanging = False
    assert await ingest.stop() == 0
    assert len(influx2.points) == 19
    assert all(later >= earlier for earlier, later in zip(influx2.first_times, influx2.first_times[2:], strict=False))


async def test_a_slow_store_gets_no_more_than_it_can_take(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    influx2.slow_s = 0.3
    ingest = await make_ingest(mosquitto, influx2.url)
    async with connected_gateway(mosquitto) as gateway:
        for number in range(1, 61):
            await gateway.send(batch(number))
            await asyncio.sleep(0.02)
        for number in range(1, 61):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    assert influx2.writes <= 14  # groups, at most two on their way, of which either may come first
    assert all(later >= earlier for earlier, later in zip(influx2.first_times, influx2.first_times[2:], strict=False))
    assert len(influx2.points) == 60


TROUBLES: dict[str, dict[str, Any]] = {
    "hanging": {"hanging": True},
    "down": {"down": True},
    "full": {"largest_body": 1},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_stop_takes_less_than_five_seconds_in_any_trouble(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, trouble: str
) -> None:
    ingest = await make_ingest(mosquitto, influx2.url)
    for name, value in TROUBLES[trouble].items():
        setattr(influx2, name, value)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(full(number) for number in range(1, 5)))
        await until(lambda: influx2.writes or any(ack.retry_after_s for ack in gateway.acks))
        started = time.monotonic()
        assert await ingest.stop() == 0
        assert time.monotonic() - started < 5
        influx2.hanging = False
        assert not any(ack.stored for ack in gateway.acks)
        # Of a body too large for any store, what was not halved to the end in time is not answered at all.
        for ack in gateway.acks:
            assert bool(ack.refused) == (trouble == "full" and not ack.retry_after_s)
