"""What the devices said, from their journals, as the verdict wants it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.camera_records import monotonic_offset_ns, read_looks
from simulators.demo.config import records_file
from simulators.demo.scene import ATTENDANCE, ENVIRONMENT, OCCUPANCY, REFUSAL, VITALS
from simulators.demo.verdict import Beat, Look, Reading, Shown, Tap
from simulators.faults import STALL
from simulators.ledger import (
    SaidAudioSetup,
    SaidBeat,
    SaidMeasurement,
    SaidPresence,
    read_beats,
    read_camera,
    read_measurements,
    read_presences,
)
from simulators.registers import SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from simulators.demo.scene import Scene


_ENDLESS_NS: Final = 2**63 - 1


def journals(folder: Path, scene: Scene, family: str) -> Iterator[Path]:
    """Yield the journals of a family's devices below `folder`. Each file is one life of a device: it counts anew."""
    for path in sorted(folder.rglob("*.jsonl")):
        if scene.kinds.get(path.stem) == family:
            yield path


def readings(folder: Path, scene: Scene) -> list[Reading]:
    """Return every measurement of room air in the journals below `folder`."""
    return [
        reading
        for path in journals(folder, scene, ENVIRONMENT)
        for reading in measurements(read_measurements(path), scene)
    ]


def taps(folder: Path, scene: Scene, handle: Callable[[str], str]) -> list[Tap]:
    """Return every card presence in the journals below `folder`; `handle` turns a card into its pseudonym."""
    return [
        tap for path in journals(folder, scene, ATTENDANCE) for tap in presences(read_presences(path), scene, handle)
    ]


def beats(folder: Path, scene: Scene, handle: Callable[[str], str]) -> list[Beat]:
    """Return every reading of a band in the journals below `folder`; `handle` turns a band's id into a pseudonym."""
    known = {wearer.identifier: (handle(wearer.identifier), wearer.withheld) for wearer in scene.bands}
    return [
        _beat(line, scene.rooms[line.device], *known[line.identifier])
        for path in journals(folder, scene, VITALS)
        for line in read_beats(path)
    ]


def looks(agent: Path, scene: Scene) -> list[Look]:
    """Return every record that left a camera's worker; `agent` is the folder of the agent's files."""
    offset_ns = monotonic_offset_ns()
    return [
        look
        for device in scene.cameras
        for look in read_looks(
            records_file(agent, device), device=device, room=scene.rooms[device], offset_ns=offset_ns
        )
    ]


def shown(folder: Path, scene: Scene) -> tuple[list[Shown], int]:
    """Return what was in front of each camera and when, and how often a client set up a camera's sound."""
    found: list[Shown] = []
    sounds = 0
    for path in journals(folder, scene, OCCUPANCY):
        lines = read_camera(path)
        scenes = [line for line in lines if not isinstance(line, SaidAudioSetup)]
        sounds += len(lines) - len(scenes)
        ends = [line.at_ns for line in scenes[1:]] + [_ENDLESS_NS]
        found += [
            Shown(device=line.device, people=line.people, fault=line.fault, from_ns=line.at_ns, until_ns=until_ns)
            for line, until_ns in zip(scenes, ends, strict=True)
        ]
    return found, sounds


def _beat(line: SaidBeat, room: str, handle: str, withheld: str | None) -> Beat:
    return Beat(
        device=line.device,
        room=room,
        handle=handle,
        number=line.n,
        at_ns=line.at_ns,
        values=line.values,
        unheard=None if line.delivered else line.fault or "unheard",
        withheld=withheld,
    )


def measurements(lines: Iterable[SaidMeasurement], scene: Scene) -> list[Reading]:
    """Merge replies into measurements: several may carry one (two blocks, a retry, a stalled sensor)."""
    groups: dict[tuple[str, int], list[SaidMeasurement]] = defaultdict(list)
    for line in lines:
        groups[line.device, line.seq].append(line)
    return [_reading(device, scene.rooms[device], sequence, group) for (device, sequence), group in groups.items()]


def _reading(device: str, room: str, sequence: int, lines: list[SaidMeasurement]) -> Reading:
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
        room=room,
        sequence=sequence,
        at_ns=max(heard.values(), default=lines[0].at_ns),
        values=values,
        unheard=unheard,
        again_ns=[line.at_ns for line in lines[1:] if line.delivered and line.fault == STALL],
    )


def presences(lines: Iterable[SaidPresence], scene: Scene, handle: Callable[[str], str]) -> list[Tap]:
    """Return the presences of one reader's journal; each card's are counted in their order."""
    ordinals: Counter[str] = Counter()
    found = []
    for line in lines:
        ordinals[line.card] += 1
        found.append(
            Tap(
                device=line.device,
                room=scene.rooms[line.device],
                handle=handle(line.card),
                ordinal=ordinals[line.card],
                at_ns=line.first_ns,
                until_ns=line.last_ns,
                confirmed_ns=line.confirmed_ns or line.last_ns,
                unheard=None if line.delivered else line.fault or "too short",
                withheld=REFUSAL if line.refuses else None,
                opened_ns=line.opened_ns,
            )
        )
    return found
