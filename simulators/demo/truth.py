"""What the devices said, from their journals, as the verdict wants it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from simulators.demo.classroom import READERS, REFUSAL, ROOMS
from simulators.demo.verdict import Reading, Tap
from simulators.ledger import SaidMeasurement, SaidPresence, read_measurements, read_presences
from simulators.registers import SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def readings(folder: Path) -> list[Reading]:
    """Return every measurement in the journals below `folder`. Each file is one life of a device: sequences restart."""
    found: list[Reading] = []
    for path in sorted(folder.rglob("*.jsonl")):
        if path.stem not in READERS:
            found += measurements(read_measurements(path))
    return found


def taps(folder: Path, handle: Callable[[str], str]) -> list[Tap]:
    """Return every card presence in the journals below `folder`; `handle` turns a card into its pseudonym."""
    found: list[Tap] = []
    for path in sorted(folder.rglob("*.jsonl")):
        if path.stem in READERS:
            found += presences(read_presences(path), handle)
    return found


def measurements(lines: Iterable[SaidMeasurement]) -> list[Reading]:
    """Merge replies into measurements: several may carry one (two blocks, a retry, a stalled sensor)."""
    groups: dict[tuple[str, int], list[SaidMeasurement]] = defaultdict(list)
    for line in lines:
        groups[line.device, line.seq].append(line)
    return [_reading(device, sequence, group) for (device, sequence), group in groups.items()]


def _reading(device: str, sequence: int, lines: list[SaidMeasurement]) -> Reading:
    values: dict[str, float] = {}
    heard: dict[str, int] = {}
    for line in lines:
        for point, value in line.values.items():
            if point == SEQUENCE:
                continue
            values.setdefault(point, value)
            if line.delivered:
                heard.setdefault(point, line.at_ns)
    unheard = None if heard.keys() >= values.keys() else next((line.fault for line in lines if line.fault), "unread")
    return Reading(
        device=device,
        room=ROOMS[device],
        sequence=sequence,
        at_ns=max(heard.values(), default=lines[0].at_ns),
        values=values,
        unheard=unheard,
    )


def presences(lines: Iterable[SaidPresence], handle: Callable[[str], str]) -> list[Tap]:
    """Return the presences of one reader's journal; each card's are counted in their order."""
    ordinals: Counter[str] = Counter()
    found = []
    for line in lines:
        ordinals[line.card] += 1
        found.append(
            Tap(
                device=line.device,
                room=ROOMS[line.device],
                handle=handle(line.card),
                ordinal=ordinals[line.card],
                at_ns=line.first_ns,
                until_ns=line.last_ns,
                confirmed_ns=line.confirmed_ns or line.last_ns,
                unheard=None if line.delivered else line.fault or "too short",
                withheld=REFUSAL if line.refuses else None,
            )
        )
    return found
