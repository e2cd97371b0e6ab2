"""Judge: is each value of a Sample to be believed? A bad one becomes absent, with its reason; never a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from telemetry.sample import Quality, Reason, Sample, Value

if TYPE_CHECKING:
    from telemetry.profile import DeviceProfile, Point


class Judge:
    """Keeps one device's last readings; feed it every Sample in order, with times by a clock that nobody sets."""

    def __init__(self, profile: DeviceProfile) -> None:
        self._points = {point.name: point for point in profile.points}
        self._heartbeat = profile.heartbeat
        self._warmup_ns = int(profile.warmup_s * 1e9)
        self._last_beat: Value | None = None
        self._last: dict[str, tuple[int, float]] = {}
        self._appeared_at_ns: int | None = None

    def gone(self) -> None:
        """Note that the device was lost: when it is back it warms up again."""
        self._appeared_at_ns = None

    def judge(self, sample: Sample) -> Sample:
        """Return `sample` with calibrated values, the bad ones moved to `bad`, and its quality."""
        if sample.values and (self._appeared_at_ns is None or sample.acquired_at_ns < self._appeared_at_ns):
            self._appeared_at_ns = sample.acquired_at_ns  # now, or the clock was set back: warm up by its new time
        everywhere = self._reason_for_all(sample)
        values: dict[str, Value] = {}
        bad = dict(sample.bad)
        quality = sample.quality
        for name, value in sample.values.items():
            point = self._points.get(name)
            if everywhere is not None:
                bad[name] = everywhere
            elif point is None or isinstance(value, bool | str):
                values[name] = value
            else:
                judged = _measured(point, value)
                if isinstance(judged, Reason):
                    bad[name] = judged
                    continue
                values[name] = judged
                if not self._plausible(point, judged, sample.acquired_at_ns):
                    quality = Quality.SUSPECT
        return msgspec.structs.replace(sample, values=values, bad=bad, quality=quality)

    def _reason_for_all(self, sample: Sample) -> Reason | None:
        if self._heartbeat in sample.bad:
            return sample.bad[self._heartbeat]  # nobody knows whether the other values are fresh
        if self._heartbeat is not None and self._heartbeat in sample.values:
            beat = sample.values[self._heartbeat]
            stale = beat == self._last_beat
            self._last_beat = beat
            if stale:
                return Reason.STALE
        if self._appeared_at_ns is not None and sample.acquired_at_ns - self._appeared_at_ns < self._warmup_ns:
            return Reason.WARMING_UP
        return None

    def _plausible(self, point: Point, value: float, at_ns: int) -> bool:
        plausible = point.plausible is None or value in point.plausible
        if point.max_step_per_s is not None:
            before = self._last.get(point.name)
            self._last[point.name] = (at_ns, value)
            if before is not None and at_ns > before[0]:
                plausible &= abs(value - before[1]) <= point.max_step_per_s * (at_ns - before[0]) / 1e9
        return plausible


def _measured(point: Point, value: float) -> float | Reason:
    """Return the calibrated value, or why there is none."""
    if not math.isfinite(value):
        return Reason.SENSOR_FAULT
    if point.physical is not None and value not in point.physical:
        return Reason.OUT_OF_RANGE
    if point.calibration is None:
        return value
    calibrated = value * point.calibration.gain + point.calibration.offset
    return calibrated if math.isfinite(calibrated) else Reason.OUT_OF_RANGE
