"""Which data are worth more: drained first, dropped last. The one place where that is said."""

from __future__ import annotations

from enum import IntEnum

from telemetry.sample import DataClass


class Priority(IntEnum):
    """Each has its own log on disk, a folder under its name; the lower the number, the more it is worth."""

    EVENTS = 0
    """Safety and attendance: whatever a profile calls an `event`, of any class."""
    SAMPLES = 1
    """The room: air, energy, counts of people; and what is personal without being an event."""
    BULK = 2
    """Much of it, and each value worth little: vitals, the gateway's own figures."""

    @property
    def folder(self) -> str:
        """Name of its folder and in its counters."""
        return self.name.lower()


_OF: dict[DataClass, Priority] = {
    DataClass.OPEN: Priority.SAMPLES,
    DataClass.GROUP: Priority.SAMPLES,
    DataClass.PERSONAL: Priority.SAMPLES,
    DataClass.SENSITIVE: Priority.BULK,
    DataClass.OPS: Priority.BULK,
}


def priority_of(data_class: DataClass, *, event: bool) -> Priority:
    """Return what a batch of the class is worth."""
    return Priority.EVENTS if event else _OF[data_class]
