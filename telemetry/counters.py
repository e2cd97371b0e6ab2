"""Counters that a user can see: every drop, refusal and error has one."""

from __future__ import annotations


class Counters:
    """A named bag of monotonic counters; one per process, handed to whoever may drop something."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Add `amount` to counter `name`, such as `buffer.dropped_values`."""
        self._values[name] = self._values.get(name, 0) + amount

    def get(self, name: str) -> int:
        """Return the counter's value; 0 if nothing was counted."""
        return self._values.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        """Return all counters by name, sorted."""
        return dict(sorted(self._values.items()))
