"""One picture to one record: is it a picture, is it light enough, how many people are there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from drivers.camera_people.record import SEEN, Record, State
from drivers.camera_people.worker.detector import ModelFault
from drivers.camera_people.worker.pictures import brightness_of, decoded
from drivers.camera_people.worker.steady import Steady
from drivers.camera_people.worker.surface import Surface
from telemetry.crowd import told

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.counting import Count
    from drivers.camera_people.worker.damage import DamageLog
    from drivers.camera_people.worker.reader import Reader
    from drivers.camera_people.worker.source import Picture


class Detector(Protocol):
    """What counts people."""

    def count(self, picture: Picture) -> Count:
        """Return how many people `picture` shows. Raises ModelFault."""
        ...


class Looker:
    """Answers each request with one record."""

    def __init__(self, reader: Reader, detector: Detector, damage: DamageLog, assignment: Assignment) -> None:
        self._reader = reader
        self._detector = detector
        self._damage = damage
        self._dark_below = assignment.dark_below
        self._measure = assignment.measure
        self._steady = Steady(assignment.median_of)
        self._surface = Surface()
        self._sequence = 0
        self._unreadable = 0

    def answer(self, wait_s: float) -> Record:
        """Return the next record, waiting at most `wait_s` for a new picture."""
        taken = self._reader.take(wait_s)
        if taken.shot is None:
            return self._record(taken.state)
        picture = decoded(taken.shot, self._damage)
        if picture is None:
            self._unreadable += 1
            return self._record(State.UNDECODABLE)
        brightness = brightness_of(picture)
        height, width = picture.shape[:2]
        seen: dict[str, Any] = {"captured_ns": taken.shot.received_ns, "width": width, "height": height}
        seen["brightness"] = brightness
        self._surface.look(picture)
        seen["motion"] = self._surface.motion
        if brightness < self._dark_below:
            return self._record(State.DARK, **seen)
        return self._record(State.COVERED, **seen) if self._surface.covered else self._counted(picture, seen)

    def _counted(self, picture: Picture, seen: dict[str, Any]) -> Record:
        """Return the record of a picture that is fit to be counted."""
        started = time.perf_counter_ns()
        try:
            count = self._detector.count(picture)
        except ModelFault:
            return self._record(State.MODEL_FAULT, **seen)
        seen["inference_us"] = (time.perf_counter_ns() - started) // 1000
        people = self._steady.add(count.people)
        if people is None:
            return self._record(State.SETTLING, **seen)
        if self._measure and count.narrowest_px is not None and count.widest_px is not None:
            seen |= {"narrowest_px": round(count.narrowest_px), "widest_px": round(count.widest_px)}
        return self._record(State.COUNTED, people=told(people), looks=self._steady.looks, **seen)

    def _record(self, state: State, **seen: Any) -> Record:
        """Return the next record; `seen` is what a picture showed."""
        self._sequence += 1
        if state not in {State.COUNTED, State.SETTLING}:
            # What comes after a gap may not stand on what was before it.
            self._steady.forget()
            if state not in SEEN:
                self._surface.forget()
        frames = self._reader.frames
        return Record(
            state=state,
            sequence=self._sequence,
            frames=frames,
            skipped=max(0, frames - self._reader.taken),
            undecodable=self._reader.undecodable + self._unreadable,
            reopened=self._reader.reopened,
            **seen,
        )
