"""One picture to one record: is it a picture, is it light enough, how many people are on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2
import numpy as np

from drivers.camera_people.record import Record, State
from drivers.camera_people.worker.detector import ModelFault
from telemetry.crowd import told

if TYPE_CHECKING:
    from drivers.camera_people.worker.damage import DamageLog
    from drivers.camera_people.worker.reader import Reader
    from drivers.camera_people.worker.source import Picture, Shot

SMALLEST: Final = 32
LARGEST: Final = 4096
_LUMA: Final = (0.114, 0.587, 0.299)
"""Weights of blue, green and red (ITU-R BT.601)."""


class Detector(Protocol):
    """What counts people."""

    def count(self, picture: Picture) -> int:
        """Return how many people `picture` shows. Raises ModelFault."""
        ...


class Looker:
    """Answers each request with one record."""

    def __init__(self, reader: Reader, detector: Detector, damage: DamageLog, *, dark_below: float) -> None:
        self._reader = reader
        self._detector = detector
        self._damage = damage
        self._dark_below = dark_below
        self._sequence = 0
        self._unreadable = 0

    def answer(self, wait_s: float) -> Record:
        """Return the next record, waiting at most `wait_s` for a new picture."""
        taken = self._reader.take(wait_s)
        if taken.shot is None:
            return self._record(taken.state)
        picture = self._picture(taken.shot)
        if picture is None:
            self._unreadable += 1
            return self._record(State.UNDECODABLE)
        brightness = sum(weight * mean for weight, mean in zip(_LUMA, cv2.mean(picture), strict=False)) / 255
        height, width = picture.shape[:2]
        seen = {"captured_ns": taken.shot.received_ns, "width": width, "height": height}
        seen["brightness"] = min(brightness, 1.0)
        if brightness < self._dark_below:
            return self._record(State.DARK, **seen)
        started = time.perf_counter_ns()
        try:
            people = told(self._detector.count(picture))
        except ModelFault:
            return self._record(State.MODEL_FAULT, **seen)
        inference_us = (time.perf_counter_ns() - started) // 1000
        return self._record(State.COUNTED, people=people, inference_us=inference_us, **seen)

    def _picture(self, shot: Shot) -> Picture | None:
        """Return the picture, decoded; none if it is damaged, or of a size that makes no sense."""
        picture: Picture | None
        if isinstance(shot.data, bytes):
            self._damage.told()
            try:
                picture = cv2.imdecode(np.frombuffer(shot.data, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[assignment]
            except cv2.error:  # larger than it may be
                return None
            if picture is None or self._damage.told():
                return None
        else:
            picture = shot.data
        height, width = picture.shape[:2]
        return picture if min(height, width) >= SMALLEST and max(height, width) <= LARGEST else None

    def _record(self, state: State, **seen: Any) -> Record:
        """Return the next record; `seen` is what a picture showed."""
        self._sequence += 1
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
