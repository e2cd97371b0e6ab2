"""Reporter: report by exception. A value within the deadband of the last reported one stays out, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile, Report
    from telemetry.sample import Sample


class Reporter:
    """Keeps one device's last reported values; after a restart everything is reported once more."""

    def __init__(self, profile: DeviceProfile, counters: Counters) -> None:
        self._rules: dict[str, Report] = {point.name: point.report for point in profile.points if point.report}
        self._last: dict[str, tuple[int, float]] = {}
        self._counters = counters

    def report(self, sample: Sample) -> Sample | None:
        """Return what of `sample` is worth sending; none if nothing is. Suppressed values are counted."""
        if not self._rules:
            return sample
        quiet = [name for name in self._rules if not self._due(name, sample)]
        if not quiet:
            return sample
        self._counters.add("report.suppressed_values", len(quiet))
        values = {name: value for name, value in sample.values.items() if name not in quiet}
        return msgspec.structs.replace(sample, values=values) if values or sample.bad else None

    def _due(self, name: str, sample: Sample) -> bool:
        """Tell whether to send point `name`; a value that is sent is remembered."""
        value = sample.values.get(name)
        if not isinstance(value, float):
            self._last.pop(name, None)  # bad or absent: the next good value is news
            return True
        rule, last = self._rules[name], self._last.get(name)
        if (
            last is not None
            and abs(value - last[1]) <= rule.deadband
            and 0 <= sample.acquired_at_ns - last[0] < rule.at_least_every_s * 1e9
        ):
            return False
        self._last[name] = (sample.acquired_at_ns, value)
        return True
