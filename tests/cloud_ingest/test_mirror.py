"""Mirrors: they get what the store has confirmed, and nothing ever waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, web

from cloud_ingest.mirror import CLASSES, Mirror, Mirrors, numbers
from cloud_ingest.series import Row, make_series
from cloud_ingest.settings import StoreSettings
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.sample import DataClass, Quality, Reason
from tests.cloud_ingest.conftest import IngestProcess, MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import NOW, attendance, batch, block, sample
from tests.cloud_ingest.influx2_imitation import Influx2, fail
from tests.servers import MakeServer, Server, free_port
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

T0 = 1_760_000_040 * 10**9
MS = 1_000_000


def air(n: int, **fields: Any) -> Row:
    series = make_series("environment", {"site": "s", "room": "r1", "device": "d1"})
    return Row(series=series, time_ns=T0 + n * MS, fields=fields or {"co2": 600.0})


class Imitation:
    """Answers each write with the next of `answers`, then with success; remembers what it took and when."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.lines: list[str] = []
        self.asked_at: list[float] = []
        self.url = ""

    async def write(self, request: web.Request) -> web.Response:
        self.asked_at.append(time.monotonic())
        body = (await request.read()).decode()
        if self.answers:
            return self.answers.pop(0)
        self.lines += body.splitlines()
        return web.Response(status=204)


@pytest.fixture
async def imitation() -> AsyncIterator[Imitation]:
    one = Imitation()
    app = web.Application()
    app.router.add_post("/api/v2/write", one.write)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "::1", 0).start()
    one.url = f"victoriametrics://[::1]:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        listener.listen(16)
        yield f"victoriametrics://[::1]:{listener.getsockname()[1]}"


@pytest.fixture
def counters() -> Counters:
    return Counters()


async def stopped(task: asyncio.Task[None], mirror: Mirror) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await mirror.close()


async def send(url: str, counters: Counters, rows: list[Row], within_s: float = 5.0) -> None:
    mirror = Mirror(open_store(url), counters, max_values=100_000)
    task = asyncio.create_task(mirror.run(), name="mirror")
    mirror.offer(rows)
    async with asyncio.timeout(within_s):
        await mirror.drained()
    await stopped(task, mirror)


# What is mirrored


def test_a_mirror_gets_numbers_only() -> None:
    row = air(1, co2=1.0, state=True)
    assert numbers(row) is row
    assert numbers(air(1, mode="auto")) is None
    bad = numbers(air(1, co2=1.0, humidity_bad="timeout", quality="suspect", mode="auto", simulated=True))
    assert bad is not None
    assert bad.fields == {"co2": 1.0, "humidity_bad": True, "quality_not_good": True, "simulated": True}
    assert (bad.series, bad.time_ns) == (row.series, row.time_ns)


def test_classes_about_single_persons_are_never_mirrored(counters: Counters) -> None:
    assert {DataClass.OPEN, DataClass.GROUP, DataClass.OPS} == CLASSES
    settings = StoreSettings(url="sqlite:///s", mirrors=("victoriametrics://h",))
    mirrors = Mirrors(settings, counters)
    for data_class in DataClass:
        mirrors.offer(data_class, [air(1)])
    assert mirrors.each[0]._values == 3


# What a mirror may answer


async def test_rows_arrive_in_order(imitation: Imitation, counters: Counters) -> None:
    await send(imitation.url, counters, [air(n, co2=float(n), state=True) for n in range(12_000)])
    times = [int(line.rsplit(" ", 1)[1]) for line in imitation.lines]
    assert times == [T0 + n * MS for n in range(12_000)]
    assert len(imitation.asked_at) == 3
    assert counters.snapshot() == {"mirror.written_values": 24_000}


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_is_refused_is_dropped_and_counted(imitation: Imitation, counters: Counters, status: int) -> None:
    imitation.answers.append(web.Response(status=status, text="cannot parse"))
    await send(imitation.url, counters, [air(n) for n in range(10_001)])
    assert len(imitation.asked_at) == 2
    assert counters.snapshot() == {"mirror.dropped.refused": 10_000, "mirror.written_values": 1}


async def test_a_row_that_cannot_be_mirrored_is_dropped_alone(imitation: Imitation, counters: Counters) -> None:
    early = Row(series=air(1).series, time_ns=0, fields={"co2": 1.0, "noise": 1.0})
    await send(imitation.url, counters, [air(1), early, air(2)])
    assert len(imitation.lines) == 2
    assert counters.snapshot() == {"mirror.dropped.refused": 2, "mirror.written_values": 2}


