"""Damages a buffer's files in every way a flash card can, and says by other means than the buffer's what that costs.

The oracle knows what was written, and compares bytes: it never parses a record. A batch is readable if all its bytes
still stand somewhere in its file. A loss can be told if something that outlived it says so: the file's seal or the next
file's record about it (all of it), a group's tally (all up to it), the batch's own header. What lay behind the last of
these in the newest file is told by the log of what is done with, as far as that was written; else by nobody: zeros
there look like a file that was never written so far.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.buffer.priority import Priority
from edge_agent.buffer.record import EncodedBatch
from edge_agent.buffer.stream import Stream
from telemetry.batch import Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import DEVICES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = 48
FILE_HEAD = HEAD + 16
SUMMARY = 120
SEGMENT = 8192
CLASSES = {
    Priority.EVENTS: DataClass.PERSONAL,
    Priority.SAMPLES: DataClass.OPEN,
    Priority.BULK: DataClass.SENSITIVE,
}
Key = tuple[str, int]


@dataclass
class File:
    """A file of the template: its bytes, and where each batch's record and each group's tally stand."""

    content: bytes
    sealed: bool
    groups: list[tuple[list[Key], bytes]] = field(default_factory=list)
    """Numbers of a group, and its tally's bytes."""
    records: dict[Key, bytes] = field(default_factory=dict)


@dataclass
class Template:
    batches: dict[Key, EncodedBatch]
    acked: set[Key]
    files: dict[str, File]
    """By path below the buffer's folder, segments only."""
    others: list[str]


@dataclass
class Truth:
    saved: set[Key]
    """Must come out, and nothing else."""
    again: set[Key]
    """May come out besides: acknowledged, but the log of that is damaged."""
    lost: set[Key]
    """Are gone, and were not acknowledged."""
    told: set[Key]
    """Those of the lost whose loss can be told."""
    silent: bool
    """Of the others there is no trace at all: zeros where they stood."""
    acked_unknown: bool
    """The log of what was acknowledged is damaged: the lost may be counted though they were acknowledged."""
    short: bool
    """More was acknowledged than what is left of a file knows of: of its loss not all may be told."""


def batch(epoch: str, number: int, priority: Priority, chance: random.Random) -> EncodedBatch:
    info = DEVICES["door" if priority is Priority.EVENTS else "air-1"]
    samples = [
        BatchSample(acquired_at_ns=10**18 + number, values={"temperature": chance.random() * 100})
        for _ in range(1 if priority is Priority.EVENTS else chance.choice([1, 5, 30]))
    ]
    block = DeviceBlock(
        device=info.device, room=info.room, profile=info.profile, measurement=info.measurement,
        quantities=info.quantities, samples=samples,
    )  # fmt: skip
    content = Batch(
        schema="campus.batch/1", site="school", gateway="gw-1", epoch=epoch, number=number,
        data_class=CLASSES[priority], devices=[block],
    )  # fmt: skip
    return EncodedBatch(
        epoch=epoch, number=number, data_class=CLASSES[priority], event=priority is Priority.EVENTS,
        samples=len(samples), values=len(samples), oldest_at_ns=10**18 + number, payload=pack(encode_batch(content)),
    )  # fmt: skip


