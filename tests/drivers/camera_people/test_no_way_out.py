"""No way out for pixels: by types, by the system calls that a worker makes, and by what the agent has in memory."""

import asyncio
import dataclasses
import enum
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import types
import typing
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.camera_people import exits, measures, process, record
from drivers.camera_people.assignment import Assignment, pack
from drivers.camera_people.driver import CameraPeopleDriver
from drivers.camera_people.measures import GREETING_SIZE, Measure
from drivers.camera_people.process import Worker
from drivers.camera_people.record import REQUEST, SIZE, Record, State, decode
from drivers.camera_people.worker.file import FileSource
from drivers.links.camera import CameraLink
from simulators.camera_picture import Studio
from simulators.camera_scenes import PROGRAMMES, scene
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable, ProtocolError
from telemetry.sample import Reason
from tests.coverage_report import require_server
from tests.drivers.camera_people.scene import PROFILE, watching
from tests.drivers.helpers import context

ROOT = Path(__file__).parents[3]
CALLS = "open,openat,openat2,creat,socket,connect,bind,sendto,sendmsg,execve,execveat,fork,vfork,memfd_create,shmget"
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


def film(folder, *, name="scene.png", programme="full"):
    """Write a scene without loss; return its path and its pixels, BGR."""
    studio = Studio(seed=5, name="cam")
    picture = studio.picture(scene(PROGRAMMES[programme], seed=5, name="cam", n=1), number=0)[:, :, ::-1].copy()
    path = folder / name
    assert cv2.imwrite(str(path), picture)
    return path, picture


def leaves(kind):
    """Yield the plain types that a field may hold."""
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        for part in typing.get_args(kind):
            yield from leaves(part)
    else:
        yield kind


def test_a_record_has_no_field_that_could_hold_a_picture():
    hints = typing.get_type_hints(Record)
    for field in dataclasses.fields(Record):
        for kind in leaves(hints[field.name]):
            assert kind in {int, float, bool, type(None)} or issubclass(kind, enum.IntEnum), field.name
    # One layout of whole numbers: no bytes, no strings, nothing of a length that could be chosen.
    for layout in (record._BODY, record._SUM, measures._BODY, measures._SUM):
        assert re.fullmatch(r"<[HIQhiq]+", layout.format)
    assert SIZE <= 64
    assert GREETING_SIZE == 8
    # What reaches the store are numbers and reasons.
    assert not any(issubclass(kind, (bytes, str, bytearray)) for kind in (int, float, State))


