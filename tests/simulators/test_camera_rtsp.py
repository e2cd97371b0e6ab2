"""An RTSP camera at the wire: FFmpeg reads it by PyAV and by OpenCV; what is wrong is refused; faults are as told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from typing import TYPE_CHECKING

import av
import cv2
import pytest

from simulators.camera_picture import read_stamp
from simulators.launch import launch
from simulators.ledger import SaidScene, read_camera
from simulators.spec import DeviceSpec
from tests.simulators.conftest import listens, until
from tests.simulators.viewers import Line, dialled, looking, with_login

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.held import Shelf

FAST: dict[str, int] = {"fps": 20}
LOCKED = {"username": "admin", "password": "pä ss:1"}


def in_order(numbers: list[int]) -> bool:
    """Tell whether no picture came twice and few were missed (which a busy machine may cause)."""
    return numbers == sorted(set(numbers)) and numbers[-1] - numbers[0] < 2 * len(numbers)


async def drained(line: Line) -> None:
    """Read until the camera hangs up."""
    with contextlib.suppress(ConnectionError):
        while await line.reader.read(65536):
            pass


def test_ffmpeg_reads_each_picture_in_order(device: Shelf) -> None:
    camera = device("camera", **FAST, **LOCKED)
    with looking(camera) as looker:
        numbers = looker.numbers(30)
    assert in_order(numbers)
    assert camera.ready.url == f"rtsp://[::1]:{camera.port}/stream"


def test_opencv_reads_it(device: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fpsprobesize;0")
    camera = device("camera", host="127.0.0.1", **FAST, **LOCKED)
    video = cv2.VideoCapture(with_login(camera.url, **LOCKED), cv2.CAP_FFMPEG)
    try:
        pictures = [video.read() for _ in range(5)]
    finally:
        video.release()
    numbers = [read_stamp(picture) for good, picture in pictures if good]
    assert len(numbers) == 5
    assert in_order(numbers)


def test_two_clients_share_one_stream(device: Shelf) -> None:
    camera = device("camera", **FAST)
    with looking(camera) as one, looking(camera) as other:
        assert set(one.numbers(30)) & set(other.numbers(10))


def test_without_the_password_there_is_nothing(device: Shelf) -> None:
    camera = device("camera", **LOCKED)
    for login in (("", ""), ("admin", "wrong"), ("other", LOCKED["password"])):
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(with_login(camera.url, *login), options={"rtsp_transport": "tcp"}, timeout=5)
    assert camera.state()["counters"]["camera.logins.refused"] >= 3


async def test_digest_by_sha_256(device: Shelf) -> None:
    camera = device("camera", digest="SHA-256", **LOCKED)
    async with dialled(camera) as line:
        status, headers, _ = await line.ask("DESCRIBE")
        assert status == 401
        challenge = dict(re.findall(r'(\w+)="?([^",]+)"?', headers["WWW-Authenticate"]))
        assert challenge["algorithm"] == "SHA-256"
        one, two = (
            hashlib.sha256(text.encode()).hexdigest()
            for text in (f"admin:{challenge['realm']}:{LOCKED['password']}", f"DESCRIBE:{camera.url}")
        )
        response = hashlib.sha256(f"{one}:{challenge['nonce']}:{two}".encode()).hexdigest()
        parts = (
            f'username="admin", realm="{challenge["realm"]}", nonce="{challenge["nonce"]}", uri="{camera.url}", '
            f'response="{response}", algorithm=SHA-256'
        )
        assert (await line.ask("DESCRIBE", Authorization=f"Digest {parts}"))[0] == 200


async def test_what_is_wrong_is_refused(device: Shelf) -> None:
    camera = device("camera")
    tcp = "RTP/AVP/TCP;unicast;interleaved=0-1"
    async with dialled(camera) as line:
        assert "DESCRIBE" in (await line.ask("OPTIONS"))[1]["Public"]
        assert (await line.ask("DESCRIBE", "/other"))[0] == 404
        assert (await line.ask("PLAY"))[0] == 455
        assert (await line.ask("SETUP", "/trackID=2", Transport=tcp))[0] == 404, "no sound is offered"
        assert (await line.ask("SETUP", "/trackID=1", Transport="RTP/AVP;unicast;client_port=5000-5001"))[0] == 461
        assert (await line.ask("RECORD"))[0] == 501
        line.session = "of another"
        assert (await line.ask("GET_PARAMETER"))[0] == 454
        line.session = ""
        assert (await line.ask("SETUP", "/trackID=1", Transport=tcp))[1]["Session"].endswith(";timeout=60")
        assert (await line.ask("TEARDOWN"))[0] == 200
        assert await line.reader.read() == b""


async def test_garbage_ends_only_its_connection(device: Shelf) -> None:
    camera = device("camera", **FAST)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 20_000, b"$\0\0\3abcnonsense\r\n\r\n"):
        async with dialled(camera) as line:
            line.send(garbage)
            with contextlib.suppress(ConnectionError):
                assert (await line.reader.read()).startswith(b"RTSP/1.0 400 ")
    assert camera.state()["counters"]["camera.requests.damaged"] == 3
    async with dialled(camera) as line:
        assert (await line.ask("OPTIONS"))[0] == 200


async def test_it_stays_alive_with_rtcp_and_get_parameter_between(device: Shelf) -> None:
    camera = device("camera", **FAST)
    async with dialled(camera) as line:
        await line.play()
        line.send(b"$\5\0\10\x81\xc9\0\1abcd")
        assert (await line.ask("GET_PARAMETER"))[0] == 200
        channels = {(await line.packet())[0]}
        while channels != {4, 5}:  # a sender report comes with each keyframe
            channels.add((await line.packet())[0])


async def test_a_connection_too_many_is_refused(device: Shelf) -> None:
    camera = device("camera", max_connections=1)
    async with dialled(camera) as line:
        assert (await line.ask("OPTIONS"))[0] == 200
        async with dialled(camera) as other:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await other.ask("OPTIONS")
    await until(lambda: not camera.state()["open"])


async def test_one_that_does_not_read_misses_pictures_and_holds_up_nobody(device: Shelf) -> None:
    camera = device("camera", fps=30)
    async with dialled(camera, buffer_bytes=4096) as slow:
        await slow.play()
        with looking(camera) as looker:
            numbers = looker.numbers(10)
            while camera.state()["counters"].get("camera.frames.skipped", 0) < 60:
                numbers += looker.numbers(10)
    assert in_order(numbers), "the other one saw it all"


async def test_who_sets_up_sound_is_on_record(device: Shelf) -> None:
    camera = device("camera", offers_audio=True, **FAST)
    with looking(camera, allowed_media_types="video") as looker:
        looker.numbers(3)
    assert {line["type"] for line in camera.said()} == {"scene"}
    async with dialled(camera) as line:
        assert "m=audio 0 RTP/AVP 0\r\n" in (await line.ask("DESCRIBE"))[2]
        assert (await line.ask("SETUP", "/trackID=2", Transport="RTP/AVP/TCP;unicast;interleaved=2-3"))[0] == 200
    (said,) = (line for line in camera.said() if line["type"] == "audio_setup")
    assert said["device"] == "camera"


def test_stall_leaves_the_line_open(device: Shelf) -> None:
    camera = device("camera", **FAST)
    with looking(camera) as looker:
        last = looker.numbers(3)[-1]
        camera.fault("stall")
        shown = camera.said()[-1]
        with pytest.raises(av.error.ExitError):
            looker.numbers(100)
        assert camera.state()["open"]
        camera.clear()
        assert looker.numbers(1)[0] > last
    assert (shown["fault"], shown["dark"]) == ("stall", False)
    assert camera.said()[-1]["fault"] is None


def test_dark_is_nearly_black_and_told(device: Shelf) -> None:
    camera = device("camera", **FAST)
    with looking(camera) as looker:
        frames = looker.frames()
        assert next(frames).to_ndarray(format="gray").mean() > 80
        camera.fault("dark")
        assert [(line["dark"], line["fault"]) for line in camera.said()] == [(False, None), (True, "dark")]
        end = time.monotonic() + 5
        while (brightness := next(frames).to_ndarray(format="rgb24").mean()) > 12 and time.monotonic() < end:
            pass
    assert 1 < brightness < 12


def test_of_garbage_no_picture_is_decoded(device: Shelf) -> None:
    camera = device("camera", **FAST)
    with looking(camera) as looker:
        numbers = looker.numbers(3)
        camera.fault("garbage")
        sent = camera.state()["counters"]["camera.frames.sent"]
        while camera.state()["counters"]["camera.frames.sent"] < sent + 20:
            time.sleep(0.05)
        camera.clear()
        start, *changes = (line["at_ns"] for line in camera.said() if line["n"] == 1)
        begin, end = ((at_ns - start) / 1e9 * FAST["fps"] for at_ns in changes)
        while numbers[-1] < end + 5:
            numbers += looker.numbers(1)
    assert [line["fault"] for line in camera.said()][:3] == [None, "garbage", None]
    assert numbers == sorted(set(numbers)), "none is made up by the decoder"
    assert not [number for number in numbers if begin + 2 < number < end - 2]
    assert looker.damaged >= 10


async def test_hang_accepts_and_never_answers(device: Shelf) -> None:
    camera = device("camera", **FAST)
    async with dialled(camera) as line:
        await line.play()
        camera.fault("hang")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(drained(line), 0.5)
        async with dialled(camera) as other:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.ask("OPTIONS"), 0.2)
        camera.clear()
        assert (await line.packet())[0] in (4, 5)


async def test_unplug_resets_and_comes_back_at_the_same_port(device: Shelf) -> None:
    camera = device("camera", **FAST)
    async with dialled(camera) as line:
        await line.play()
        camera.fault("unplug")
        await drained(line)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(camera.host, camera.port)
    camera.clear()
    await until(lambda: listens(camera))
    with looking(camera) as looker:
        assert looker.numbers(1)
    assert [line["fault"] for line in camera.said()][:3] == [None, "unplug", None]


async def test_it_stops_at_once_while_somebody_looks(tmp_path: Path) -> None:
    spec = DeviceSpec(kind="camera", name="c", said=str(tmp_path))
    process = await launch(spec)
    reader, writer = await asyncio.open_connection(process.ready.host, process.ready.port)
    try:
        await Line(reader, writer, process.ready.url).play()
    finally:
        assert await process.stop() == 0
        writer.transport.abort()
    *_, last = read_camera(tmp_path / "c.jsonl")
    assert isinstance(last, SaidScene)
    assert last.fault == "off"
