from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.cloud_ingest.console.scenes import Scene
from tests.coverage_report import require_server

ROOT = Path(__file__).parents[3]
SHOTS = ROOT / "test-reports" / "screenshots"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
LANG_TAGS = {"zh": "zh-CN", "en": "en-US"}


@dataclass
class ConsoleProcess:
    """A console with the made-up source, as a process of its own."""

    folder: Path
    process: subprocess.Popen[str]
    url: str
    scene: Scene
    lines: list[str] = field(default_factory=list)

    def log(self) -> str:
        return (self.folder / "console.log").read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(5)


def settings_text(folder: Path, *, data: Path | None = None, **console: Any) -> str:
    """Return settings as the ingest hands them to its child."""
    settings = {
        "data": str(data or folder / "data"),
        "mqtt": {"url": "mqtt://[::1]:1"},
        "store": {"url": f"sqlite://{folder}/store.sqlite"},
        "console": {"listen": "[::1]:0", **console},
    }
    return json.dumps(settings) + "\n"


def environment() -> dict[str, str]:
    """Return ours without what NiceGUI takes for a sign that it is tested itself."""
    unwanted = ("PYTEST_CURRENT_TEST", "NOTIFY_SOCKET")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


MakeConsole = Callable[..., ConsoleProcess]


@contextlib.contextmanager
def starting_consoles(within: Path) -> Iterator[MakeConsole]:
    """Yield a function that starts a console with the made-up source below `within`; all end with the context."""
    started: list[ConsoleProcess] = []

    def make(**console: Any) -> ConsoleProcess:
        folder = within / f"console-{len(started)}"
        (folder / "cwd").mkdir(parents=True)
        with (folder / "console.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cloud_ingest.console.fake_console", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder / "cwd",
                env={**environment(), "PYTHONPATH": str(ROOT)},
            )
        one = ConsoleProcess(folder=folder, process=process, url="", scene=Scene(folder))
        started.append(one)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings_text(folder, **console))
        process.stdin.flush()
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        one.url = process.stdout.readline().strip()
        watchdog.cancel()
        watchdog.join()
        if not one.url:
            process.wait(10)
            pytest.fail(f"console is not ready\n{one.log()[-3000:]}")
        return one

    try:
        yield make
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait(10)
            for pipe in (one.process.stdin, one.process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def make_console(tmp_path: Path) -> Iterator[MakeConsole]:
    """A function that starts a console with the made-up source: `make(password_file=…, …)`."""
    with starting_consoles(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def shared_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleProcess]:
    """One console for the module's tests that only look: its scene stays as it is."""
    with starting_consoles(tmp_path_factory.mktemp("shared")) as make:
        yield make()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium; everything it leaves on disk goes with the test."""
    program = require_server("chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as home:
        async with async_playwright() as playwright:
            started = await playwright.chromium.launch(
                executable_path=program,
                args=["--no-sandbox", "--disable-dev-shm-usage"],
                env={**environment(), "HOME": home},
            )
            try:
                yield started
            finally:
                await started.close()


@dataclass
class Watched:
    """A browser's window that remembers everything that went wrong or went elsewhere."""

    context: BrowserContext
    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.origin}{path}")
        await self.page.wait_for_selector("h1")

    async def shot(self, name: str) -> None:
        """Keep a picture of the whole page for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    async def text(self, selector: str) -> str:
        return " ".join((await self.page.inner_text(selector)).split())

    async def until(self, expression: str, *, within_s: float = 5.0) -> None:
        """Return when the JavaScript `expression` holds on the page."""
        await self.page.wait_for_function(f"() => {expression}", timeout=within_s * 1000)


OpenWindow = Callable[..., Any]


@pytest.fixture
async def open_window(browser: Browser) -> AsyncIterator[OpenWindow]:
    """A function that opens a window: `await open(url, size="phone", lang="zh")`."""
    windows: list[Watched] = []

    async def open_one(url: str, *, size: str = "desktop", lang: str = "en") -> Watched:
        width, height = SIZES[size]
        context = await browser.new_context(
            viewport={"width": width, "height": height}, locale=LANG_TAGS[lang], timezone_id="America/New_York"
        )
        page = await context.new_page()
        window = Watched(context=context, page=page, origin=url.rstrip("/"))
        windows.append(window)

        def foreign(address: str) -> bool:
            return not address.startswith((f"{window.origin}/", "data:", window.origin.replace("http", "ws") + "/"))

        page.on("console", lambda m: window.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: window.complaints.append(str(error)))
        page.on("requestfailed", lambda r: window.complaints.append(f"failed: {r.url} {r.failure}"))
        page.on("request", lambda r: window.complaints.append(f"foreign: {r.url}") if foreign(r.url) else None)
        page.on("websocket", lambda w: window.complaints.append(f"foreign: {w.url}") if foreign(w.url) else None)
        page.on("response", lambda r: window.complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        return window

    yield open_one
    for window in windows:
        await window.context.close()
