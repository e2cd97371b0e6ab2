"""The worker as a process: killed, hung, orphaned, refused its model; what it gives up, and what it cannot see."""

import asyncio
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drivers.camera_people import exits, keeper, process
from drivers.camera_people.assignment import MAX_BYTES, Assignment, pack, unpack
from drivers.camera_people.keeper import Keeper
from drivers.camera_people.measures import GREETING_SIZE, Measure, encode_greeting
from drivers.camera_people.process import Worker
from drivers.camera_people.record import MAX_WAIT_MS, REQUEST
from telemetry.counters import Counters
from telemetry.driver import PollDriver
from telemetry.errors import DeviceUnavailable
from telemetry.sample import Reason
from tests.drivers.camera_people.scene import PASSWORD, Heart, watching
from tests.drivers.helpers import running
from tests.waiting import until

ROOT = Path(__file__).parents[3]
LOGIN = {"username": "admin", "password": PASSWORD}
NOBODY = Assignment(url="http://[::1]:9/x", capture="mjpeg", stalled_s=0.5)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def test_a_killed_worker_is_replaced_and_its_readings_are_sensor_fault(campus_device, tmp_path, monkeypatch):
    start, may_start = Worker.start, asyncio.Event()

    async def start_when_told(assignment):
        await may_start.wait()
        return await start(assignment)

    monkeypatch.setattr(Worker, "start", start_when_told)
    camera = campus_device("camera", capture="mjpeg", scene_s=2.0)
    may_start.set()
    async with watching(camera, tmp_path) as watch:
        await watch.next_value()
        for _ in range(2):
            killed = watch.pid
            may_start.clear()
            os.kill(killed, signal.SIGKILL)
            bad = await watch.next_bad(Reason.SENSOR_FAULT)
            assert set(bad.bad) == {"people", "light"}
            may_start.set()
            await watch.next_value()
            assert watch.pid not in {None, killed}
        assert watch.wrong() == []
        assert watch.counters.get("device.r101-camera.worker_ends") == 2
        last = watch.pid
    assert gone(last)


async def test_pain_18_a_worker_that_hangs_is_ended_while_others_are_read_on_time(campus_device, tmp_path):
    camera = campus_device("camera", capture="mjpeg", scene_s=2.0)
    heart = Heart()
    async with running(heart.run()), watching(camera, tmp_path, silent_s=1.5) as watch:
        await watch.next_value()
        hung = watch.pid
        os.kill(hung, signal.SIGSTOP)
        bad = await watch.next_bad(Reason.SENSOR_FAULT)
        assert set(bad.bad) == {"people", "light"}
        await watch.next_value()
        assert watch.pid != hung
        assert watch.counters.get("device.r101-camera.worker_hangs") == 1
    assert heart.beats > 100
    # A loop that waited for the worker would have stood for 1.5 s; the benchmark holds a quiet machine to 20 ms.
    assert heart.slowest_s < 1


async def test_a_worker_that_stood_still_tells_no_picture_of_before(campus_device, tmp_path):
    # Frozen, or starved of the processor: what lies in the socket then is seconds old, and nothing in it says so.
    camera = campus_device("camera", capture="mjpeg", scene_s=1.0)
    async with watching(camera, tmp_path, deadline_s=5.0, stalled_s=5.0) as watch:
        for _ in range(3):
            await watch.next_value()
            os.kill(watch.pid, signal.SIGSTOP)
            await asyncio.sleep(2.5)
            os.kill(watch.pid, signal.SIGCONT)
            await watch.next_value()
        assert watch.wrong() == []


async def test_stopping_is_quick_whatever_the_worker_does(campus_device, tmp_path):
    camera = campus_device("camera", capture="rtsp")
    async with watching(camera, tmp_path) as watch:
        await watch.next_value()
        os.kill(watch.pid, signal.SIGSTOP)
        pid, started = watch.pid, time.monotonic()
    assert time.monotonic() - started < process.STOP_S + 2  # by itself it would not end at all
    assert gone(pid)


