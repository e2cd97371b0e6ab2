"""The guards in conftest.py are tested with tests that break their rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INI = "[pytest]\nasyncio_mode = auto\nmarkers =\n    long: x\n    server(name): x\n"

HEAD = """
import asyncio, subprocess, sys, threading, time
import pytest
from hypothesis import given, strategies as st
"""

CLEAN = """
async def test_tidy_task():
    task = asyncio.create_task(asyncio.sleep(0))
    await task

async def test_executor_threads_are_the_loops_business():
    await asyncio.to_thread(time.sleep, 0)

async def test_task_that_ends_by_itself():
    asyncio.create_task(asyncio.sleep(0.05))

def test_process_that_ends():
    subprocess.run([sys.executable, "-c", ""], check=True)

async def test_asyncio_process():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()

@given(st.integers())
async def test_hypothesis_async(number):
    await asyncio.sleep(0)

@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()

def test_wide_fixture_keeps_its_process(server):
    assert server.poll() is None

async def test_wide_fixture_late(request):
    request.getfixturevalue("server")

@pytest.fixture
async def worker():
    task = asyncio.create_task(asyncio.sleep(60))
    yield task
    task.cancel()

async def test_fixture_takes_its_task_along(worker):
    assert not worker.done()
"""

LEAKS = {
    "task": """
async def test_leak():
    asyncio.create_task(asyncio.sleep(60), name="forgotten")
""",
    "thread": """
def test_leak():
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="forgotten").start()
""",
    "process": """
def test_leak():
    global kept
    kept = subprocess.Popen(["sleep", "63.5"])
""",
    "orphan": """
def test_leak():
    subprocess.run(["sh", "-c", "setsid sleep 63.5 >/dev/null 2>&1 &"], check=True)
""",
}


def run(folder: Path, source: str, *flags: str, ci: str = "false") -> subprocess.CompletedProcess[str]:
    """Run pytest on `source` with this repository's conftest and a short grace."""
    package = folder / "tests"
    package.mkdir()
    for name in ("__init__.py", "conftest.py", "coverage_report.py", "leaks.py"):
        text = (ROOT / "tests" / name).read_text(encoding="utf-8")
        (package / name).write_text(text.replace("GRACE_S = 3.0", "GRACE_S = 0.3"), encoding="utf-8")
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    (package / "test_it.py").write_text(HEAD + source, encoding="utf-8")
    # The project's own pytest plugin is no part of what is tested here.
    command = [sys.executable, "-m", "pytest", "-p", "no:campus_sim", "-p", "no:cacheprovider", "-ra", *flags, "tests"]
    # Not a worker of the outer run.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=folder, env=environment | {"CI": ci}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("flags", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_tidy_tests_pass(tmp_path: Path, flags: tuple[str, ...]) -> None:
    result = run(tmp_path, CLEAN, *flags)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("flags", [("--timeout=20", "--timeout-method=thread"), ("-n", "1")], ids=["plain", "xdist"])
def test_each_leak_fails(tmp_path: Path, flags: tuple[str, ...]) -> None:
    tests = "".join(source.replace("test_leak", f"test_leaves_{name}") for name, source in LEAKS.items())
    result = run(tmp_path, tests, *flags)
    assert result.returncode == 1, result.stdout
    for name in LEAKS:
        assert re.search(rf"ERROR tests/test_it.py::test_leaves_{name} - Failed: the test left behind", result.stdout)
    assert "task 'forgotten'" in result.stdout
    assert "thread 'forgotten' (daemon)" in result.stdout
    assert result.stdout.count("sleep 63.5") >= 2


@pytest.mark.parametrize("flags", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_session_fixture_that_leaves_a_process_fails_the_run(tmp_path: Path, flags: tuple[str, ...]) -> None:
    source = """
@pytest.fixture(scope="session")
def server():
    return subprocess.Popen(["sleep", "63.5"])

def test_passes(server):
    assert server.poll() is None
"""
    result = run(tmp_path, source, *flags)
    assert "1 passed" in result.stdout
    assert "left behind by fixtures of the session" in result.stdout
    assert result.returncode == 1


NEEDS = """
from tests.coverage_report import require_server

@pytest.mark.server("no-such-server")
def test_marked():
    pass

def test_asks():
    require_server("no-such-server")

def test_needs_nothing():
    pass
"""


@pytest.mark.parametrize("flags", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_missing_server_is_listed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    result = run(tmp_path, NEEDS, *flags)
    assert result.returncode == 0, result.stdout
    assert "1 passed, 2 skipped" in result.stdout
    assert "not covered, for want of a server" in result.stdout
    assert "no-such-server → apt-get install no-such-server: 2 tests, such as tests/test_it.py::test_" in result.stdout


def test_missing_server_fails_in_ci(tmp_path: Path) -> None:
    result = run(tmp_path, NEEDS, ci="true")
    assert result.returncode == 1
    assert "1 passed" in result.stdout
    assert result.stdout.count("CI=true: must be there") >= 2


def test_long_tests_wait_to_be_asked_for(tmp_path: Path) -> None:
    result = run(tmp_path, "@pytest.mark.long\ndef test_slow():\n    pass\n")
    assert "1 skipped" in result.stdout