def fill(folder: Path, epoch: str, seed: int) -> Template:
    """Write some files of each priority into an opened and closed buffer's folder; acknowledge a few batches."""
    chance = random.Random(seed)  # noqa: S311
    template = Template(batches={}, acked=set(), files={}, others=["meta"])
    number = 1
    for priority in Priority:
        stream = Stream(
            folder / priority.folder, segment_bytes=SEGMENT, quarantine_folder=folder / "quarantine", keep_ns=0,
            now_ns=lambda: 0,
        )  # fmt: skip
        stream.open()
        groups: list[list[EncodedBatch]] = []
        while len(list((folder / priority.folder).glob("*.log"))) < (2 if priority is Priority.BULK else 4):
            group = [batch(epoch, number + index, priority, chance) for index in range(chance.randint(1, 5))]
            number += len(group) + chance.randint(0, 3)
            stream.append(group)
            groups.append(group)
        mine = [one for group in groups for one in group]
        acked = chance.sample(mine, len(mine) // 6)
        for one in acked:
            stream.acknowledge(epoch, [(one.number, one.number)])
        stream.close()
        template.batches |= {(epoch, one.number): one for one in mine}
        template.acked |= {(epoch, one.number) for one in acked}
        template.others.append(f"{priority.folder}/acked")
        for path in sorted((folder / priority.folder).glob("*.log")):
            template.files[f"{priority.folder}/{path.name}"] = _lay_out(path.read_bytes(), groups, epoch)
    return template


def _lay_out(content: bytes, groups: list[list[EncodedBatch]], epoch: str) -> File:
    """Find by its payload where each batch stands; its header is before it, its group's tally after the last."""
    file = File(content=content, sealed=content[-SUMMARY:].startswith(content[:4]))
    for group in groups:
        keys: list[Key] = []
        end = 0
        for one in group:
            at = content.find(one.payload)
            if at < 0:
                # A group that did not fit is in two files, with a tally in each.
                continue
            end = at + len(one.payload)
            file.records[epoch, one.number] = content[at - HEAD : end]
            keys.append((epoch, one.number))
        if keys:
            file.groups.append((keys, content[end : end + HEAD]))
    return file


def tell(template: Template, now: dict[str, bytes]) -> Truth:
    """Return what `now`, the files after the damage, must give; `now` lacks a file that is gone."""
    truth = Truth(saved=set(), again=set(), lost=set(), told=set(), silent=False, acked_unknown=False, short=False)
    names = sorted(template.files)
    for name, after in zip(names, [*names[1:], ""], strict=True):
        file, found = template.files[name], now.get(name, b"")
        readable = {key for key, record in file.records.items() if record in found}
        gone = set(file.records) - readable
        acked_log = name.split("/")[0] + "/acked"
        sound_log = now.get(acked_log) is None
        truth.acked_unknown |= not sound_log
        known = template.acked if sound_log else set()
        truth.saved |= readable - template.acked
        truth.again |= (readable & template.acked) - known
        truth.lost |= gone - template.acked
        sealed = file.sealed and file.content[-SUMMARY:] in (
            found[-SUMMARY:],
            found[len(file.content) - SUMMARY : len(file.content)],
        )
        follower = template.files.get(after)
        about = slice(FILE_HEAD, FILE_HEAD + SUMMARY)
        if follower is not None and after.split("/")[0] == name.split("/")[0]:
            sealed = sealed or now.get(after, b"")[about] == follower.content[about]
        reached = max((index for index, (_, tally) in enumerate(file.groups) if tally in found), default=-1)
        covered = {key for index, (keys, _) in enumerate(file.groups) if index <= reached for key in keys}
        # The log of what is done with was closed last, and tells what the newest file was given.
        sealed = sealed or (sound_log and not file.sealed)
        told = {key for key in gone if sealed or key in covered or file.records[key][:HEAD] in found}
        truth.told |= told - template.acked
        truth.short |= not sealed and bool((gone - covered) & template.acked)
        silent = gone - told - template.acked
        if silent:
            ends = [found.rfind(file.records[key]) + len(file.records[key]) for key in readable]
            ends += [found.rfind(tally) + HEAD for _, tally in file.groups if tally in found]
            truth.silent |= not found[max(ends, default=FILE_HEAD) :].strip(b"\0")
    return truth


def _stretch(content: bytearray, chance: random.Random) -> tuple[int, int]:
    # Where something stands, mostly: the rest of a preallocated file is zeros.
    used = len(bytes(content[:-SUMMARY]).rstrip(b"\0")) + 100
    at = chance.randrange(min(len(content), used if chance.random() < 0.9 else len(content)))
    size = chance.choice([1, chance.randint(2, 64), chance.randint(65, 600), 512, 4096])
    if size >= 512 and chance.random() < 0.7:
        at -= at % 512
    return at, min(len(content), at + size)


def flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at, _ = _stretch(content, chance)
        content[at] ^= 1 << chance.randrange(8)


def cut(content: bytearray, chance: random.Random) -> None:
    del content[_stretch(content, chance)[0] :]


def zeros(content: bytearray, chance: random.Random) -> None:
    start, end = _stretch(content, chance)
    content[start:end] = bytes(end - start)


def old(content: bytearray, chance: random.Random) -> None:
    """What stood in the file before stands there again, at another place."""
    start, end = _stretch(content, chance)
    source = chance.randrange(start + 1)
    stale = content[source : source + end - start]
    content[start : start + len(stale)] = stale


def noise(content: bytearray, chance: random.Random) -> None:
    start, end = _stretch(content, chance)
    content[start:end] = chance.randbytes(end - start)


def take_out(content: bytearray, chance: random.Random) -> None:
    start, end = _stretch(content, chance)
    del content[start:end]


def put_in(content: bytearray, chance: random.Random) -> None:
    start, end = _stretch(content, chance)
    content[start:start] = chance.choice([bytes(end - start), chance.randbytes(end - start)])


def grow(content: bytearray, chance: random.Random) -> None:
    size = chance.randint(1, 5000)
    content += chance.choice([bytes(size), chance.randbytes(size)])


def empty(content: bytearray, _: random.Random) -> None:
    content.clear()


def head(content: bytearray, chance: random.Random) -> None:
    for at in range(min(len(content), chance.randint(1, FILE_HEAD))):
        content[at] = chance.randrange(256)


def torn(content: bytearray, chance: random.Random) -> None:
    """Of a write of some sectors only some arrive."""
    start, _ = _stretch(content, chance)
    first = start // 512
    for sector in range(first, first + 6):
        if chance.random() < 0.5 and (sector + 1) * 512 <= len(content) - SUMMARY:
            content[sector * 512 : (sector + 1) * 512] = bytes(512)


WAYS: list[Callable[[bytearray, random.Random], None]] = [
    flip, flip, cut, cut, zeros, zeros, old, noise, take_out, put_in, grow, empty, head, torn,
]  # fmt: skip


def damage(folder: Path, template: Template, chance: random.Random) -> tuple[dict[str, bytes], list[str]]:
    """Damage one to three files; return the segments as they are now, the other files that were hit, and how."""
    now = {name: file.content for name, file in template.files.items()}
    done: list[str] = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        name = chance.choice([*template.files, *template.files, *template.others])
        path = folder / name
        if name == "meta" and chance.random() < 0.5:
            # A rename that never became durable: the new file is there, the old one was, or was not, removed.
            (folder / "meta.new").write_bytes(path.read_bytes() if path.exists() else b"")
            if chance.random() < 0.5:
                path.unlink(missing_ok=True)
            done.append("meta: rename lost")
            continue
        if name in template.files and chance.random() < 0.05:
            path.with_suffix(".new").write_bytes(chance.randbytes(100))
            done.append(f"{name}: beside it one that was to replace it")
        content = bytearray(path.read_bytes() if path.exists() else b"")
        way = chance.choice(WAYS)
        if not content:
            continue
        way(content, chance)
        path.write_bytes(content)
        now[name] = bytes(content)
        done.append(f"{name}: {way.__name__}")
    return now, done