async def test_the_worker_has_given_up_what_it_does_not_need(campus_device, tmp_path):
    camera = campus_device("camera", capture="rtsp", **LOGIN)
    # A stream that is never given up: meanwhile it would have another number of sockets.
    async with watching(camera, tmp_path, stalled_s=8.0) as watch:
        await watch.next_value()
        of = Path(f"/proc/{watch.pid}")
        assert PASSWORD.encode() not in (of / "cmdline").read_bytes()
        limits = {line[:26].strip(): line[26:].split()[0] for line in (of / "limits").read_text().splitlines()[1:]}
        assert (limits["Max core file size"], limits["Max file size"]) == ("0", "0")
        status = dict(line.split(":", 1) for line in (of / "status").read_text().splitlines())
        assert status["NoNewPrivs"].strip() == "1"
        # Not dumpable: what it has in memory is nobody else's to read, not even its own user's.
        assert os.stat(of / "environ").st_uid == 0  # noqa: PTH116
        if os.geteuid() == 0:
            assert PASSWORD.encode() not in (of / "environ").read_bytes()
            assert set((of / "environ").read_bytes().split(b"\0")) <= {
                *(f"{name}={os.environ[name]}".encode() for name in process.KEPT if name in os.environ),
                f"PYTHONPATH={ROOT}".encode(),
                b"HOME=/nonexistent",
                b"",
            }
            leads = [str(link.readlink()) for link in (of / "fd").iterdir()]
            assert {lead.split(":")[0] for lead in leads} == {"/dev/null", "pipe", "socket"}
            # The agent's and the camera's: no library keeps a file or a line of its own.
            assert sum(lead.startswith("socket:") for lead in leads) == 2
            assert len(list((of / "task").iterdir())) == 2


ORPHAN = """
import asyncio, sys
from drivers.camera_people.assignment import Assignment, pack
from drivers.camera_people.process import Worker

async def main():
    worker = await Worker.start(pack(Assignment(url="http://[::1]:9/x", capture="mjpeg")))
    await worker.answer(wait_ms=10)
    print(worker.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_the_worker_dies_with_the_agent():
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, cwd=ROOT) as agent:
        pid = int(agent.stdout.readline())
        assert not gone(pid)
        agent.kill()
        asyncio.run(until(lambda: gone(pid)))


def test_a_worker_is_told_to_end_by_a_closed_socket():
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", process.MODULE, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=(theirs.fileno(),), cwd=ROOT) as worker:
        theirs.close()
        ours.sendall(pack(NOBODY))
        ours.close()
        assert worker.wait(20) == 0


SABOTAGE = "import sys, {module} as m; {change}; from drivers.camera_people.worker.serving import work; work({fd})"
OTHER_SUM = "m.MODELS['centerface'] = m.ModelFile(file='centerface_dyn_w16.onnx', sha256='0' * 64)"


@pytest.mark.parametrize(
    ("module", "change", "code"),
    [
        ("drivers.camera_people.model_files", "m.FOLDER = m.Path('/absent')", exits.MODEL),
        ("drivers.camera_people.model_files", OTHER_SUM, exits.MODEL),
        ("drivers.camera_people", "sys.modules['onnxruntime'] = None", exits.LIBRARY),
        ("drivers.camera_people", "sys.modules['cv2'] = None", exits.LIBRARY),
    ],
)
def test_without_its_model_or_libraries_it_says_so_and_counts_nothing(module, change, code):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = SABOTAGE.format(module=module, change=change, fd=theirs.fileno())
        with subprocess.Popen([sys.executable, "-c", script], pass_fds=(theirs.fileno(),), cwd=ROOT) as worker:
            theirs.close()
            ours.sendall(pack(NOBODY))
            assert worker.wait(20) == code
            assert ours.recv(100) == b""
    assert "campus-edge" in exits.said(code) or "install" in exits.said(code)


FAULT = """
import sys
from drivers.camera_people.worker import counting, serving

class Faulty:
    def count(self, picture):
        {fault}

counting.make_counter = lambda assignment: Faulty()
serving.work(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("fault", "code"),
    [("raise ValueError(picture.tobytes())", exits.FAULT), ("raise MemoryError(picture.tobytes())", exits.MEMORY)],
)
def test_an_unforeseen_fault_ends_the_worker_without_a_count_or_a_word_of_the_picture(tmp_path, fault, code):
    path = tmp_path / "room.png"
    picture = np.random.default_rng(5).integers(60, 200, (480, 640, 3), np.uint8)
    assert cv2.imwrite(str(path), picture)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", FAULT.format(fault=fault), str(theirs.fileno())]
        with subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as worker:
            theirs.close()
            ours.settimeout(30)
            ours.sendall(pack(Assignment(url="", capture="file", path=str(path))))
            assert len(ours.recv(GREETING_SIZE, socket.MSG_WAITALL)) == GREETING_SIZE
            ours.sendall(REQUEST.pack(5000))
            assert ours.recv(100) == b""
            assert worker.wait(20) == code
            assert worker.stdout.read() == b""


@pytest.mark.parametrize("code", [exits.MODEL, exits.FAULT, exits.STUCK, exits.LIBRARY, 0, 3, -9, -99, None])
def test_every_end_has_words(code):
    assert exits.said(code)