def traced(folder, assignment, *, answers=3):
    """Run a worker under strace; return its records, the system calls that succeeded, and its socket's number."""
    log = folder / "calls"
    ours, theirs = socket.socketpair()
    trace = [require_server("strace"), "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log)]
    worker = [sys.executable, "-s", "-P", "-m", process.MODULE, str(theirs.fileno())]
    out = subprocess.DEVNULL
    with (
        ours,
        subprocess.Popen(
            [*trace, *worker], pass_fds=(theirs.fileno(),), env=process.environment(), stdout=out, stderr=out, stdin=out
        ) as running,
    ):
        told = theirs.fileno()
        theirs.close()
        ours.settimeout(60)
        ours.sendall(pack(assignment))
        records = []
        ours.recv(GREETING_SIZE, socket.MSG_WAITALL)
        for _ in range(answers):
            ours.sendall(REQUEST.pack(3000))
            records.append(decode(ours.recv(SIZE, socket.MSG_WAITALL)))
        ours.shutdown(socket.SHUT_WR)
        assert running.wait(30) == 0
        assert ours.recv(100) == b""
    return (
        records,
        [line for line in log.read_text().splitlines() if " = -1 E" not in line or "EINPROGRESS" in line],
        told,
    )


@pytest.mark.server("strace")
@pytest.mark.parametrize("capture", ["rtsp", "mjpeg", "snapshot", "file"])
def test_no_file_is_opened_for_writing_and_no_socket_but_the_cameras(campus_device, tmp_path, capture):
    if capture == "file":
        path, _ = film(tmp_path)
        records, calls, agent = traced(tmp_path, Assignment(url="", capture="file", path=str(path)))
        port = None
    else:
        camera = campus_device("camera", capture=capture, scene="full")
        port = int(camera.endpoint.rpartition(":")[2])
        records, calls, agent = traced(tmp_path, Assignment(url=camera.url, capture=capture))
    assert State.COUNTED in {one.state for one in records}
    assert len(calls) > 50
    # The first program is the worker itself, and it starts no other.
    assert sum("exec" in line for line in calls) == 1
    assert [line for line in calls if re.search(r"\bopen(at2?)?\(|creat\(", line) and WRITES.search(line)] == []
    assert [line for line in calls if re.search(r"\b(bind|memfd_create|shmget|v?fork|sendmsg)\(", line)] == []
    # All that the agent was told: what holds the worker, then records, each of its one size.
    sending = re.compile(r"sendto\((\d+), .*, (\d+), \w+, (\w+), 0\) = (\d+)$")
    sent = [sending.search(line) for line in calls if "sendto(" in line]
    assert all(one is not None and one[3] == "NULL" for one in sent)
    assert [int(one[4]) for one in sent if int(one[1]) == agent] == [GREETING_SIZE, *[SIZE] * len(records)]
    made = [line for line in calls if " socket(" in line or line.startswith("socket(")]
    reached = [line for line in calls if "connect(" in line]
    if port is None:
        assert (made, reached) == ([], [])
    else:
        assert made
        assert all("AF_INET" in line and "SOCK_STREAM" in line for line in made)
        assert all(f"htons({port})" in line for line in reached)


async def test_sound_is_never_set_up(campus_device, tmp_path):
    camera = campus_device("camera", capture="rtsp", offers_audio=True)
    async with watching(camera, tmp_path) as watch:
        await watch.next_value()
    assert not any(line["type"] == "audio_setup" for line in camera.said())


def interfaces(pid):
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]


def network(pid):
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


async def test_a_local_camera_works_in_a_network_without_an_interface(tmp_path):
    path, _ = film(tmp_path)
    worker = await Worker.start(pack(Assignment(url="", capture="file", path=str(path))))
    try:
        seen = decode(await asyncio.wait_for(worker.answer(wait_ms=3000), 30))
        assert seen.state is State.COUNTED
        assert seen.people >= 8
        if Measure.OWN_NETWORK not in worker.granted:
            pytest.skip("this kernel lets no process have a network of its own")
        if os.geteuid() == 0:
            assert interfaces(worker.pid) == ["lo"]
            assert network(worker.pid) != network("self")
    finally:
        await worker.stop()


AGENT = """
import asyncio, sys
from drivers.camera_people.assignment import Assignment, pack
from drivers.camera_people.process import Worker

async def main():
    worker = await Worker.start(pack(Assignment(url="", capture="file", path=sys.argv[1])))
    for _ in range(4):
        await worker.answer(wait_ms=3000)
    print(worker.pid, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await worker.stop()

asyncio.run(main())
"""


