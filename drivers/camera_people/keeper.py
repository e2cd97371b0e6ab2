"""Keeper: keeps one worker running. One that dies is started again with a back-off, one that is silent is ended."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from drivers.camera_people.exits import NEEDS_A_PERSON, said
from drivers.camera_people.measures import EXPECTED, Measure, words
from drivers.camera_people.process import Worker
from telemetry.errors import DeviceUnavailable
from telemetry.sample import Reason

if TYPE_CHECKING:
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
FIRST_S: Final = 0.1
CAP_S: Final = 4.0
FOR_A_PERSON_S: Final = 60.0
STEADY_S: Final = 10.0
"""A worker that lived for so long was sound: the next one is started without delay."""
SILENT_S: Final = 5.0
STARTING_S: Final = 20.0
"""A worker that has never answered may take longer: a slow gateway loads libraries and model for some seconds."""


class Keeper:
    """Feed `run` to a task; `record` gives what the worker says."""

    def __init__(self, assignment: bytes, *, device: str, counters: Counters, silent_s: float = SILENT_S) -> None:
        self._assignment = assignment
        self._device = device
        self._counters = counters
        self._silent_s = silent_s
        self._worker: Worker | None = None
        self._up = asyncio.Event()
        self._ended = "has not started yet"
        self._granted: Measure | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The running worker's process id."""
        return self._worker.pid if self._worker else None

    async def run(self) -> None:
        """Keep a worker running until cancelled; it is gone then."""
        while True:
            code: int | None = None
            try:
                self._worker = await Worker.start(self._assignment)
            except OSError as error:
                ended = f"cannot be started: {error.strerror}"
            else:
                code = await self._lived(self._worker)
                ended = said(code)
            self._add("worker_ends")
            if ended != self._ended:  # not each few seconds: a camera may be unplugged for weeks
                _LOG.warning("device %s: the camera's worker %s", self._device, ended)
            self._ended = ended
            await asyncio.sleep(self._delay_s(code))

    async def _lived(self, worker: Worker) -> int:
        self._up.set()
        try:
            code = await worker.ended()
        finally:
            self._up.clear()
            self._worker = None
            await worker.stop()
        if time.monotonic() - worker.started_s >= STEADY_S:
            self._failures, self._ended = 0, "has ended"
        return code

    async def record(self, *, deadline_s: float, wait_ms: int) -> bytes:
        """Return the next record's bytes.

        Raises DeviceUnavailable if there is none in time: reason `sensor_fault` while no worker answers.
        """
        worker: Worker | None = None
        try:
            async with asyncio.timeout(deadline_s):
                await self._up.wait()
                worker = self._worker
                if worker is not None:
                    data = await worker.answer(wait_ms=wait_ms)
                    if worker.answers == 1 and worker.granted is not None:
                        self._tell(worker.granted)
                    return data
        except TimeoutError:
            if worker is not None:
                self._judge(worker)
                what = f"the camera's worker has not answered for {worker.silent_s:.1f} s"
                raise DeviceUnavailable(what, timed_out=True, reason=Reason.SENSOR_FAULT) from None
        raise DeviceUnavailable(f"the camera's worker {self._ended}", reason=Reason.SENSOR_FAULT)

    def distrust(self) -> None:
        """End the worker, which said what no sound one says."""
        if self._worker is not None:
            self._worker.kill()

    def _tell(self, granted: Measure) -> None:
        """Say what holds a worker: by counters, once for each, to health; to the log if it is news."""
        for measure in granted:
            self._add(f"confined.{measure.word}")
        lacking = EXPECTED & ~granted
        if lacking:
            self._add("unconfined")
        if granted == self._granted:
            return
        self._granted = granted
        _LOG.info("device %s: the camera's worker is held by: %s", self._device, ", ".join(words(granted)))
        if lacking:
            what = "device %s: the camera's worker is not held by: %s; docs/camera.md says what it takes"
            _LOG.warning(what, self._device, ", ".join(words(lacking)))

    def _judge(self, worker: Worker) -> None:
        if worker.silent_s >= (self._silent_s if worker.answers else max(STARTING_S, self._silent_s)):
            self._add("worker_hangs")
            worker.kill()

    def _delay_s(self, code: int | None) -> float:
        span = FOR_A_PERSON_S if code in NEEDS_A_PERSON else min(CAP_S, FIRST_S * float(1 << self._failures))
        self._failures = min(self._failures + 1, 16)
        return span * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing

    def _add(self, what: str) -> None:
        self._counters.add(f"device.{self._device}.{what}")
