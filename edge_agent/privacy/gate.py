"""The gate: splits a Sample by class and lets pass only what policy, key and consent allow. Default deny."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.sample import PERSON_CLASSES, Admitted, DataClass, Sample, Withheld, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.privacy.keys import GatewayKeys
    from edge_agent.privacy.policy import Policy
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile

_FREE = frozenset({DataClass.OPEN, DataClass.OPS})
"""Classes that concern nobody: they pass without a policy."""

Group = tuple[DataClass, str]
"""A class and a purpose: what a rule allows."""


class Gate:
    """The only maker of `Admitted`. One Sample in, one answer for each class and purpose in it out."""

    def __init__(
        self,
        profiles: Mapping[str, DeviceProfile],
        *,
        keys: GatewayKeys | None,
        policy: Callable[[], Policy | None],
        now_ns: Callable[[], int],
        counters: Counters,
    ) -> None:
        self._profiles = profiles
        self._groups = {
            device: {point.name: (point.data_class, point.purpose) for point in profile.points}
            for device, profile in profiles.items()
        }
        self._keys = keys
        self._policy = policy
        self._now_ns = now_ns
        self._counters = counters

    def split(self, sample: Sample) -> list[Admitted | Withheld]:
        """Return the gate's answers; every Withheld is counted by class and reason."""
        groups = self._groups.get(sample.device, {})
        answers: list[Admitted | Withheld] = []
        for group in dict.fromkeys(groups.get(name) for name in (*sample.values, *sample.bad)):
            if group is None:
                answers.append(
                    Withheld(device=sample.device, data_class=DataClass.SENSITIVE, reason=WithheldReason.UNKNOWN_POINT)
                )
            else:
                answers.append(self._answer(sample, group, groups))
        for answer in answers:
            if isinstance(answer, Withheld):
                self._counters.add(f"gate.withheld.{answer.data_class}.{answer.reason}")
        return answers

    def _answer(self, sample: Sample, group: Group, groups: Mapping[str, Group]) -> Admitted | Withheld:
        data_class, purpose = group
        handle: str | None = None
        if data_class in PERSON_CLASSES:
            if sample.subject is None:
                return self._withheld(sample, data_class, WithheldReason.NO_SUBJECT)
            handle = self._keys.handle(purpose, sample.subject) if self._keys is not None else None
            if handle is None:
                return self._withheld(sample, data_class, WithheldReason.NO_KEY)
        refusal = self._refusal(data_class, purpose, handle)
        if refusal is not None:
            return self._withheld(sample, data_class, refusal)
        return Admitted(
            device=sample.device,
            acquired_at_ns=sample.acquired_at_ns,
            data_class=data_class,
            purpose=purpose,
            durability=self._profiles[sample.device].durability,
            values={name: value for name, value in sample.values.items() if groups.get(name) == group},
            bad={name: reason for name, reason in sample.bad.items() if groups.get(name) == group},
            quality=sample.quality,
            handle=handle,
            resumed=sample.resumed,
        )

    def still(self, admitted: Admitted) -> bool:
        """Tell whether what was admitted a while ago may leave now too; counted as withheld if it may not.

        The policy may have changed, or the clock by which it was in force was wrong.
        """
        refusal = self._refusal(admitted.data_class, admitted.purpose, admitted.handle)
        if refusal is not None:
            self._counters.add(f"gate.withheld.{admitted.data_class}.{refusal}")
        return refusal is None

    def _refusal(self, data_class: DataClass, purpose: str, handle: str | None) -> WithheldReason | None:
        if data_class in _FREE:
            return None
        policy = self._policy()
        if policy is None:
            return WithheldReason.NO_POLICY
        return policy.refusal(data_class, purpose, handle, self._now_ns())

    def _withheld(self, sample: Sample, data_class: DataClass, reason: WithheldReason) -> Withheld:
        return Withheld(device=sample.device, data_class=data_class, reason=reason)
