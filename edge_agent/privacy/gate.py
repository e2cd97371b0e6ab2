"""The gate: splits a Sample by class and lets pass only what policy, roster, key and consent allow. Default deny."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from telemetry.sample import Admitted, DataClass, Sample, Subject, Withheld, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.privacy.in_force import InForce, Lane
    from edge_agent.privacy.keys import GatewayKeys
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile
    from telemetry.sample import Reason

HANDLES_KEPT: Final = 4096
"""Handles that are not computed again: more pupils than come past one gateway in an hour."""


class Gate:
    """The only maker of `Admitted`. One Sample in; an answer for each part that shares class, purpose and rules out."""

    def __init__(
        self,
        profiles: Mapping[str, DeviceProfile],
        *,
        rooms: Mapping[str, str],
        keys: GatewayKeys | None,
        in_force: Callable[[], InForce],
        now_ns: Callable[[], int],
        counters: Counters,
    ) -> None:
        self._profiles = profiles
        self._rooms = rooms
        self._in_force = in_force
        self._now_ns = now_ns
        self._counters = counters
        self._lanes: dict[str, list[Lane]] = {}
        self._lanes_of: InForce | None = None
        self._handle = lru_cache(maxsize=HANDLES_KEPT)(keys.handle if keys is not None else _no_handle)

    def split(self, sample: Sample) -> list[Admitted | Withheld]:
        """Return the gate's answers; every Withheld is counted by class and reason."""
        in_force = self._in_force()
        lanes = self._lanes_for(sample.device, in_force)
        values, bad = sample.values, sample.bad
        for lane in lanes:
            # Nearly always all points of a sample are in one lane.
            if values.keys() <= lane.points and bad.keys() <= lane.points and (values or bad):
                return [self._answer(sample, lane, in_force, values, bad)]
        answers: list[Admitted | Withheld] = []
        known: set[str] = set()
        for lane in lanes:
            points = lane.points
            known |= points
            part = {name: value for name, value in values.items() if name in points}
            flaws = {name: reason for name, reason in bad.items() if name in points}
            if part or flaws:
                answers.append(self._answer(sample, lane, in_force, part, flaws))
        if not (values.keys() <= known and bad.keys() <= known):
            answers.append(self._withheld(sample.device, DataClass.SENSITIVE, WithheldReason.UNKNOWN_POINT))
        return answers

    def still(self, admitted: Admitted) -> bool:
        """Tell whether what was admitted a while ago may leave now too; counted as withheld if it may not.

        The documents may have changed, or the clock by which they were in force was wrong.
        """
        in_force = self._in_force()
        touched = admitted.values.keys() | admitted.bad.keys()
        for lane in self._lanes_for(admitted.device, in_force):
            if touched & lane.points and not lane.free:
                reason = self._still_closed(admitted, lane, in_force)
                if reason is not None:
                    self._withheld(admitted.device, admitted.data_class, reason)
                    return False
        return True

    def _still_closed(self, admitted: Admitted, lane: Lane, in_force: InForce) -> WithheldReason | None:
        now_ns, at_ns, room = self._now_ns(), admitted.acquired_at_ns, self._rooms.get(admitted.device, "")
        closed = in_force.closed(lane, room, now_ns=now_ns, at_ns=at_ns)
        if closed is not None or not lane.person:
            return closed
        if admitted.handle is None:
            return WithheldReason.NO_SUBJECT
        if lane.bound != (admitted.band is not None):
            return WithheldReason.UNBOUND
        if admitted.band is not None:
            pupil = in_force.pupil(lane.purpose, admitted.band, room, now_ns=now_ns, at_ns=at_ns)
            if pupil != admitted.handle:
                return pupil if isinstance(pupil, WithheldReason) else WithheldReason.UNBOUND
        return in_force.consent(lane.purpose, admitted.handle, now_ns=now_ns) if lane.consent else None

    def _lanes_for(self, device: str, in_force: InForce) -> list[Lane]:
        if self._lanes_of is not in_force:
            self._lanes_of, self._lanes = in_force, {}
        lanes = self._lanes.get(device)
        if lanes is None:
            if device not in self._profiles:
                return []
            lanes = self._lanes[device] = in_force.lanes(self._profiles[device].points)
        return lanes

    def _answer(
        self,
        sample: Sample,
        lane: Lane,
        in_force: InForce,
        values: dict[str, float | bool | str],
        bad: dict[str, Reason],
    ) -> Admitted | Withheld:
        handle: str | None = None
        band: str | None = None
        device, at_ns = sample.device, sample.acquired_at_ns
        if not lane.free:
            room, now_ns = self._rooms.get(device, ""), self._now_ns()
            closed = in_force.closed(lane, room, now_ns=now_ns, at_ns=at_ns)
            if closed is not None:
                return self._withheld(device, lane.data_class, closed)
            if lane.person:
                subject = sample.subject
                if subject is None:
                    return self._withheld(device, lane.data_class, WithheldReason.NO_SUBJECT)
                handle = self._handle(lane.purpose, subject)
                if handle is None:
                    return self._withheld(device, lane.data_class, WithheldReason.NO_KEY)
                if lane.bound:
                    band = handle
                    handle = in_force.pupil(lane.purpose, band, room, now_ns=now_ns, at_ns=at_ns)
                    if isinstance(handle, WithheldReason):
                        return self._withheld(device, lane.data_class, handle)
                if lane.consent:
                    refusal = in_force.consent(lane.purpose, handle, now_ns=now_ns)
                    if refusal is not None:
                        return self._withheld(device, lane.data_class, refusal)
        return Admitted(
            device=device,
            acquired_at_ns=at_ns,
            data_class=lane.data_class,
            purpose=lane.purpose,
            durability=self._profiles[device].durability,
            values=values,
            bad=bad,
            quality=sample.quality,
            handle=handle,
            resumed=sample.resumed,
            band=band,
        )

    def _withheld(self, device: str, data_class: DataClass, reason: WithheldReason) -> Withheld:
        self._counters.add(f"gate.withheld.{data_class}.{reason}")
        return Withheld(device=device, data_class=data_class, reason=reason)


def _no_handle(purpose: str, subject: Subject) -> str | None:  # noqa: ARG001 - as GatewayKeys.handle is called
    return None
