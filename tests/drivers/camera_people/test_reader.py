"""The reader's thread: newest wins, each picture once, and every loss is told apart."""

import queue
import threading
import time
from contextlib import contextmanager

import pytest

from drivers.camera_people.record import State
from drivers.camera_people.worker import reader as module
from drivers.camera_people.worker.reader import Reader
from drivers.camera_people.worker.source import Shot
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

END = AuthError("the test is over")
FINE = "fine"


class Script:
    """A source that does what the test puts in, step by step: a picture, one with its age in s, or an error."""

    streams = True

    def __init__(self):
        self.steps = queue.Queue()
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        step = self.steps.get(timeout=5)
        if isinstance(step, Exception):
            raise step

    def next(self, wanted):
        step = self.steps.get(timeout=5)
        if isinstance(step, Exception):
            raise step
        data, age_s = step if isinstance(step, tuple) else (step, 0)
        return Shot(data=data, received_ns=time.monotonic_ns() - int(age_s * 1e9)) if wanted.is_set() else None

    def close(self):
        self.closed += 1


@contextmanager
def reading(monkeypatch, *steps, stalled_s=5.0):
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "CAP_S", 0.02)
    script = Script()
    for step in steps:
        script.steps.put(step)
    reader = Reader(script, stalled_s=stalled_s)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        yield reader, script
    finally:
        for _ in range(2):
            script.steps.put(END)
        thread.join(5)
        assert not thread.is_alive()


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_nothing_yet_is_waiting(monkeypatch):
    with reading(monkeypatch, FINE) as (reader, _):
        assert reader.take(0.01).state is State.WAITING


def test_a_picture_is_given_once_and_the_newest_wins(monkeypatch):
    monkeypatch.setattr(module, "KEEP_S", 0)
    with reading(monkeypatch, FINE, b"older", b"newer") as (reader, _):
        until(lambda: reader.frames == 2)
        before = time.monotonic_ns()
        taken = reader.take(5)
        assert (taken.state, taken.shot.data) == (State.COUNTED, b"newer")
        assert before - 10**9 < taken.shot.received_ns <= time.monotonic_ns()
        assert reader.take(0.01).state is State.STALLED  # it had pictures, and has no new one
        assert (reader.frames, reader.taken) == (2, 1)


def test_while_nobody_asks_few_pictures_are_looked_at(monkeypatch):
    monkeypatch.setattr(module, "KEEP_S", 60)
    with reading(monkeypatch, FINE, b"kept", *[b"nobody asked"] * 5) as (reader, script):
        until(lambda: reader.frames == 6)
        assert reader.take(0).shot.data == b"kept"
        asked = threading.Thread(target=reader.take, args=(5,))
        asked.start()
        until(reader._wanted.is_set)
        script.steps.put(b"asked for")
        asked.join(5)
        assert reader.taken == 2


def test_an_older_picture_is_taken_only_if_no_newer_comes_and_never_an_old_one(monkeypatch):
    monkeypatch.setattr(module, "PROMPT_NS", 0)
    with reading(monkeypatch, FINE, stalled_s=30) as (reader, script):
        script.steps.put((b"a while ago", 5))
        until(lambda: reader.frames == 1)
        started = time.monotonic()
        assert reader.take(0.05).shot.data == b"a while ago"
        assert time.monotonic() - started >= 0.05
        script.steps.put((b"too old", 31))
        until(lambda: reader.frames == 2)
        assert reader.take(0.01).state is State.STALLED


def test_the_same_jpeg_again_is_no_new_picture(monkeypatch):
    with reading(monkeypatch, FINE) as (reader, script):
        for expected in (b"one", None, b"two"):
            script.steps.put(expected or b"one")
            shot = reader.take(5 if expected else 0.05).shot
            assert (shot and shot.data) == expected


@pytest.mark.parametrize(("damaged", "state"), [(False, State.STALLED), (True, State.UNDECODABLE)])
def test_a_camera_that_has_nothing_new_when_it_is_asked_is_not_asked_without_a_pause(damaged, state):
    class Frozen(Script):
        streams = over = False
        asked = 0

        def next(self, wanted):
            wanted.wait()
            self.asked += 1
            if self.over:
                raise END
            if damaged and self.asked > 1:
                raise ProtocolError("no picture")
            return Shot(data=b"the same", received_ns=time.monotonic_ns())

    source = Frozen()
    source.steps.put(FINE)
    reader = Reader(source, stalled_s=5)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        assert reader.take(5).shot is not None
        started = time.monotonic()
        until(lambda: reader.take(0.1).state is state and source.asked >= 3)
        assert source.asked <= 4 + (time.monotonic() - started) / module.AGAIN_S
    finally:
        source.over = True
        reader.take(5)
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (DeviceUnavailable("x"), State.UNREACHABLE),
        (DeviceUnavailable("x", timed_out=True), State.STALLED),
        (ProtocolError("x"), State.UNDECODABLE),
    ],
)
@pytest.mark.parametrize("connected", [False, True])
def test_a_loss_is_told_apart_and_mended(monkeypatch, error, state, connected):
    with reading(monkeypatch, *([FINE] if connected else []), error) as (reader, script):
        until(lambda: reader._problem is not None)
        assert reader.take(0.01).state is state
        if not (connected and state is State.UNDECODABLE):
            script.steps.put(FINE)
        script.steps.put(b"back")
        assert reader.take(5).shot.data == b"back"
        assert script.closed == reader.reopened


def test_a_damaged_picture_costs_no_connection_but_many_do(monkeypatch):
    monkeypatch.setattr(module, "MAX_DAMAGED", 3)
    with reading(monkeypatch, FINE, *[ProtocolError("x")] * 2, b"good", *[ProtocolError("x")] * 3) as (reader, script):
        until(lambda: script.closed == 1)
        assert reader.undecodable == 5


def test_a_refused_login_is_not_tried_again(monkeypatch):
    with reading(monkeypatch, AuthError("x")) as (reader, script):
        started = time.monotonic()
        assert reader.take(30).state is State.REFUSED
        assert reader.take(30).state is State.REFUSED
        assert time.monotonic() - started < 20
        assert (script.opened, reader.stuck_s()) == (1, 0)


@pytest.mark.parametrize("streams", [True, False])
def test_pain_18_a_camera_call_that_hangs_is_noticed(monkeypatch, streams):
    monkeypatch.setattr(Script, "streams", streams)
    with reading(monkeypatch, FINE) as (reader, script):
        if not streams:  # then it hangs only while a picture is wanted
            time.sleep(0.05)
            assert reader.stuck_s() == 0
            reader.take(0)
        until(lambda: reader.stuck_s() > 0.05)
        hung_since = reader._busy_s
        script.steps.put(b"one")
        until(lambda: reader.frames == 1)
        assert reader._busy_s > hung_since


def test_a_pause_between_two_tries_is_no_call_that_hangs(monkeypatch):
    with reading(monkeypatch, DeviceUnavailable("x")) as (reader, script):
        until(lambda: script.opened == 2)
        lost = reader._busy_s
        monkeypatch.setattr(module, "CAP_S", 0.5)
        monkeypatch.setattr(module, "FIRST_S", 0.5)
        script.steps.put(DeviceUnavailable("x"))
        until(lambda: reader._busy_s > lost)
        lost = reader._busy_s
        until(lambda: script.opened == 3)
        until(lambda: reader._busy_s > lost + 0.2)  # since the third opening began, not since the second failed
