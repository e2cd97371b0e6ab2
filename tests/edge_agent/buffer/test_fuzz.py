"""Pain 5: a power cut's damage must never stop the start. What is readable is saved, the rest is told exactly."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edge_agent.buffer import Buffer, read_status
from telemetry.counters import Counters
from tests.edge_agent.buffer.fuzzing import Template, Truth, damage, fill, tell
from tests.edge_agent.buffer.helpers import DEVICES, event, opened, sample

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20260917
TEMPLATES = 4


async def _opened(path: Path) -> tuple[Buffer, Counters]:
    counters = Counters()
    buffer = await Buffer.open(
        path, site="school", gateway="gw-1", simulated=False, window_s=2.0, max_bytes=64_000_000, devices=DEVICES,
        counters=counters,
    )  # fmt: skip
    return buffer, counters


async def _all(buffer: Buffer) -> dict[tuple[str, int], bytes]:
    """Read as `take_backfill` does, but all of a priority in one visit to its thread: some hundred thousand batches."""
    found: dict[tuple[str, int], bytes] = {}
    for keeper in buffer._opened.keepers:
        for batch in await keeper.call(lambda read=keeper.stream.read: list(iter(lambda: read(frozenset()), None))):  # type: ignore[misc]
            assert (batch.epoch, batch.number) not in found
            found[batch.epoch, batch.number] = batch.payload
    return found


def _check(template: Template, truth: Truth, saved: dict[tuple[str, int], bytes], counters: Counters) -> None:
    assert truth.saved <= set(saved) <= truth.saved | truth.again
    assert all(payload == template.batches[key].payload for key, payload in saved.items())
    batches, values = counters.get("buffer.lost_batches"), counters.get("buffer.lost_values")
    sure = sum(template.batches[key].values for key in truth.told)
    if truth.acked_unknown:
        assert batches >= len(truth.told)
    elif truth.short:
        assert batches <= len(truth.told)
        assert values <= sure
    else:
        assert (batches, values) == (len(truth.told), sure)
    if truth.lost - truth.told and not truth.silent:
        signs = ("torn_tail", "corrupt_ranges", "cut_segments")
        assert any(counters.get(f"buffer.{sign}") for sign in signs)


async def _fuzz(folder: Path, monkeypatch: pytest.MonkeyPatch, cases: int, seed: int) -> None:
    print(f"{cases} cases from seed {seed}")  # noqa: T201
    templates: list[tuple[Path, Template]] = []
    for number in range(TEMPLATES):
        path = folder / f"template-{number}"
        monkeypatch.setattr("edge_agent.buffer.opening.new_epoch", lambda: f"{seed:016x}")
        buffer, _ = await _opened(path)
        await buffer.close()
        monkeypatch.undo()
        templates.append((path, fill(path, buffer.epoch, seed + number)))
    # No power is cut here: the damage is done to the files.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    seen: Counter[str] = Counter()
    for case in range(cases):
        chance = random.Random(f"{seed}/{case}")  # noqa: S311
        source, template = templates[case % TEMPLATES]
        path = folder / "case"
        shutil.copytree(source, path)
        now, done = damage(path, template, chance)
        truth = tell(template, now)
        try:
            status = read_status(path, max_bytes=64_000_000)
            buffer, counters = await _opened(path)
            saved = await _all(buffer)
            _check(template, truth, saved, counters)
            assert status.batches >= len(saved)
            # It goes on: what comes now is kept with what was saved, and the loss is not told again.
            await buffer.close()
            async with opened(path) as (buffer, _):
                await buffer.append(event(handle=f"{case:032x}"))
                await buffer.append(sample())
            buffer, counters = await _opened(path)
            after = await _all(buffer)
            assert saved.items() <= after.items()
            assert len(after) == len(saved) + 2
            assert counters.get("buffer.lost_batches") == counters.get("buffer.lost_values") == 0
            await buffer.close()
        except BaseException as error:
            error.add_note(f"case {case} of seed {seed}: {done}")
            raise
        seen["lost"] += len(truth.lost)
        seen["told"] += len(truth.told)
        seen["saved"] += len(saved)
        seen["cases with a loss that nobody can count"] += bool(truth.lost - truth.told)
        seen["cases with a loss that is told in part"] += truth.short
        seen["of these without a trace: zeros at the end of the newest file"] += truth.silent
        shutil.rmtree(path)
    print(dict(seen))  # noqa: T201
    assert seen["told"] > seen["lost"] * 0.7


async def test_pain_05_damaged_files_never_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fuzz(tmp_path, monkeypatch, 100, SEED)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_pain_05_five_thousand_ways_to_damage_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fuzz(tmp_path, monkeypatch, 5000, random.SystemRandom().randrange(1 << 32))