@pytest.mark.parametrize("status", [429, 500, 503, 404, 401])
async def test_what_may_pass_is_tried_again(
    imitation: Imitation, counters: Counters, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for name in ("FIRST_WAIT_S", "LONGEST_WAIT_S", "LONGEST_ASKED_S"):
        monkeypatch.setattr(f"cloud_ingest.mirror.{name}", 0.02)
    imitation.answers += [web.Response(status=status) for _ in range(3)]
    await send(imitation.url, counters, [air(1)])
    assert counters.snapshot() == {"mirror.retries": 3, "mirror.written_values": 1}


async def test_retry_after_is_honoured(
    imitation: Imitation, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_ingest.mirror.FIRST_WAIT_S", 0.01)
    imitation.answers += [web.Response(status=429, headers={"Retry-After": "0.6"})]
    imitation.answers += [web.Response(status=503, headers={"Retry-After": "0.05"})]
    await send(imitation.url, counters, [air(1)])
    first, second, third = imitation.asked_at
    assert 0.6 <= second - first < 3
    assert third - second >= 0.05


async def test_an_endless_retry_after_is_cut(
    imitation: Imitation, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_ingest.mirror.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("cloud_ingest.mirror.LONGEST_ASKED_S", 0.1)
    imitation.answers.append(web.Response(status=429, headers={"Retry-After": "999999999"}))
    await send(imitation.url, counters, [air(1)])
    assert counters.get("mirror.written_values") == 1


async def test_back_off_grows_while_it_is_away(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.mirror.FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("cloud_ingest.mirror.LONGEST_WAIT_S", 0.08)
    monkeypatch.setattr("cloud_ingest.mirror.LONGEST_ASKED_S", 0.0)
    mirror = Mirror(open_store(f"victoriametrics://[::1]:{free_port()}"), counters, max_values=100)
    pauses: list[float] = []
    pause = mirror._pause

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await pause(seconds)

    monkeypatch.setattr(mirror, "_pause", noted)
    task = asyncio.create_task(mirror.run(), name="mirror")
    mirror.offer([air(1)])
    await until(lambda: len(pauses) >= 6)
    await stopped(task, mirror)
    for wanted, seconds in zip((0.02, 0.04, 0.08, 0.08, 0.08), pauses, strict=False):
        assert wanted / 2 <= seconds <= wanted


# Memory and time


async def test_memory_stays_bounded_while_it_hangs(hanging: str, counters: Counters) -> None:
    mirror = Mirror(open_store(hanging), counters, max_values=20_000)
    task = asyncio.create_task(mirror.run(), name="mirror")
    mirror.offer([air(0)])
    await asyncio.sleep(0)
    await until(lambda: mirror._sending)
    tracemalloc.start()
    try:
        most = 0
        for start in range(1, 40_001, 5_000):
            started = time.perf_counter()
            mirror.offer([air(n, a=n + 0.5, b=n + 0.25, c=True, d=1.0) for n in range(start, start + 5_000)])
            assert time.perf_counter() - started < 2
            assert mirror._values <= 20_000
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert most < 20_000 * 300
    assert counters.get("mirror.dropped.full") == 160_001 - mirror._values
    # The newest are kept, and leaving takes no longer than it may.
    assert mirror._waiting[-1].time_ns == T0 + 40_000 * MS
    started = time.monotonic()
    mirror.hurry()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await mirror.drained()
    await stopped(task, mirror)
    assert time.monotonic() - started < 2
    snapshot = counters.snapshot()
    assert snapshot["mirror.dropped.full"] + snapshot["mirror.dropped.stopped"] == 160_001


async def test_nothing_is_lost_by_a_hurry(imitation: Imitation, counters: Counters) -> None:
    imitation.answers.append(web.Response(status=503, headers={"Retry-After": "60"}))
    mirrors = Mirrors(StoreSettings(url="sqlite:///s", mirrors=(imitation.url,)), counters)
    (mirror,) = mirrors.each
    task = asyncio.create_task(mirror.run(), name="mirror")
    mirrors.offer(DataClass.OPEN, [air(1)])
    await until(lambda: counters.get("mirror.retries"))
    started = time.monotonic()
    await mirrors.drain(3.0)
    assert time.monotonic() - started < 2
    await stopped(task, mirror)
    assert counters.snapshot() == {"mirror.retries": 1, "mirror.written_values": 1}


# The whole ingest


def counters_of(ingest: IngestProcess) -> dict[str, int]:
    found: dict[str, int] = json.loads((ingest.data / "counters.json").read_text())["counters"]
    return found


async def rows_of(url: str, measurement: str = "environment") -> list[dict[str, Any]]:
    store = open_store(url)
    try:
        return await store.query(Selection(measurement=measurement))
    finally:
        await store.close()


async def inserted(server: Server, values: int) -> None:
    """Wait until a VictoriaMetrics has been given so many values; its answers show a new series only seconds later."""
    count = f'vm_rows_inserted_total{{type="influx"}} {values}\n'
    async with asyncio.timeout(30), ClientSession(f"http://{server.authority}") as session:
        while count not in await (await session.get("/metrics")).text():  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.1)


def mirrored_to(*urls: str, **more: str) -> dict[str, str]:
    return {"CAMPUS_INGEST_STORE__MIRRORS": json.dumps(urls), **more}


async def test_what_is_stored_is_mirrored_but_for_persons(
    mosquitto: Server, victoria_metrics: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    store, mirror = f"sqlite://{tmp_path}/s.sqlite", f"victoriametrics://{victoria_metrics.authority}"
    ingest = await make_ingest(mosquitto, store, **mirrored_to(mirror))
    bad = sample(NOW + 7_000_000, {"co2": 5.0}, bad={"humidity": Reason.TIMEOUT}, quality=Quality.SUSPECT)
    refused = block([sample(NOW, {"co2": 1.0}), sample(1, {"co2": 2.0})], device="other")
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 6)), batch(6, [block([bad])]), attendance(7))
        await gateway.send(batch(8, [refused]))
        await gateway.send(batch(1))
        for number in range(1, 9):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    counters = counters_of(ingest)
    assert counters["mirror.written_values"] == 15 + 3 + 1
    assert not [name for name in counters if name.startswith("mirror.dropped")]
    victoria_metrics.stop()
    victoria_metrics.start()
    expected = []
    for row in await rows_of(store):
        rounded = {**row, "time_ns": row["time_ns"] // MS * MS}
        if rounded.pop("humidity_bad", None):
            rounded["humidity_bad"] = 1.0
        if rounded.pop("quality", None):
            rounded["quality_not_good"] = 1.0
        expected.append(rounded)
    assert len(expected) == 7

    def by_device(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["time_ns"], row["device"]))

    assert by_device(await rows_of(mirror)) == by_device(expected)
    assert len(await rows_of(store, "attendance")) == 1
    assert await rows_of(mirror, "attendance") == []


async def test_acknowledgements_do_not_notice_a_mirror_that_comes_and_goes(
    mosquitto: Server, make_victoria_metrics: MakeServer, make_ingest: MakeIngest, hanging: str, tmp_path: Path
) -> None:
    victoria = make_victoria_metrics()
    mirror, nobody = f"victoriametrics://{victoria.authority}", f"victoriametrics://[::1]:{free_port()}"
    victoria.kill()
    store = f"sqlite://{tmp_path}/s.sqlite"
    ingest = await make_ingest(mosquitto, store, **mirrored_to(mirror, hanging, nobody))
    async with connected_gateway(mosquitto) as gateway:

        async def batches(first: int, last: int) -> None:
            started = time.monotonic()
            await gateway.send(*(batch(number) for number in range(first, last + 1)))
            for number in range(first, last + 1):
                await gateway.stored(number, within=5)
            assert time.monotonic() - started < 5

        await batches(1, 100)
        victoria.start()
        await batches(101, 150)
        await inserted(victoria, 450)
        victoria.kill()
        await batches(151, 200)
        victoria.start()
    assert not any(ack.retry_after_s for ack in gateway.acks)
    started = time.monotonic()
    assert await ingest.stop() == 0
    assert time.monotonic() - started < 5
    counters = counters_of(ingest)
    assert counters["writer.stored_values"] == 600
    # Two of the three got nothing; what the third lost with its own death is lost, and was counted as written.
    lost = counters["mirror.dropped.stopped"]
    assert counters["mirror.written_values"] + lost == 3 * 600
    assert 1200 <= lost <= 1350
    assert len(await rows_of(store)) == 200


async def test_only_the_store_makes_an_acknowledgement(
    mosquitto: Server, influx2: Influx2, victoria_metrics: Server, make_ingest: MakeIngest
) -> None:
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "1"})]
    mirror = f"victoriametrics://{victoria_metrics.authority}"
    ingest = await make_ingest(mosquitto, influx2.url, **mirrored_to(mirror))
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        # The mirror is well, but nothing is confirmed and nothing copied before the store has it.
        assert not any(ack.stored for ack in gateway.acks)
        assert await rows_of(mirror) == []
        await gateway.stored(1)
        await inserted(victoria_metrics, 3)
    assert await ingest.stop() == 0
    assert counters_of(ingest)["mirror.written_values"] == 3


async def test_a_full_mirror_drops_and_check_shows_it(
    mosquitto: Server, make_ingest: MakeIngest, hanging: str, tmp_path: Path
) -> None:
    environment = mirrored_to(hanging, CAMPUS_INGEST_STORE__MIRROR_VALUES="60")
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite", **environment)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 101)))
        for number in range(1, 101):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    counters = counters_of(ingest)
    assert counters["mirror.dropped.full"] + counters["mirror.dropped.stopped"] == 300
    assert counters["mirror.dropped.full"] >= 240 - 3
    assert counters["writer.stored_values"] == 300
