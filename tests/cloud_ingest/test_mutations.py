"""A million mutated messages: no crash, no hang, no row that the oracle does not allow, memory flat."""

from __future__ import annotations

import gc
import math
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from cloud_ingest.decode import Accepted, decode
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.rows import RowMaker
from telemetry.batch import encode_batch
from tests.cloud_ingest.conftest import MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import batch, block, sample, topic_of
from tests.cloud_ingest.mutations import NOW, SEEDS, Mutator
from tests.cloud_ingest.oracle import MEASUREMENTS, allowed, lines
from tests.cloud_ingest.test_service import rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_ingest.series import Row
    from tests.servers import Server

SHORT, LONG, SLICES = 20_000, 1_000_000, 10
DEADLINE_S = 1.0
"""Of CPU time for one message; usual are 0.1 ms."""
SECONDS = str(NOW)[:10].encode()


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def same(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Equal in names, types, values and the sign of zero."""
    return mine.keys() == theirs.keys() and all(
        type(value) is type(theirs[name])
        and value == theirs[name]
        and (not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, theirs[name]))
        for name, value in mine.items()
    )


def judge(topic: str, payload: bytes, rows: list[Row]) -> None:
    right = allowed(topic, payload, now_ns=NOW)
    last: dict[Any, dict[str, Any]] = {}
    for row in rows:
        last[row.series.measurement, frozenset(row.series.tags), row.time_ns] = row.fields
    for key, fields in last.items():
        assert key in right, f"no such row may be stored: {key}"
        assert same(fields, right[key]), f"{fields} is not {right[key]}"


def run(seed: int, count: int) -> tuple[int, int, float]:
    """Return how many messages were accepted, how many rows they made, and the longest CPU time of one."""
    print(f"mutations: seed {seed}, {count} messages")  # noqa: T201 - shown when it fails
    mutator, maker, encoder = Mutator(Random(seed)), RowMaker(now_ns=lambda: NOW), LineEncoder()  # noqa: S311
    accepted = made = 0
    longest = 0.0
    for number in range(count):
        topic, payload = mutator.message()
        started = time.thread_time()
        decoded = decode(topic, payload, maker)
        text = encoder.encode(decoded.rows) if isinstance(decoded, Accepted) and decoded.rows else b""
        longest = max(longest, time.thread_time() - started)
        if not isinstance(decoded, Accepted):
            assert decoded.reason
            continue
        accepted += 1
        made += len(decoded.rows)
        try:
            judge(topic, payload, decoded.rows)
            assert len(decoded.rows) + len(decoded.refused) == sum(len(one.samples) for one in decoded.batch.devices)
            if number % 4 == 0 and text:
                read = lines(text.decode())
                assert [(row.series.key, row.time_ns) for row in decoded.rows] == [(key, at) for key, _, at in read]
                assert all(same(row.fields, found) for row, (_, found, _) in zip(decoded.rows, read, strict=True))
        except AssertionError as error:
            error.add_note(f"message {number} of seed {seed}: {topic} {payload[:3000]!r}")
            raise
    return accepted, made, longest


def test_the_oracle_allows_what_is_right() -> None:
    for topic, payload in SEEDS:
        decoded = decode(topic, payload, RowMaker(now_ns=lambda: NOW))
        assert isinstance(decoded, Accepted)
        assert decoded.rows
        judge(topic, payload, decoded.rows)
    with pytest.raises(AssertionError):
        judge(SEEDS[0][0], SEEDS[1][1].replace(b"21.5", b"21.6"), decoded.rows)


def test_mutated_messages_never_make_a_wrong_row() -> None:
    accepted, made, longest = run(20_261_122, SHORT)
    assert accepted > SHORT / 20
    assert made > SHORT / 10
    assert longest < DEADLINE_S


@pytest.mark.long
@pytest.mark.parametrize("part", range(SLICES))
def test_a_million_mutated_messages(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    run(1000 + part, 2_000)
    gc.collect()
    before, started = resident_bytes(), time.process_time()
    accepted, made, longest = run(part, LONG // SLICES)
    gc.collect()
    grew = resident_bytes() - before
    with capsys.disabled():
        print(  # noqa: T201
            f"\npart {part}: {accepted} accepted, {made} rows, longest {longest * 1000:.0f} ms,"
            f" {time.process_time() - started:.0f} s of CPU, grew {grew / 1e6:.1f} MB"
        )
    assert longest < DEADLINE_S
    assert grew < 50_000_000


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.long)])
async def test_mutated_messages_through_the_running_ingest(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path, count: int
) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    ingest = await make_ingest(
        mosquitto, url, CAMPUS_INGEST_LOG__LEVEL="error", CAMPUS_INGEST_ACCEPT__PAST_DAYS="36500"
    )
    mutator = Mutator(Random(count))  # noqa: S311
    right: dict[Any, list[dict[str, Any]]] = {}
    async with connected_gateway(mosquitto) as gateway:
        for number in range(count):
            topic, payload = mutator.message()
            if any(character in topic for character in "+#\0\t") or topic[:1] in {"", "$"}:
                continue  # the broker takes no such thing
            # An identity and times of its own for most, so that they are no conflicts and no equal points.
            payload = payload.replace(b'"batch":', b'"batch":%d' % (number + 10), 1)
            payload = payload.replace(SECONDS, b"%d" % (int(SECONDS) - number))
            await gateway.client.publish(topic, payload, qos=1)
            for key, fields in allowed(topic, payload, now_ns=time.time_ns()).items():
                right.setdefault(key, []).append(fields)
            if number % 200 == 199:  # a broker's queue is bounded
                whole = batch(10**9 + number, [block([sample(NOW - number)], device="the-last")])
                await gateway.send_raw(topic_of(whole), encode_batch(whole))
                await gateway.stored(10**9 + number, within=60)
                gateway.acks.clear()
    assert await ingest.stop() == 0
    stored = 0
    for measurement in sorted(MEASUREMENTS):
        for row in await rows_of(url, measurement):
            if row["device"] == "the-last":
                continue
            stored += 1
            at = row.pop("time_ns")
            tags = {name: row.pop(name) for name in ("site", "room", "device", "gateway", "subject") if name in row}
            one_of = right[measurement, frozenset(tags.items()), at]
            # Equal series and time from several messages: the fields of each are one row.
            for name, value in row.items():
                assert any(name in fields and fields[name] == value for fields in one_of), (tags, at, name, value)
    assert stored > count / 5