def memory_has(pid, patterns):
    """Return which patterns lie in the process's memory."""
    found = set()
    of = Path(f"/proc/{pid}")
    with (of / "maps").open() as maps, (of / "mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_, inode = line.split()[:5]
            start, end = (int(part, 16) for part in span.split("-"))
            # What was mapped from a file and cannot be written to is the file still: libraries, hundreds of MB of them.
            if "r" not in rights or "[v" in line or ("w" not in rights and inode != "0"):
                continue
            for at in range(start, end, 1 << 24):
                try:
                    memory.seek(at)
                    piece = memory.read(min(end - at, (1 << 24) + 4096))
                except OSError:
                    continue
                found |= {name for name, pattern in patterns.items() if name not in found and pattern in piece}
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into another process's memory")
def test_the_agent_has_no_pixel_in_its_memory_and_the_worker_none_after_use(tmp_path):
    path, picture = film(tmp_path)
    rows = range(40, len(picture) - 40, 25)
    patterns = {f"bgr {row}": picture[row, 100:130].tobytes() for row in rows}
    patterns |= {f"rgb {row}": picture[row, 100:130, ::-1].tobytes() for row in rows}
    patterns |= {f"grey {row}": picture[row, 100:160, 1].tobytes() for row in rows}
    data = path.read_bytes()
    patterns |= {f"file {at}": data[at : at + 64] for at in range(1000, len(data) - 64, len(data) // 20)}
    # The scan finds what is there: this process has all of it.
    assert memory_has(os.getpid(), patterns) >= {name for name in patterns if not name.startswith("grey")}
    command = [sys.executable, "-c", AGENT, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as agent:
        worker = int(agent.stdout.readline())
        try:
            assert memory_has(agent.pid, patterns) == set()
            os.kill(worker, signal.SIGSTOP)
            assert memory_has(worker, patterns) == set()
        finally:
            os.kill(worker, signal.SIGCONT)
            agent.stdin.close()
            assert agent.wait(20) == 0


def local_driver(path, **options):
    counters = Counters()
    link = CameraLink("lens", counters, url="", capture="file", path=str(path))
    return CameraPeopleDriver(context("cam", PROFILE, counters, **options), link), counters


async def reading(driver, *, until="", within_s=40):
    """Return the first value that the driver gives, or the first SENSOR_FAULT whose text has `until` in it."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                sample = await driver.read()
            except DeviceUnavailable as error:
                if error.reason is Reason.SENSOR_FAULT and until in str(error):
                    return str(error)
            else:
                if "people" in sample.values:
                    return sample.values["people"]
            await asyncio.sleep(0.05)


async def test_a_worker_that_may_not_have_the_memory_gives_no_number(tmp_path):
    path, _ = film(tmp_path)
    driver, counters = local_driver(path, memory_mb=64, median_of=1)
    async with driver:
        for _ in range(2):
            assert isinstance(await reading(driver, until="wanted more memory"), str)
    assert counters.get("device.cam.worker_ends") >= 1
    assert counters.get("device.cam.confined.calls") == 0


async def test_a_file_that_comes_later_is_counted_within_seconds(tmp_path):
    path, _ = film(tmp_path)
    hidden = path.rename(tmp_path / "hidden.png")
    driver, counters = local_driver(path, median_of=1)
    async with driver:
        assert isinstance(await reading(driver, until="cannot open the camera's file"), str)
        hidden.rename(path)
        async with asyncio.timeout(30):
            while isinstance(await reading(driver), str):
                pass
    assert counters.get("device.cam.confined.no_new_rights") >= 1


def test_a_damaged_or_empty_file_is_no_picture(tmp_path):
    class Quiet:
        def told(self):
            return False

    wanted = threading.Event()
    wanted.set()
    for content in (b"", b"\xff\xd8 no picture", np.arange(99, dtype=np.uint8).tobytes()):
        (tmp_path / "p.png").write_bytes(content)
        source = FileSource(Assignment(url="", capture="file", path=str(tmp_path / "p.png")), Quiet())
        source.open()
        with pytest.raises(ProtocolError):
            source.next(wanted)
        os.close(source._descriptor)
    with pytest.raises(DeviceUnavailable):
        FileSource(Assignment(url="", capture="file", path=str(tmp_path / "absent.png")), Quiet())


@pytest.mark.parametrize("capture", ["rtsp", "mjpeg"])
async def test_a_camera_given_by_name_is_found(campus_device, capture):
    camera = campus_device("camera", capture=capture, scene="full", host="127.0.0.1")
    url = camera.url.replace("127.0.0.1", "localhost")
    worker = await Worker.start(pack(Assignment(url=url, capture=capture)))
    try:
        async with asyncio.timeout(30):
            while decode(await worker.answer(wait_ms=1000)).state is not State.COUNTED:
                pass
    finally:
        await worker.stop()


@pytest.mark.parametrize("made", [None, b"no device"])
async def test_a_device_that_is_none_ends_the_worker_with_its_reason(tmp_path, made):
    path = tmp_path / "video0"
    if made is not None:
        path.write_bytes(made)
    worker = await Worker.start(pack(Assignment(url="", capture="v4l2", path=str(path))))
    try:
        with pytest.raises(DeviceUnavailable):
            await asyncio.wait_for(worker.answer(wait_ms=100), 20)
        assert await asyncio.wait_for(worker.ended(), 20) == exits.SOURCE
    finally:
        await worker.stop()
