"""kill -9 at random moments: what is older than W, and every event whose append returned, is there afterwards."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.edge_agent.buffer.helpers import ack, drain, opened, plain, until, values_of

ROOT = Path(__file__).parents[3]
WINDOW_NS = 200_000_000
SLACK_NS = 150_000_000
"""Besides what the child says of how late the machine was lately."""
LATELY_NS = 1_000_000_000
ROUNDS = 20


def run_and_kill(path: Path, first: int, seed: int, seconds: float) -> tuple[list[list[str]], int]:
    """Return what the child said, and when it was killed."""
    command = [sys.executable, "-m", "tests.edge_agent.buffer.crash_child", str(path), str(first), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        killed_ns = time.time_ns()
        child.kill()
        lines = child.stdout.read().decode()
    return [line.split() for line in lines.splitlines() if line], killed_ns


def machine_late_ns(said: list[list[str]], killed_ns: int) -> int:
    """Return by how much the loop and the disk were late: other tests may run beside this one."""
    told = [(int(line[1]), int(line[2])) for line in said if line[0] == "late" and len(line) == 3]
    silent_ns = killed_ns - max((at for _, at in told), default=0)
    return silent_ns + max((late for late, at in told if killed_ns - at < LATELY_NS), default=0)


async def test_nothing_older_than_the_window_is_lost(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311
    first = held_to_it = 0
    for number in range(ROUNDS):
        said, killed_ns = run_and_kill(tmp_path, first, number, chance.uniform(0.05, 0.8))
        events = {int(line[1]) for line in said if line[0] == "e"}
        samples = {int(line[1]): int(line[2]) for line in said if line[0] == "s" and len(line) == 3}
        acked = {int(value) for line in said if line[0] == "a" for value in line[1:]}
        first = max([first, *events, *samples]) + 1000
        async with opened(tmp_path, max_bytes=4_000_000) as (buffer, counters):
            batches = await drain(buffer)
            there = [int(value) for value in values_of(batches)]
            stored_events = {
                int(one.subject or "0", 16)
                for batch in batches
                if batch.event
                for block in plain(batch).devices
                for one in block.samples
            }
            slack_ns = SLACK_NS + machine_late_ns(said, killed_ns)
            must = {value for value, at in samples.items() if killed_ns - at > WINDOW_NS + slack_ns} - acked
            held_to_it += len(must)
            assert must <= set(there)
            assert len(there) == len(set(there))
            assert events <= stored_events
            assert counters.get("buffer.lost_values") == 0
            if batches:
                buffer.acknowledge(ack(*batches))
            await until(lambda buffer=buffer: buffer.status().batches == 0)  # type: ignore[misc]
    assert held_to_it  # or the test shows nothing
