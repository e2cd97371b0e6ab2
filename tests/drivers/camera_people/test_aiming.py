"""The aiming view: shut unless two detectors find nobody, filled where people may come, and for one visitor alone."""

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from typer.testing import CliRunner

from drivers.camera_people import aim as aim_module
from drivers.camera_people import aim_page, aim_session
from drivers.camera_people.aim import AimingView, End
from drivers.camera_people.aim_page import AimingPage
from drivers.camera_people.aim_session import Request, aim
from drivers.camera_people.assignment import Assignment, pack
from drivers.camera_people.options import Options
from drivers.camera_people.views import HEAD, MAX_JPEG, Verdict, pack_view, unpack_head
from drivers.camera_people.worker import redaction
from drivers.camera_people.worker.aiming import HOLD, Aimer
from drivers.camera_people.worker.detector import ModelFault
from drivers.camera_people.worker.finding import Finder
from drivers.links.camera import CameraLink
from edge_agent.cli import app
from simulators.camera_picture import Studio
from simulators.camera_scenes import PROGRAMMES, scene
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable, ProtocolError
from tests.waiting import until

NOBODY = np.zeros((0, 5), np.float32)
GREY = np.full((96, 128, 3), 90, np.uint8)
sides = st.floats(-50, 200, width=32)
boxes = arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(5)), elements=sides)


@given(
    arrays.arrays(np.uint8, (60, 80, 3)),
    arrays.arrays(np.uint8, (60, 80, 3)),
    boxes,
    st.floats(0.4, 2),
)
def test_what_lies_under_the_mask_changes_no_byte(background, noise, found, margin):
    mask = redaction.mask_of(found, width=80, height=60, margin=margin)
    other = np.where(mask[:, :, None], noise, background)
    shown = redaction.filled(background, found, margin=margin)
    assert shown.tobytes() == redaction.filled(other, found, margin=margin).tobytes()
    assert (shown[mask] == redaction.FILL).all()
    assert (shown[~mask] == background[~mask]).all()


@given(boxes, st.floats(0.4, 2))
def test_the_mask_holds_each_box_and_its_margin(found, margin):
    mask = redaction.mask_of(found, width=80, height=60, margin=margin)
    for x0, y0, x1, y1, _ in found.tolist():
        wide, high = margin * abs(x1 - x0), margin * abs(y1 - y0)
        for x in (min(x0, x1) - wide, (x0 + x1) / 2, max(x0, x1) + wide):
            for y in (min(y0, y1) - high, (y0 + y1) / 2, max(y0, y1) + high):
                if 0 <= x < 80 and 0 <= y < 60:
                    assert mask[int(y), int(x)]


def test_a_box_that_is_no_box_covers_everything():
    assert redaction.mask_of(np.array([[0, 0, np.nan, 5, 1]]), width=8, height=6).all()
    assert redaction.mask_of(np.array([[0, -np.inf, 1, 5, 1]]), width=8, height=6).all()


def judged(*found, filled=False, pictures=None):
    answers = list(found)

    def find(_picture):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    aimer = Aimer(find, dark_below=0.06, filled=filled)
    return [aimer.judge(pictures[n] if pictures else GREY.copy()) for n in range(len(found))]


def box(x=10.0, y=10.0):
    return np.array([[x, y, x + 10, y + 10, 0.5]], np.float32)


def test_a_picture_is_shown_only_after_two_others_without_anybody():
    verdicts = [verdict for verdict, _ in judged(*[NOBODY] * 4)]
    assert verdicts == [*[Verdict.HOLD] * HOLD, Verdict.SHOWN, Verdict.SHOWN]
    assert judged(NOBODY, box())[-1] == (Verdict.PERSON, None)
    assert judged(*[NOBODY] * 3, box())[-1] == (Verdict.PERSON, None)


