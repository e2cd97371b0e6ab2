"""Pages that stay open: new values, lost stores, lost connections, many visitors."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cloud_ingest.console.conftest import MakeConsole, OpenWindow

pytestmark = pytest.mark.server("chromium")
CO2_OF_R101 = (
    "[...document.querySelectorAll('.card')].find(c => c.textContent.includes('r101')).querySelector('.number')"
)


async def test_a_value_that_changes_is_on_the_page_within_three_seconds(
    make_console: MakeConsole, open_window: OpenWindow
) -> None:
    console = make_console()
    window = await open_window(console.url)
    await window.go("/en/")
    await window.until(f"{CO2_OF_R101}.textContent === '612'")
    await window.page.evaluate("window.unchanged = true")
    console.scene.set("co2", "1733")
    await window.until(f"{CO2_OF_R101}.textContent === '1,733'", within_s=3)
    assert "above limit" in await window.text(".card-beyond:has-text('r101')")
    assert await window.page.evaluate("window.unchanged")
    assert window.complaints == []


async def test_a_store_that_is_away_leaves_the_values_and_says_so(
    make_console: MakeConsole, open_window: OpenWindow
) -> None:
    console = make_console()
    window = await open_window(console.url)
    await window.go("/en/")
    assert await window.page.is_hidden(".notice")
    console.scene.set("store", "away")
    console.scene.set("broker", "unreachable")
    await window.page.wait_for_selector(".notice:has-text('The database does not answer')", timeout=4000)
    await window.page.wait_for_selector(".notice:has-text('message broker cannot be reached')", timeout=4000)
    assert await window.page.locator(".card").count() == 6
    await window.until("document.querySelector('.updated time').textContent.match(/[4-9] s ago/)", within_s=10)
    await window.shot("store-away-desktop-en")
    room = await open_window(console.url, lang="zh")
    await room.go("/zh/room/r101")
    assert "曲线暂时画不出来" in await room.text("body")
    console.scene.set("store", "ok")
    console.scene.set("broker", "")
    await window.page.wait_for_selector(".notice", state="hidden", timeout=4000)
    assert window.complaints == []


async def test_a_lost_connection_is_said_in_the_pages_language_and_ages_go_on(
    make_console: MakeConsole, open_window: OpenWindow
) -> None:
    console = make_console()
    window = await open_window(console.url, lang="zh")
    await window.go("/zh/")
    await window.until("document.querySelectorAll('.card time:not(:empty)').length >= 6")
    console.process.kill()
    await window.page.wait_for_selector("#popup[aria-hidden=false]:has-text('连接丢失')", timeout=15_000)
    await window.until("getComputedStyle(document.querySelector('#popup')).opacity > 0.9", within_s=10)
    await window.until("document.querySelector('.updated time').textContent.match(/[5-9] 秒前/)", within_s=15)
    await window.shot("connection-lost-desktop-zh")


async def test_twenty_open_pages_share_one_reading_a_second(make_console: MakeConsole, open_window: OpenWindow) -> None:
    console = make_console()
    first = await open_window(console.url)
    await first.go("/en/")
    more = [await first.context.new_page() for _ in range(19)]
    await asyncio.gather(*(page.goto(f"{console.url}en/") for page in more))
    before, began = int(console.scene.get("reads", "0")), time.monotonic()
    console.scene.set("co2", "940")
    await asyncio.gather(
        *(
            page.wait_for_function(f"() => {CO2_OF_R101}.textContent === '940'", timeout=5000)
            for page in first.context.pages
        )
    )
    await asyncio.sleep(2)
    reads = int(console.scene.get("reads", "0")) - before
    assert reads <= (time.monotonic() - began) + 2


async def test_without_data_the_pages_say_what_to_expect_and_then_show_it(
    make_console: MakeConsole, open_window: OpenWindow
) -> None:
    console = make_console()
    console.scene.set("sites", "")
    window = await open_window(console.url)
    await window.go("/en/")
    assert "Rooms appear here by themselves" in await window.text("body")
    await window.shot("empty-desktop-en")
    console.scene.set("sites", "demo-school")
    await window.page.wait_for_selector(".card", timeout=8000)
