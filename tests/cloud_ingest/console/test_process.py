"""The console as a process: starts, stops, is supervised, and is no part of an ingest without it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from typer.testing import CliRunner

from cloud_ingest.cli import app
from cloud_ingest.console import program
from tests.cloud_ingest.console.conftest import ROOT, environment, settings_text
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud_ingest.conftest import IngestProcess, MakeIngest
    from tests.cloud_ingest.console.conftest import MakeConsole, OpenWindow
    from tests.servers import Server

WITH_CONSOLE = ("--console", "--console-listen", "[::1]:0")


def addresses(ingest: IngestProcess) -> list[str]:
    return re.findall(r"console is at (\S+)", ingest.log.read_text())


def children(ingest: IngestProcess) -> list[int]:
    assert ingest.process is not None
    told = Path(f"/proc/{ingest.process.pid}/task/{ingest.process.pid}/children").read_text()
    return [int(pid) for pid in told.split()]


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def lives(pid: int) -> bool:
    """Tell whether a process lives; one that only waits to be reaped does not."""
    try:
        return bool(arguments(pid))
    except FileNotFoundError:
        return False


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status


@pytest.mark.server("chromium")
async def test_sigterm_ends_it_in_two_seconds_also_with_open_pages(
    make_console: MakeConsole, open_window: OpenWindow
) -> None:
    console = make_console()
    window = await open_window(console.url)
    await window.go("/en/")
    await window.until("document.querySelectorAll('.card time:not(:empty)').length >= 6")
    began = time.monotonic()
    assert await asyncio.to_thread(console.stop) == 0
    assert time.monotonic() - began < 2
    assert console.scene.get("closed", "")
    assert list((console.folder / "cwd").iterdir()) == []
    assert "Traceback" not in console.log()


def test_a_port_that_is_taken_is_said_with_what_mends_it(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        listen = f"[::1]:{taken.getsockname()[1]}"
        # Its input stays open: the end of it would mean that the ingest is gone.
        with subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.console"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(settings_text(tmp_path, listen=listen))
            process.stdin.flush()
            assert process.wait(30) == 78
            told = process.stderr.read()
            assert process.stdout.read() == ""
    assert f"console.listen {listen}" in told
    assert "choose another port" in told


def test_an_ingest_without_console_imports_no_nicegui() -> None:
    code = (
        "import sys, cloud_ingest.cli, cloud_ingest.service, cloud_ingest.console.child, cloud_ingest.console.program\n"
        "heavy = ('nicegui', 'uvicorn', 'fastapi', 'socketio')\n"
        "found = [name for name in sys.modules if name.split('.')[0] in heavy]\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["console"], ["run", "--console"]])
def test_without_the_extra_it_says_how_to_install(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    real: Callable[[str], object] = program.importlib.util.find_spec
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None if name == "nicegui" else real(name))
    options = ["--mqtt", "mqtt://[::1]:1", "--store", "sqlite:///nowhere/x", "--data", "/nowhere"]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 69
    assert "pip install 'campus-edge[console]'" in result.stderr


def test_beyond_loopback_a_password_is_asked_for(tmp_path: Path) -> None:
    options = ["--mqtt", "mqtt://[::1]:1", "--store", f"sqlite://{tmp_path}/x", "--data", str(tmp_path)]
    for listen in ("0.0.0.0:8080", "[::]:0", "192.0.2.1:80"):
        result = CliRunner().invoke(app, ["console", *options, "--listen", listen])
        assert result.exit_code == 78
        assert "console.password_file" in result.stderr
    result = CliRunner().invoke(app, ["run", *options, "--console", "--console-listen", "nowhere"])
    assert result.exit_code == 78
    assert "must be host:port" in result.stderr


def test_a_hash_for_the_password_file_is_made_at_the_prompt() -> None:
    result = CliRunner().invoke(app, ["console", "--hash-password"], input="eight chars\neight chars\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("scrypt$")
    assert CliRunner().invoke(app, ["console", "--hash-password"], input="short\nshort\n").exit_code == 2


async def test_on_its_own_it_tells_its_address_and_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "n"))
        notified.settimeout(20)
        options = ["--mqtt", "mqtt://[::1]:1", "--store", f"sqlite://{tmp_path}/x.sqlite", "--data", str(tmp_path)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cloud_ingest.cli",
            "console",
            *options,
            "--listen",
            "localhost:0",
            cwd=ROOT,
            env={**environment(), "NOTIFY_SOCKET": str(tmp_path / "n")},
            stdout=subprocess.PIPE,
        )
        try:
            told = (await asyncio.to_thread(notified.recv, 4096)).decode()
            assert told.startswith("READY=1")
            url = told.partition("X_CONSOLE_URL=")[2]
            assert process.stdout is not None
            assert (await process.stdout.readline()).decode() == f"console at {url}\n"
            assert await status(url) == 200
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.server("mosquitto")
async def test_a_crash_never_harms_the_ingest_and_is_mended(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/store.sqlite", flags=WITH_CONSOLE)
    await until(lambda: addresses(ingest), within_s=20)
    assert await status(addresses(ingest)[0]) == 200
    (child,) = children(ingest)
    assert b"sqlite" not in arguments(child)
    os.kill(child, signal.SIGKILL)
    await until(lambda: len(addresses(ingest)) == 2, within_s=20)
    assert await status(addresses(ingest)[1]) == 200
    assert ingest.process is not None
    assert ingest.process.poll() is None
    (child,) = children(ingest)
    assert await ingest.stop() == 0
    assert not lives(child)


@pytest.mark.server("mosquitto")
async def test_it_ends_with_an_ingest_that_is_killed(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/store.sqlite", flags=WITH_CONSOLE)
    await until(lambda: addresses(ingest), within_s=20)
    (child,) = children(ingest)
    ingest.kill()
    await until(lambda: not lives(child), within_s=5)
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(addresses(ingest)[0])
