"""From a device's wire to a page in a real Chromium: the whole demo with its console."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from simulators.demo.options import DemoOptions
from simulators.demo.orchestra import Demo
from simulators.ledger import read_measurements
from tests.coverage_report import require_server
from tests.path.test_faults import promise_kept
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

LOOKS = 15
IN_TIME_S = 3.0
CELL = ".card:has-text('hall') .value:has-text('CO₂') .number"


async def age_of_what_is_shown(page: Page, journal: Path) -> float:
    """Seconds since the device said the value that the page shows now; the newest one, if it said it twice."""
    text = await page.locator(CELL).first.inner_text(timeout=5000)
    now_ns = time.time_ns()
    shown = float(text.replace(",", ""))
    said = [
        line.at_ns
        for line in read_measurements(journal)
        if "co2" in line.values and round(line.values["co2"]) == shown and line.at_ns <= now_ns
    ]
    assert said, f"the page shows {text}, which the device never said"
    return (now_ns - max(said)) / 1e9


@pytest.mark.server("chromium")
async def test_a_value_that_changes_on_the_wire_is_on_the_page_within_three_seconds(tmp_path: Path) -> None:
    chromium = require_server("chromium")
    async with Demo(DemoOptions(data=tmp_path / "data", scenario="classroom", console="[::1]:0")) as demo:
        await until(lambda: demo.console_url, within_s=20)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(locale="en-US")
            problems: list[str] = []
            page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
            await page.goto(f"{demo.console_url}en/")
            await page.wait_for_selector(CELL, timeout=15_000)
            ages, texts = [], set()
            for _ in range(LOOKS):
                await asyncio.sleep(0.7)
                ages.append(await age_of_what_is_shown(page, demo.said / "hall-air.jsonl"))
                texts.add(await page.locator(CELL).first.inner_text())
            await browser.close()
        report = await demo.finish()
    promise_kept(report)
    assert problems == []
    assert len(texts) > LOOKS / 3, "the page does not follow the device"
    # A machine that is busy with other tests may pause once.
    assert sorted(ages)[LOOKS - 3] < IN_TIME_S, ages
