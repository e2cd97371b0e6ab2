from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulators.demo.options import DemoOptions
from simulators.demo.processes import Process, ProcessFailed
from simulators.demo.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTIFIES = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("hello", flush=True)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.sendto(b"STATUS=warm", os.environ["NOTIFY_SOCKET"])
sock.sendto(b"X=1\\nREADY=1", os.environ["NOTIFY_SOCKET"])
while True: time.sleep(1)
"""
ANSWERS = 'import sys; print("{log}"); print(\'{"port": 5}\', flush=True); sys.stdin.readline(); sys.stdin.read()'
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"


@pytest.fixture
def short() -> Iterator[Path]:
    # Not tmp_path: a socket's path has 108 bytes at most.
    with tempfile.TemporaryDirectory(prefix="campus-test-") as folder:
        yield Path(folder)


@pytest.fixture
def make(tmp_path: Path, short: Path):
    def make_process(code: str, **options):
        return Process(
            name="it",
            command=[sys.executable, "-c", code],
            env=dict(os.environ),
            log=tmp_path / "it.log",
            notify=short / "notify",
            **options,
        )

    return make_process


async def test_a_process_is_ready_when_it_says_so_and_may_live_again(make) -> None:
    process = make(NOTIFIES)
    for _ in range(2):
        await process.start(ready_s=10)
        assert process.running
        process.measure()
        assert process.usage.rss_mb > 1
        assert await process.stop(within_s=5) < 5
        assert process.exit_code == 7
    assert process.log_tail().split() == ["hello", "hello"]
    assert process.usage.rss_mb == 0
    assert not process.notify.exists()


async def test_a_json_line_can_be_the_readiness(make) -> None:
    process = make(ANSWERS, says_ready=True, stdin=b"spec\n")
    await process.start(ready_s=10)
    assert process.answer == {"port": 5}
    await process.kill()
    assert process.exit_code == -signal.SIGKILL


async def test_an_early_end_is_reported_with_its_log(make) -> None:
    process = make("import sys; sys.exit('no such bus')")
    with pytest.raises(ProcessFailed, match="no such bus"):
        await process.start(ready_s=10)
    await process.gone()


async def test_never_ready_is_reported_and_the_process_ended(make) -> None:
    process = make("import time; time.sleep(60)")
    with pytest.raises(ProcessFailed, match=r"not ready within 0\.2 s"):
        await process.start(ready_s=0.2)
    assert not process.running


async def test_a_deaf_process_is_killed_in_time(make) -> None:
    process = make(DEAF, says_ready=True)
    await process.start(ready_s=10)
    assert await process.stop(within_s=0.1) >= 0.1
    assert process.exit_code == -signal.SIGKILL


async def test_a_killed_device_leaves_no_link_to_what_may_be_anothers_port(make, tmp_path: Path) -> None:
    stage = Stage(DemoOptions(data=tmp_path / "data", scenario="classroom"))
    stage._run_folder = tmp_path
    link = tmp_path / "bus-1"
    link.symlink_to(tmp_path / "gone")
    process = stage.processes["device:bus-1"] = make(ANSWERS, says_ready=True, stdin=b"spec\n")
    await process.start(ready_s=10)
    await stage.kill("device:bus-1")
    assert not process.running
    assert not link.is_symlink()


PARENT = """
import asyncio, os, sys
from pathlib import Path
from simulators.demo.processes import Process
async def main():
    process = Process(name="c", command=[sys.executable, "-c", "print('{}', flush=True); import time; time.sleep(60)"],
                      env=dict(os.environ), log=Path(sys.argv[1]), notify=Path(sys.argv[2]), says_ready=True)
    await process.start(ready_s=10)
    print(process.popen.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_parent_takes_its_processes_with_it(tmp_path: Path, short: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - it must be a parent that knows nothing of this loop
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), str(short / "n")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as parent:
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        handle = os.pidfd_open(child)
        parent.kill()
        parent.wait(5)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(5):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