def test_unsure_and_dark_show_nothing():
    assert judged(ModelFault("nan")) == [(Verdict.UNSURE, None)]
    dark = judged(NOBODY, pictures=[GREY // 30])
    assert dark == [(Verdict.DARK, None)]


def test_filled_shows_the_stored_room_and_nothing_of_any_later_picture():
    later = [np.full_like(GREY, value) for value in (200, 150, 100, 50, 40)]
    found = [NOBODY] * 3 + [box(), NOBODY, NOBODY, NOBODY, box(60)]
    shown = judged(*found, filled=True, pictures=[GREY.copy() for _ in range(3)] + later)
    assert [verdict for verdict, _ in shown[2:]] == [Verdict.SHOWN] * 6
    values = {tuple(value) for _, picture in shown[2:] for value in np.unique(picture.reshape(-1, 3), axis=0)}
    assert values == {(90, 90, 90), redaction.FILL}
    filled = [bool((picture == redaction.FILL[0]).any()) for _, picture in shown[2:]]
    # The rectangle stays for two pictures more: a detector may miss somebody in one.
    assert filled == [False, True, True, True, False, True]


def test_filled_is_shut_by_a_person_before_the_empty_room_is_known():
    assert judged(NOBODY, box(), filled=True)[-1] == (Verdict.PERSON, None)


def test_no_pixel_of_a_person_can_be_seen_and_two_detectors_find_nobody():
    studio = Studio(seed=3, name="cam")
    empty = studio.picture(scene(PROGRAMMES["empty"], seed=3, name="cam", n=1), number=0)[:, :, ::-1].copy()
    finder = Finder(Assignment(url="", capture="file"))
    assert len(finder.find(empty.copy())) == 0
    for n in range(1, 4):
        people = scene(PROGRAMMES["full"], seed=3, name="cam", n=n)
        # Another studio: the first one keeps its last scene by number.
        picture = Studio(seed=3, name="cam").picture(people, number=0)[:, :, ::-1].copy()
        found = finder.find(picture.copy())
        mask = redaction.mask_of(found, width=picture.shape[1], height=picture.shape[0])
        for person in people.people:
            middle = (person.x + person.side // 2, person.y + person.side // 3)
            assert mask[middle[1], middle[0]]
        shown = redaction.filled(empty, found)
        assert (shown[mask] == redaction.FILL).all()
        assert (shown[~mask] == empty[~mask]).all()
        assert len(finder.find(shown)) == 0


@given(st.sampled_from(list(Verdict)), st.binary(max_size=50))
def test_only_a_shown_picture_has_bytes(verdict, jpeg):
    if (verdict is Verdict.SHOWN) is bool(jpeg):
        message = pack_view(verdict, jpeg)
        assert unpack_head(message[: HEAD.size]) == (verdict, len(jpeg))
    else:
        with pytest.raises(ValueError, match="bytes"):
            pack_view(verdict, jpeg)
        with pytest.raises(ProtocolError):
            unpack_head(HEAD.pack(1, verdict, len(jpeg)))


@pytest.mark.parametrize("head", [(2, 1, 5), (1, 0, 0), (1, 99, 0), (1, 1, MAX_JPEG + 1), (1, 3, 5)])
def test_any_other_head_is_refused(head):
    with pytest.raises(ProtocolError):
        unpack_head(HEAD.pack(*head))


def get(url, **headers):
    """Return (status, headers, body) as a browser on this machine gets them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=5) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class Shown:
    """A view that shows a picture."""

    def __init__(self):
        self.picture, self.ended, self.verdict = b"\xff\xd8 jpeg", None, Verdict.SHOWN


@pytest.fixture
async def page():
    made = AimingPage(Shown())
    await made.start(0)
    yield made
    await made.close()


async def test_one_visit_with_the_key_and_then_the_picture(page):
    base = page.url.partition("/?")[0]
    assert base.startswith("http://127.0.0.1:")
    for wrong in (base + "/", base + "/?key=", base + "/?key=x", page.url + "x", base + "/?key=%C3%BC"):
        assert (await asyncio.to_thread(get, wrong))[0] == 403
    # Before the visit no key opens the picture.
    assert (await asyncio.to_thread(get, f"{base}/picture", **{"X-View-Key": page._picture_key}))[0] == 403
    status, headers, body = await asyncio.to_thread(get, page.url)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert b"http:" not in body
    assert b"https:" not in body
    assert (await asyncio.to_thread(get, page.url))[0] == 403
    assert (await asyncio.to_thread(get, f"{base}/picture"))[0] == 403
    own = {"X-View-Key": page._picture_key}
    status, headers, body = await asyncio.to_thread(get, f"{base}/picture", **own)
    assert (status, headers["Content-Type"], body) == (200, "image/jpeg", page._view.picture)
    assert headers["Cache-Control"] == "no-store"
    page._view.picture, page._view.verdict = b"", Verdict.HOLD
    status, headers, body = await asyncio.to_thread(get, f"{base}/picture", **own)
    assert (status, body) == (204, b"")
    assert "Nobody found" in unquote(headers["X-Said"])
    page._view.ended = End.PERSON
    status, _, body = await asyncio.to_thread(get, f"{base}/picture", **own)
    assert (status, body.decode()) == (410, "画面已关闭：检测到人。 The view is closed: a person was detected.")


async def test_another_host_method_or_path_is_refused(page):
    base = page.url.partition("/?")[0]
    assert (await asyncio.to_thread(get, page.url, Host="evil.example"))[0] == 421
    assert (await asyncio.to_thread(get, page.url.replace("127.0.0.1", "localhost")))[0] == 421
    assert (await asyncio.to_thread(get, base + "/other"))[0] == 404
    port = page._port
    for sent in (b"POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port, b"junk\r\n\r\n", b"x" * 20_000):
        reader, writer = await asyncio.open_connection(aim_page.HOST, port)
        writer.write(sent)
        answer = await reader.read()
        assert not answer or answer.split()[1] in {b"405", b"421"}
        writer.close()


async def test_a_visitor_that_says_nothing_is_hung_up_on(page, monkeypatch):
    monkeypatch.setattr(aim_page, "REQUEST_S", 0.05)
    reader, writer = await asyncio.open_connection(aim_page.HOST, page._port)
    assert await reader.read() == b""
    writer.close()


async def test_a_visitor_that_does_not_read_is_hung_up_on(page, monkeypatch):
    monkeypatch.setattr(aim_page, "REQUEST_S", 0.3)
    page._visited, page._view.picture = True, bytes(MAX_JPEG)
    served = lambda: [task for task in asyncio.all_tasks() if "AimingPage._serve" in repr(task)]  # noqa: E731
    with socket.create_connection((aim_page.HOST, page._port)) as visitor:
        visitor.sendall(
            f"GET /picture HTTP/1.1\r\nHost: 127.0.0.1:{page._port}\r\nX-View-Key: {page._picture_key}\r\n\r\n".encode()
        )
        await until(served)
        await until(lambda: not served())


def link_of(camera):
    return CameraLink("lens", Counters(), url=camera.url, capture=camera.spec.capture)


def request_of(**changes):
    return Request(**{"camera": "cam", "room": "r101", "who": "tech", "why": "new bracket", "seconds": 60.0, **changes})


async def visited(camera, monkeypatch, *, look, **changes):
    """Open a view, visit it, and return (why it ended, what `look` returned, the audit)."""
    monkeypatch.setattr(aim_session, "CLOSING_S", 0.1)
    events, urls = [], []
    task = asyncio.create_task(
        aim(request_of(**changes), link_of(camera), Options(), announce=urls.append, audit=events.append)
    )
    try:
        await until(lambda: urls or task.done(), within_s=30)
        seen = await look(urls[0]) if urls else None
        return await asyncio.wait_for(task, 80), seen, events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_empty_room_is_seen_until_somebody_stops_it(campus_device, monkeypatch):
    camera = campus_device("camera", capture="mjpeg", scene="empty")

    async def look(url):
        status, _, body = await asyncio.to_thread(get, url)
        assert status == 200
        key = body.decode().partition('"X-View-Key": "')[2].partition('"')[0]
        base = url.partition("/?")[0]
        while True:
            status, _, body = await asyncio.to_thread(get, f"{base}/picture", **{"X-View-Key": key})
            if status == 200:
                os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C, which the view takes while it runs
            if status != 204:
                return status, body[:2]
            await asyncio.sleep(0.05)

    end, seen, (opened, closed) = await visited(camera, monkeypatch, look=look)
    assert (end, seen) == (End.STOPPED, (200, b"\xff\xd8"))
    about = {"camera": "cam", "room": "r101", "who": "tech", "why": "new bracket"}
    assert opened == {"event": "camera.aim.opened", "at_ns": opened["at_ns"], **about, "seconds": 60.0}
    assert closed["event"] == "camera.aim.closed"
    assert closed["reason"] == "stopped by hand"
    assert closed["pictures"] > 0
    json.dumps([opened, closed])


async def test_people_shut_the_view_and_no_picture_comes_out(campus_device, monkeypatch):
    camera = campus_device("camera", capture="mjpeg", scene="full")

    async def look(_url):
        return None

    end, _, (_, closed) = await visited(camera, monkeypatch, look=look)
    assert end is End.PERSON
    assert (closed["reason"], closed["pictures"]) == ("a person was detected", 0)


async def test_darkness_shuts_the_view(campus_device, monkeypatch):
    camera = campus_device("camera", capture="mjpeg", scene="empty")
    camera.fault("dark")

    async def look(_url):
        return None

    end, _, (_, closed) = await visited(camera, monkeypatch, look=look)
    assert (end, closed["pictures"]) == (End.DARK, 0)


async def test_without_its_worker_or_audit_there_is_no_view(campus_device, monkeypatch):
    camera = campus_device("camera", capture="mjpeg", scene="empty")

    def no_audit(_event):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await aim(request_of(), link_of(camera), Options(), announce=pytest.fail, audit=no_audit)
    monkeypatch.setattr(aim_module, "MODULE", "drivers.camera_people.worker.absent")
    events = []
    with pytest.raises(DeviceUnavailable, match="worker"):
        await aim(request_of(), link_of(camera), Options(), announce=lambda _: None, audit=events.append)
    assert [event["event"] for event in events] == ["camera.aim.opened", "camera.aim.closed"]
    assert events[-1]["pictures"] == 0


async def test_a_worker_that_says_nothing_is_no_view(monkeypatch):
    monkeypatch.setattr(aim_module, "STARTING_S", 0.01)
    view = AimingView(pack(Assignment(url="http://[::1]:9/x", capture="mjpeg")), seconds=60, filled=False)
    with pytest.raises(DeviceUnavailable, match="does not answer"):
        await view.run()
    assert view.ended is End.FAILED


async def test_a_view_ends_when_its_time_is_over():
    view = AimingView(pack(Assignment(url="http://[::1]:9/x", capture="mjpeg")), seconds=0.1, filled=False)
    assert (await view.run(), view.ended, view.picture) == (End.TIME, End.TIME, b"")


async def test_a_picture_grows_old():
    view = AimingView(pack(Assignment(url="", capture="file")), seconds=1, filled=False)
    view._jpeg = b"x"
    assert view.picture == b""


CONFIG = """
site = "s"
gateway = "g"
[mqtt]
url = "mqtt://[::1]:1"
[buffer]
path = "{folder}"
[[link]]
name = "lens"
kind = "camera"
capture = "file"
path = "{folder}/absent.png"
[[device]]
name = "cam"
room = "r1"
profile = "camera/people_counter"
link = "lens"
"""


def test_the_command_asks_why_and_tells_what_is_wrong(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG.format(folder=tmp_path))

    def said(*arguments):
        done = CliRunner().invoke(app, ["camera", "aim", *arguments, "--config", str(config)])
        return done.exit_code, done.output

    assert said("cam", "--why", "x")[0] == 2
    code, text = said("other", "--why", "new bracket")
    assert code == 78
    assert "no camera 'other'" in text
    assert "use one of: cam" in text
    code, text = said("cam", "--why", "new bracket", "--minutes", "1")
    assert code == 69
    assert "cannot open the camera's file" in text
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["camera.aim.opened", "camera.aim.closed"]
    assert events[0]["why"] == "new bracket"
    assert events[0]["who"]
