"""CameraPeopleDriver: each period one Sample of how many people a camera sees; unknown is bad, never 0."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from drivers.camera_people.assignment import pack
from drivers.camera_people.hours import parse_hours, within
from drivers.camera_people.keeper import SILENT_S, Keeper
from drivers.camera_people.options import LIGHT, PEOPLE, assignment_of, option_problems, parse_options
from drivers.camera_people.process import FIRST_WAIT_MS
from drivers.camera_people.record import SEEN, Record, State, decode
from drivers.camera_people.recording import Recorder
from telemetry.errors import AuthError, ConfigError, DeviceUnavailable, Problem, ProtocolError
from telemetry.sample import Reason, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from drivers.links.camera import CameraLink
    from telemetry.driver import DeviceContext
    from telemetry.profile import DeviceProfile

FIRST_S: Final = 8.0
WAIT_SHARE: Final = 0.6
"""Share of a reading's deadline that is spent waiting for a new picture; the rest is for counting."""
MAX_AGE_NS: Final = 60 * 1_000_000_000
_U32: Final = 1 << 32
_COUNTED: Final = {
    "frames": "frames",
    "skipped": "skipped_frames",
    "undecodable": "undecodable_frames",
    "reopened": "reopened",
}


class CameraPeopleDriver:
    """One camera, looked at by a worker process of its own."""

    def __init__(self, context: DeviceContext, link: CameraLink, *, silent_s: float = SILENT_S) -> None:
        found: list[Problem] = []
        options = parse_options(context.options, f"device {context.device}: options", found)
        if options is None:
            raise ConfigError(found)
        self._context = context
        self._link = link
        self._options = options
        self._silent_s = silent_s
        self._hours = parse_hours(options.only_in_lessons)
        self._points = {point.name for point in context.profile.points}
        self._recorder = (
            Recorder(
                options.records_file,
                max_bytes=options.records_max_bytes,
                device=context.device,
                counters=context.counters,
            )
            if options.records_file
            else None
        )
        self._first: bytes | None = None
        self._before: Record | None = None
        self._keeper: Keeper | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def worker_pid(self) -> int | None:
        """The running worker's process id."""
        return self._keeper.pid if self._keeper else None

    async def __aenter__(self) -> Self:
        """Start the worker, in its hours, and wait for its first word. Raises AuthError without a readable password."""
        if self._in_hours():
            await self._start()
        return self

    async def _start(self) -> None:
        self._keeper = Keeper(
            pack(assignment_of(self._options, self._link)),
            device=self._context.device,
            counters=self._context.counters,
            silent_s=self._silent_s,
        )
        self._keeping = self._keep(self._keeper)
        try:
            # No answer is for the first reading to tell.
            with contextlib.suppress(DeviceUnavailable):
                self._first = await self._keeper.record(deadline_s=FIRST_S, wait_ms=FIRST_WAIT_MS)
        except BaseException:
            await self._stop()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker, within a second."""
        await self._stop()

    async def read(self) -> Sample:
        """Return how many people the camera sees now.

        Raises DeviceUnavailable (with its reason), ProtocolError for what is no picture, AuthError for a refused login.
        """
        if not self._in_hours():
            # Nobody looks, and no connection is open: the camera's own lamp goes out.
            await self._stop()
            bad = dict.fromkeys(sorted(self._points), Reason.OUTSIDE_HOURS)
            return Sample(device=self._context.device, acquired_at_ns=self._context.now_ns(), bad=bad)
        if self._keeper is None:
            await self._start()
        assert self._keeper is not None, "just started"  # noqa: S101
        if self._keeping is not None and self._keeping.done():
            # A fault of the keeper's is told, and costs one reading.
            ended, self._keeping = self._keeping, self._keep(self._keeper)
            ended.result()
        deadline_s = self._context.profile.deadline_s
        data, self._first = self._first, None
        if data is None:
            try:
                data = await self._keeper.record(deadline_s=deadline_s, wait_ms=int(1000 * WAIT_SHARE * deadline_s))
            except DeviceUnavailable:
                self._link.in_use = False
                raise
        try:
            record = decode(data)
            at_ns = self._time_of(record)
        except ProtocolError as error:
            self._add("unsound_records")
            self._keeper.distrust()
            raise DeviceUnavailable(f"the camera's worker sent {error}", reason=Reason.SENSOR_FAULT) from None
        if self._recorder is not None:
            self._recorder.append(at_ns, data)
        self._count(record)
        self._link.in_use = record.state in SEEN
        return self._sample(record, at_ns)

    def _keep(self, keeper: Keeper) -> asyncio.Task[None]:
        return asyncio.create_task(keeper.run(), name=f"device {self._context.device}: worker")

    def _sample(self, record: Record, at_ns: int) -> Sample:
        """Return what `record` says. Raises as `read` does."""
        values: dict[str, float] = {}
        bad: dict[str, Reason] = {}
        if record.brightness is not None:
            values[LIGHT] = record.brightness
        if record.state is State.COUNTED and record.people is not None:
            values[PEOPLE] = float(record.people)
        elif record.state in _BAD:
            bad[PEOPLE] = _BAD[record.state]
        elif record.state is State.REFUSED:
            raise AuthError(f"the camera of link {self._link.name} refuses the login: check username and password_file")
        elif record.state is State.UNDECODABLE:
            raise ProtocolError(f"what the camera of link {self._link.name} sends is no picture, or a damaged one")
        elif record.state is State.STALLED:
            what = f"the camera of link {self._link.name} is connected but sends no new picture"
            raise DeviceUnavailable(what, reason=Reason.STALE)
        elif record.state is State.WAITING:
            what = f"no picture yet from the camera of link {self._link.name}"
            raise DeviceUnavailable(what, timed_out=True)
        else:
            raise DeviceUnavailable(f"the camera of link {self._link.name} cannot be reached")
        return Sample(
            device=self._context.device,
            acquired_at_ns=at_ns,
            values={name: value for name, value in values.items() if name in self._points},
            bad={name: reason for name, reason in bad.items() if name in self._points},
        )

    def _time_of(self, record: Record) -> int:
        """Return when the picture was taken, in UTC ns; now for a record without one. Raises ProtocolError."""
        now_ns = self._context.now_ns()
        if record.state not in SEEN:
            return now_ns
        age_ns = time.monotonic_ns() - record.captured_ns
        if not 0 <= age_ns <= MAX_AGE_NS:
            raise ProtocolError(f"a record of a picture {age_ns / 1e9:.1f} s old")
        return now_ns - age_ns

    def _count(self, record: Record) -> None:
        """Add what the worker has counted since its last record."""
        before = self._before
        if before is None or record.sequence <= before.sequence:
            before = None  # another worker: it counts from 0
        for name, counter in _COUNTED.items():
            more = (getattr(record, name) - (getattr(before, name) if before else 0)) % _U32
            if more:
                self._add(counter, more)
        self._before = record

    async def _stop(self) -> None:
        self._link.in_use = False
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        self._keeper, self._first, self._before = None, None, None

    def _in_hours(self) -> bool:
        now_ns = (self._context.utc_ns or self._context.now_ns)()
        return within(self._hours, datetime.fromtimestamp(now_ns / 1e9).astimezone())

    def _add(self, what: str, amount: int = 1) -> None:
        self._context.counters.add(f"device.{self._context.device}.{what}", amount)


_BAD: Final = {
    State.DARK: Reason.DARK,
    State.COVERED: Reason.COVERED,
    State.SETTLING: Reason.WARMING_UP,
    State.MODEL_FAULT: Reason.SENSOR_FAULT,
}
"""States in which the camera works, and the picture tells nothing about people."""


def create(context: DeviceContext, link: CameraLink) -> CameraPeopleDriver:
    """Return the driver for one camera. Raises ConfigError if its options are wrong."""
    return CameraPeopleDriver(context, link)


def problems(profile: DeviceProfile, options: dict[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's points, the device's options, and what the worker needs."""
    return option_problems(profile, options, where)


def link_address(options: Mapping[str, bool | int | float | str]) -> int | None:  # noqa: ARG001 - every driver has it
    """Return none: a camera is a link of its own."""
    return None