def test_an_assignment_is_packed_whole_and_hides_its_password():
    assignment = Assignment(url="rtsp://h/x", capture="rtsp", username="u", password="geheim")  # noqa: S106
    assert unpack(pack(assignment)[4:]) == assignment
    assert "geheim" not in f"{assignment}{assignment!r}"
    with pytest.raises(ValueError, match=str(MAX_BYTES)):
        pack(Assignment(url="x" * MAX_BYTES, capture="rtsp"))


async def test_a_worker_that_cannot_start_is_tried_again_with_a_back_off(monkeypatch):
    monkeypatch.setattr(keeper, "FIRST_S", 0.01)
    monkeypatch.setattr(keeper, "CAP_S", 0.02)
    counters = Counters()
    starts = []

    async def start(assignment):
        starts.append(assignment)
        if len(starts) < 3:
            raise OSError(12, "Cannot allocate memory")
        return await original(assignment)

    original = Worker.start
    monkeypatch.setattr(Worker, "start", start)
    kept = Keeper(pack(NOBODY), device="cam", counters=counters)
    with pytest.raises(DeviceUnavailable, match="has not started yet"):
        await kept.record(deadline_s=0.01, wait_ms=0)
    async with running(kept.run()):
        assert len(await kept.record(deadline_s=20, wait_ms=0)) == 56
    assert counters.get("device.cam.worker_ends") == 2
    with pytest.raises(DeviceUnavailable, match="Cannot allocate memory") as caught:
        await kept.record(deadline_s=0.01, wait_ms=0)
    assert caught.value.reason is Reason.SENSOR_FAULT


async def test_a_worker_that_ends_again_and_again_for_one_reason_is_logged_once(monkeypatch, caplog):
    monkeypatch.setattr(keeper, "FIRST_S", 0.001)
    monkeypatch.setattr(keeper, "CAP_S", 0.001)
    reasons = ["No space left on device"] * 5 + ["Cannot allocate memory"] * 5

    async def start(_assignment):
        raise OSError(1, reasons.pop(0) if len(reasons) > 1 else reasons[0])

    monkeypatch.setattr(Worker, "start", start)
    counters = Counters()
    async with running(Keeper(b"", device="cam", counters=counters).run()):
        await until(lambda: counters.get("device.cam.worker_ends") >= 10)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "the camera's worker cannot be started: No space left on device",
        "the camera's worker cannot be started: Cannot allocate memory",
    ]


async def test_a_wait_that_does_not_fit_is_the_longest_that_does():
    reader, sent = asyncio.StreamReader(), []
    reader.feed_data(encode_greeting(Measure(0)) + bytes(56))
    await Worker(None, reader, SimpleNamespace(write=sent.append)).answer(wait_ms=1_000_000)
    assert sent == [REQUEST.pack(MAX_WAIT_MS)]


@pytest.mark.parametrize(("late_s", "heard"), [(5, b"late"), (70, b"asked anew")])
async def test_an_answer_that_comes_late_is_the_next_ones_unless_that_comes_too_late_too(late_s, heard):
    reader, sent = asyncio.StreamReader(), []
    worker = Worker(None, reader, SimpleNamespace(write=sent.append))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await worker.answer(wait_ms=1)
    reader.feed_data(encode_greeting(Measure(0)) + b"late".ljust(56) + b"asked anew".ljust(56))
    worker._asked_s -= late_s
    assert (await worker.answer(wait_ms=1)).rstrip() == heard
    assert (worker.answers, worker.silent_s) == (1, 0)
    assert len(sent) == (1 if heard == b"late" else 2)


def test_a_crash_loop_backs_off_and_one_that_needs_a_person_waits_long():
    kept = Keeper(b"", device="cam", counters=Counters())
    delays = [kept._delay_s(-9) for _ in range(10)]
    assert delays[0] <= keeper.FIRST_S
    assert keeper.CAP_S / 2 <= min(delays[-3:]) <= max(delays) <= keeper.CAP_S
    assert kept._delay_s(exits.MODEL) >= keeper.FOR_A_PERSON_S / 2


def test_the_agents_side_imports_no_library_of_the_worker():
    script = (
        "import sys, edge_agent.agent, drivers.links.camera, drivers.camera_people.driver as driver\n"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'bleak'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=ROOT, capture_output=True)
    assert done.stdout == b"[]\n"
    worker = (
        "import sys, drivers.camera_people.worker.serving\nprint('asyncio' in sys.modules, 'msgspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", worker], check=True, timeout=60, cwd=ROOT, capture_output=True)
    assert done.stdout == b"False False\n"


def test_it_is_a_driver_that_is_asked():
    driver = importlib.import_module("drivers.camera_people.driver")
    assert issubclass(driver.CameraPeopleDriver, PollDriver)
