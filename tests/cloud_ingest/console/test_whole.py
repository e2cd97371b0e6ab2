"""From the wire to the page: a real broker, the real ingest with its console, a real Chromium."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from telemetry.sample import DataClass
from telemetry.topics import Channel, gateway_topic
from tests.cloud_ingest.conftest import connected_gateway
from tests.cloud_ingest.console.test_process import WITH_CONSOLE, addresses
from tests.cloud_ingest.gateway import EPOCH, GATEWAY, SITE, attendance, batch, block, sample
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud_ingest.conftest import MakeIngest
    from tests.cloud_ingest.console.conftest import OpenWindow
    from tests.cloud_ingest.gateway import Gateway
    from tests.servers import Server

pytestmark = pytest.mark.server("chromium", "mosquitto")
NS = 10**9


async def tell(gateway: Gateway, channel: Channel, document: dict[str, Any], *, retain: bool = False) -> None:
    topic = gateway_topic(SITE, GATEWAY, channel)
    common = {"site": SITE, "gateway": GATEWAY, "at_ns": time.time_ns(), "simulated": False}
    await gateway.client.publish(topic, msgspec.json.encode({**common, **document}), qos=1, retain=retain)


async def tell_all(gateway: Gateway) -> None:
    """Publish what a gateway says of itself."""
    point = {"name": "co2", "quantity": "co2", "unit": "ppm"}
    device = {"name": "r101-air", "room": "r101", "profile": "modbus/multisensor_6in1@1.0.0", "state": "up"}
    described = {**device, "measurement": "environment", "period_s": 1.0, "points": [point]}
    await tell(gateway, Channel.STATUS, {"schema": "campus.status/1", "state": "online", "epoch": EPOCH}, retain=True)
    await tell(gateway, Channel.DEVICES, {"schema": "campus.devices/1", "devices": [described]}, retain=True)
    health = {
        "schema": "campus.health/1",
        "epoch": EPOCH,
        "boot_id": "b",
        "uptime_s": 7300.0,
        "clock": "synced",
        "gate_closed_for_people": None,
        "buffer": {"batches": 7, "values": 840, "bytes": 61_000, "oldest_age_s": 95.0, "hours_left": 61.5},
        "devices": {"r101-air": {"state": "up", "last_sample_age_s": 0.4, "error": None}},
        "counters": {"gate.withheld.personal.no_consent": 3},
    }
    await tell(gateway, Channel.HEALTH, health)


async def test_what_is_published_is_on_the_pages_within_three_seconds(
    mosquitto: Server, make_ingest: MakeIngest, open_window: OpenWindow, tmp_path: Path
) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/store.sqlite", flags=WITH_CONSOLE)
    await until(lambda: addresses(ingest), within_s=20)
    (url,) = addresses(ingest)
    async with connected_gateway(mosquitto) as gateway:
        await tell_all(gateway)
        await gateway.send(batch(1, [block([sample(time.time_ns(), {"co2": 640.0, "temperature": 21.5})])]))
        await gateway.stored(1)
        window = await open_window(url, lang="zh")
        await window.go("/zh/")
        await window.page.wait_for_selector(".card:has-text('r101') .value:has-text('640')", timeout=5000)

        took: list[float] = []
        for number, value in enumerate((1111, 1222, 1333), start=10):
            began = time.monotonic()
            await gateway.send(batch(number, [block([sample(time.time_ns(), {"co2": float(value)})])]))
            await window.page.wait_for_selector(f".card .tone-beyond:has-text('{value:,}')", timeout=15_000)
            took.append(time.monotonic() - began)
        assert sorted(took)[1] < 3, took  # one of them may meet a pause of a busy machine

        now = time.time_ns()
        crowd = block(
            [sample(now, {"people": 4.0})],
            device="r101-camera",
            profile="camera/people_counter@1.0.0",
            measurement="occupancy",
            quantities={"people": "people"},
        )
        await gateway.send(
            batch(2, [block([sample(now, {"co2": 1733.0}, bad={"temperature": "timeout"})])]),
            batch(3, [crowd], data_class=DataClass.GROUP),
            attendance(4, at_ns=now),
        )
        await window.page.wait_for_selector(".card .tone-beyond:has-text('1,733')", timeout=8000)
        await window.page.wait_for_selector(".tone-bad:has-text('设备没有应答')", timeout=8000)
        await window.page.wait_for_selector(".value:has-text('室内人数'):has-text('1–4')", timeout=8000)
        await window.page.wait_for_selector(".value:has-text('今日刷卡'):has-text('1')", timeout=8000)
        assert "0f0f" not in await window.page.content()

        # Health is not retained, and a gateway says it again and again: the console may have come after the first.
        await tell_all(gateway)
        await window.go("/zh/gateways")
        card = ".gateway:has-text('gw-101')"
        for told in (
            "在线",
            "7 批（840 个数值，61 kB）",
            "约 2 天 13 小时",
            "已同步",
            "2 小时 1 分钟",
            "考勤：没有同意",
        ):
            await window.page.wait_for_selector(f"{card}:has-text('{told}')", timeout=5000)
        await window.until("document.querySelector('.gateway time').textContent.includes('前')")
        await window.go("/zh/room/r101")
        await window.page.wait_for_selector(".plot svg", timeout=5000)
        assert "限值 ≤ 1,000 ppm" in await window.text(".figures")
        await tell(
            gateway, Channel.STATUS, {"schema": "campus.status/1", "state": "offline", "epoch": EPOCH}, retain=True
        )
        await window.go("/zh/gateways")
        await window.page.wait_for_selector(f"{card}:has-text('离线')", timeout=5000)
        assert window.complaints == []
    assert await ingest.stop() == 0
