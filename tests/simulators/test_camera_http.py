"""Cameras with motion JPEG and with snapshots: read by FFmpeg, OpenCV and aiohttp's client; login and faults."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import aiohttp
import av
import cv2
import numpy as np
import pytest

from simulators.camera_picture import read_stamp
from tests.simulators.conftest import listens, until
from tests.simulators.viewers import looking, with_login

if TYPE_CHECKING:
    from simulators.held import HeldDevice, Shelf

LOCKED = {"username": "admin", "password": "pw"}
FAST = {"fps": 20}
DEADLINE = aiohttp.ClientTimeout(total=20)


def client(**options: object) -> aiohttp.ClientSession:
    """A client whose connections serve one request each: one that is reset is not tried again in silence."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=DEADLINE, **options)  # type: ignore[arg-type]


async def snapshot(session: aiohttp.ClientSession, camera: HeldDevice) -> np.ndarray | None:
    async with session.get(camera.url) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(await answer.read(), np.uint8), cv2.IMREAD_COLOR)
        return picture if picture is not None else None


def test_ffmpeg_reads_motion_jpeg_in_order(device: Shelf) -> None:
    camera = device("camera", capture="mjpeg", **FAST, **LOCKED)
    assert camera.url == f"http://[::1]:{camera.port}/mjpeg"
    with looking(camera) as looker:
        numbers = looker.numbers(20)
    assert numbers == sorted(set(numbers))


def test_opencv_reads_motion_jpeg(device: Shelf) -> None:
    camera = device("camera", capture="mjpeg", host="127.0.0.1", **FAST, **LOCKED)
    video = cv2.VideoCapture(with_login(camera.url, **LOCKED), cv2.CAP_FFMPEG)
    try:
        pictures = [video.read() for _ in range(5)]
    finally:
        video.release()
    numbers = [read_stamp(picture) for good, picture in pictures if good]
    assert len(numbers) == 5
    assert numbers == sorted(set(numbers)), "some may be skipped, none comes twice"


@pytest.mark.parametrize("digest", ["MD5", "SHA-256"])
async def test_digest_login(device: Shelf, digest: str) -> None:
    camera = device("camera", capture="snapshot", digest=digest, **LOCKED)
    middleware = aiohttp.DigestAuthMiddleware(login="admin", password=LOCKED["password"])
    async with client(middlewares=(middleware,)) as session:
        assert await snapshot(session, camera) is not None


@pytest.mark.parametrize("capture", ["mjpeg", "snapshot"])
async def test_basic_login_and_none(device: Shelf, capture: str) -> None:
    camera = device("camera", capture=capture, **LOCKED)
    async with client() as session:
        for login, status in (("", 401), ("admin:pw", 200), ("admin:wrong", 401), ("other:pw", 401)):
            user, _, password = login.partition(":")
            headers = {"Authorization": aiohttp.encode_basic_auth(user, password)} if login else {}
            async with session.get(camera.url, headers=headers) as answer:
                assert answer.status == status, login
        async with session.get(camera.url.rpartition("/")[0] + "/other", headers=headers) as answer:
            assert answer.status == 401, "who may not look learns nothing"
    schemes = [value.partition(" ")[0] for value in answer.headers.getall("WWW-Authenticate")]
    assert schemes == ["Digest", "Basic"]


async def test_a_snapshot_is_the_picture_of_now(device: Shelf) -> None:
    camera = device("camera", capture="snapshot", **FAST)
    async with client() as session:
        pictures = [await snapshot(session, camera)]
        await asyncio.sleep(0.1)
        pictures.append(await snapshot(session, camera))
    first, second = (read_stamp(picture) for picture in pictures if picture is not None)
    assert second >= first + 2


async def test_two_scenes_in_a_row_are_journalled_before_they_are_seen(device: Shelf) -> None:
    camera = device("camera", capture="snapshot", scene_s=0.4, seed=3, **FAST)
    await until(lambda: len(camera.said()) >= 4)
    camera.stop()
    *scenes, last = camera.said()
    assert [line["n"] for line in scenes] == list(range(1, len(scenes) + 1))
    assert len({line["people"] for line in scenes[:4]}) == 4
    assert all(0.2e9 < later["at_ns"] - earlier["at_ns"] < 2e9 for earlier, later in pairwise(scenes))
    assert (last["fault"], last["n"]) == ("off", scenes[-1]["n"])
    assert {line["device"] for line in scenes} == {"camera"}


@pytest.mark.parametrize(("fault", "begun"), [("stall", True), ("hang", False)])
async def test_a_request_is_left_hanging(device: Shelf, fault: str, begun: bool) -> None:
    camera = device("camera", capture="snapshot", **FAST)
    camera.fault(fault)
    headers = asyncio.Event()

    async def ask() -> None:
        async with client() as session, session.get(camera.url) as answer:
            headers.set()
            await answer.read()

    asking = asyncio.create_task(ask())
    if begun:
        await asyncio.wait_for(headers.wait(), 3)
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    assert headers.is_set() == begun
    camera.clear()
    async with asyncio.timeout(3):
        (ended,) = await asyncio.gather(asking, return_exceptions=True)
    # One that heard nothing at all is asked again by the client itself.
    assert isinstance(ended, aiohttp.ClientPayloadError if begun else type(None))
    async with client() as session:
        assert await snapshot(session, camera) is not None
    assert [line["fault"] for line in camera.said()] == [None, fault, None]


def test_motion_jpeg_stalls_and_goes_on(device: Shelf) -> None:
    camera = device("camera", capture="mjpeg", **FAST)
    with looking(camera) as looker:
        last = looker.numbers(3)[-1]
        camera.fault("stall")
        with pytest.raises(av.error.ExitError):
            looker.numbers(100)
        assert camera.state()["open"]
        camera.clear()
    with looking(camera) as looker:
        assert looker.numbers(1)[0] > last + 15


async def test_garbage_is_no_picture(device: Shelf) -> None:
    camera = device("camera", capture="snapshot", **FAST)
    async with client() as session:
        camera.fault("garbage")
        await until(lambda: camera.said()[-1]["fault"] == "garbage")
        await asyncio.sleep(0.1)
        assert await snapshot(session, camera) is None
        camera.clear()
        await asyncio.sleep(0.1)
        assert await snapshot(session, camera) is not None


async def test_unplug_resets_and_comes_back_at_the_same_port(device: Shelf) -> None:
    camera = device("camera", capture="mjpeg", **FAST)
    async with client() as session:
        async with session.get(camera.url) as answer:
            await answer.content.readline()
            camera.fault("unplug")
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                await answer.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(camera.url)
        camera.clear()
        await until(lambda: listens(camera))
        async with session.get(camera.url) as answer:
            assert (await answer.content.readline()).startswith(b"--")


async def test_a_connection_too_many_is_refused(device: Shelf) -> None:
    camera = device("camera", capture="mjpeg", max_connections=1)
    async with client() as session, session.get(camera.url), session.get(camera.url) as other:
        assert other.status == 503
    await until(lambda: not camera.state()["open"])
