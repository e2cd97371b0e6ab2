"""What was done to the path on purpose, as the verdict wants to know it. Pure."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import Outage
from simulators.faults import UNPLUG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DEVICE: Final = "device:"
_IN_HAND_NS: Final = 300_000_000
"""A reading that the agent was just taking when it froze has timed out when it goes on: nobody took it."""
_AFTERWARDS_NS: Final = 1_000_000_000
"""A device that was sick may be asked again for so long: what it said late is in the port."""
_ENDLESS_NS: Final = 10**18


@dataclass(slots=True)
class Down:
    """A process that was taken down on purpose."""

    name: str
    from_ns: int
    killed: bool
    until_ns: int | None = None
    frozen: bool = False
    """By SIGSTOP: it is still there, and goes on where it was."""

    @property
    def how(self) -> str:
        """What was done to it, for people."""
        return "killed" if self.killed else "frozen" if self.frozen else "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that a device was asked for."""

    name: str
    link: str
    from_ns: int
    seconds: float | None
    """None: until it is cleared; here, for ever."""


def device(name: str) -> str:
    """Return the process name of a link, such as `device:bus-1`."""
    return f"{DEVICE}{name}"


def outages(downs: Iterable[Down], name: str) -> Iterator[Outage]:
    """Yield when the process `name` was away."""
    for down in downs:
        if down.name == name:
            yield Outage(
                from_ns=down.from_ns - (_IN_HAND_NS if down.frozen else 0),
                until_ns=down.until_ns or time.time_ns(),
                killed=down.killed,
                frozen=down.frozen,
            )


def ends(
    downs: Iterable[Down], faults: Iterable[Fault], placed: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[int]]:
    """Return when each device's plug was pulled: by a fault, by kill -9, or by its stop. `placed`: link → devices."""
    pulled = [(down.name.removeprefix(DEVICE), down.from_ns) for down in downs]
    pulled += [(fault.link, fault.from_ns) for fault in faults if fault.name == UNPLUG]
    found: dict[str, list[int]] = defaultdict(list)
    for link, at_ns in pulled:
        for name in placed.get(link, ()):
            found[name].append(at_ns)
    return found


def sick(faults: Iterable[Fault], placed: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[tuple[int, int]]]:
    """Return from when until when each device had a fault."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for fault in faults:
        lasts_ns = _ENDLESS_NS if fault.seconds is None else int(fault.seconds * 1e9)
        for name in placed.get(fault.link, ()):
            found[name].append((fault.from_ns, fault.from_ns + lasts_ns + _AFTERWARDS_NS))
    return found
