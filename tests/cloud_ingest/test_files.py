"""Seen memory and dead letters: what they must still know after a restart, and how they stay bounded."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.decode import Identity
from cloud_ingest.files import Files
from cloud_ingest.letters import MOST_REASONS, for_samples
from cloud_ingest.seen import MOST_EPOCHS, MOST_REFUSED, Seen
from telemetry.ack import Refused
from telemetry.batch import decode_batch, unpack
from telemetry.counters import Counters
from tests.cloud_ingest.gateway import NOW, batch, block, payload_of, sample, topic_of

if TYPE_CHECKING:
    from pathlib import Path


def identity(number: int, gateway: str = "gw-1", epoch: str = "e" * 16) -> Identity:
    return Identity(site="s", gateway=gateway, epoch=epoch, number=number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.sqlite"


def test_what_was_seen_is_known_after_a_restart(path: Path) -> None:
    seen = Seen(path, per_gateway=100)
    refused = (Refused(batch=2, samples=[1], reason="why"),)
    seen.claim(identity(1), b"a" * 16)
    seen.settle(identity(2), b"b" * 16, refused)
    seen.commit(seen.take_changes())
    seen.claim(identity(3), b"c" * 16)
    seen._reader.close()
    seen._writer.close()

    again = Seen(path, per_gateway=100)
    assert again.lookup(identity(1)).digest == b"a" * 16
    assert not again.lookup(identity(1)).settled
    assert again.lookup(identity(2)).settled
    assert again.lookup(identity(2)).refused == refused
    assert again.lookup(identity(3)) is None
    assert again.lookup(identity(1, gateway="gw-2")) is None
    assert again.lookup(identity(1, epoch="f" * 16)) is None
    again.close()


def test_memory_is_bounded_for_each_gateway(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.seen._RECENT", 10)
    seen = Seen(path, per_gateway=100)
    seen.claim(identity(7, gateway="quiet"), b"q" * 16)
    for number in range(2000):
        seen.claim(identity(number), b"d" * 16)
        if number % 50 == 0:
            seen.commit(seen.take_changes())
    seen.commit(seen.take_changes())
    (count,) = seen._reader.execute("SELECT count(*) FROM seen WHERE gateway = 's/gw-1'").fetchone()
    assert 100 <= count <= 100 + 100 // 8 + 50
    assert len(seen._recent) == 10
    assert seen.lookup(identity(1999)) is not None
    assert seen.lookup(identity(1950)) is not None
    assert seen.lookup(identity(0)) is None
    assert seen.lookup(identity(7, gateway="quiet")) is not None
    seen.close()


def test_memory_is_bounded_also_for_a_gateway_of_many_epochs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may publish may invent an epoch for each batch."""
    monkeypatch.setattr("cloud_ingest.seen._RECENT", 10)
    seen = Seen(path, per_gateway=5000)
    for number in range(1000):
        seen.claim(identity(number, epoch=f"{number:016x}"), number.to_bytes(16))
        seen.commit(seen.take_changes())
    for _ in range(2):
        assert sum(map(len, seen._highest.values())) <= MOST_EPOCHS
        for number in (0, 1, 500, 999):
            assert seen.lookup(identity(number, epoch=f"{number:016x}")).digest == number.to_bytes(16)
        assert seen.lookup(identity(1, epoch="f" * 16)) is None
        assert seen.gateways("s") == ["gw-1"]
        seen.close()
        seen = Seen(path, per_gateway=5000)
    seen.close()


def test_an_answer_of_many_refusals_is_not_remembered(path: Path) -> None:
    """Fifty thousand of them would not fit into memory; such a batch is written once more, as equal rows."""
    seen = Seen(path, per_gateway=100)
    for number, count in ((1, MOST_REFUSED), (2, MOST_REFUSED + 1)):
        seen.claim(identity(number), b"a" * 16)
        refused = Refused(batch=number, samples=list(range(count)), reason="why")
        seen.settle(identity(number), b"a" * 16, (refused,))
    assert seen.lookup(identity(1)).settled
    assert seen.lookup(identity(2)).digest == b"a" * 16
    assert not seen.lookup(identity(2)).settled
    seen.close()


def letters_of(path: Path, max_bytes: int = 1_000_000) -> tuple[DeadLetters, Counters]:
    counters = Counters()
    return DeadLetters(path, max_bytes=max_bytes, counters=counters), counters


def test_the_same_letter_is_counted_not_stored_twice(path: Path) -> None:
    dead, counters = letters_of(path)
    live = Letter(topic="campus/v1/s/g/telemetry/open/live", payload=b"x", reason="bad")
    backfill = Letter(topic="campus/v1/s/g/telemetry/open/backfill", payload=b"x", reason="bad")
    other = Letter(topic="campus/v1/s/g/telemetry/open/live", payload=b"y", reason="bad")
    dead.add([live, other])
    dead.add([backfill])
    assert [(filed.times, filed.size) for filed in dead.entries()] == [(2, 1), (1, 1)]
    assert counters.get("deadletter.filed") == 3
    assert dead.get(1)[1] == b"x"
    assert dead.get(99) is None
    assert dead.remove([1, 99]) == 1
    dead.close()


def test_the_cap_drops_the_oldest_and_counts_it(path: Path) -> None:
    dead, counters = letters_of(path, max_bytes=20_000)
    for number in range(40):
        dead.add([Letter(topic="t/live", payload=bytes([number]) * 1000, reason="bad")])
        assert dead.total_bytes() <= 20_000
    kept = [dead.get(filed.id)[1][0] for filed in dead.entries()]
    assert kept == list(range(40 - len(kept), 40))
    assert counters.get("deadletter.dropped_letters") == 40 - len(kept)
    dead.close()


def test_letters_survive_kill_and_are_private(path: Path) -> None:
    dead, _ = letters_of(path)
    dead.add([Letter(topic="t/live", payload=b"x", reason="bad")])
    again, _ = letters_of(path)
    assert len(again.entries()) == 1
    assert path.stat().st_mode & 0o077 == 0
    assert dead._db.execute("PRAGMA synchronous").fetchone() == (2,)
    dead.close()
    again.close()


async def test_a_full_disk_is_waited_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.files._RETRY_S", 0.01)
    dead, counters = letters_of(path)
    seen = Seen(path.with_name("seen.sqlite"), per_gateway=100)
    files = Files(seen=seen, dead=dead, counters=counters)
    real, failures = dead.add, iter([1, 2])

    def add(letters: list[Letter]) -> None:
        if next(failures, None):
            raise sqlite3.OperationalError("database or disk is full")
        real(letters)

    monkeypatch.setattr(DeadLetters, "add", lambda _self, letters: add(letters))
    seen.claim(identity(1), b"a" * 16)
    await files.commit([Letter(topic="t/live", payload=b"x", reason="bad")])
    assert counters.get("files.failed_commits") == 2
    assert len(dead.entries()) == 1
    assert seen._reader.execute("SELECT count(*) FROM seen").fetchone() == (1,)
    seen.close()
    dead.close()


def test_a_letter_holds_just_the_refused_samples() -> None:
    blocks = [block([sample(NOW), sample(NOW + 1)]), block([sample(NOW + 2)], device="other")]
    one = batch(blocks=blocks)
    letters, refused = for_samples(topic_of(one), one, {1: "a", 2: "b"}, payload_of(one))
    assert refused == [Refused(batch=1, samples=[1], reason="a"), Refused(batch=1, samples=[2], reason="b")]
    kept = [decode_batch(unpack(letter.payload)) for letter in letters]
    assert [[(d.device, s.acquired_at_ns) for d in k.devices for s in d.samples] for k in kept] == [
        [("r101-air", NOW + 1)],
        [("other", NOW + 2)],
    ]
    assert {k.number for k in kept} == {1}
    letters, refused = for_samples(topic_of(one), one, dict.fromkeys(range(3), "all"), b"as it came")
    assert refused == [Refused(batch=1, samples=[], reason="all")]
    assert letters[0].payload == b"as it came"


def test_a_thousand_different_faults_are_not_a_thousand_letters() -> None:
    """A letter and a refusal for each sample of a large batch would take the whole ingest minutes."""
    one = batch(blocks=[block([sample(NOW + n) for n in range(2000)])])
    letters, refused = for_samples(topic_of(one), one, {n: f"fault {n}" for n in range(1, 2000)})
    assert len(letters) == len(refused) == MOST_REASONS
    assert [index for refusal in refused for index in refusal.samples] == list(range(1, 2000))
    assert refused[-1].reason.endswith(f"fault {MOST_REASONS}")
    (last,) = decode_batch(unpack(letters[-1].payload)).devices
    assert [one.acquired_at_ns - NOW for one in last.samples] == list(range(MOST_REASONS, 2000))


async def test_a_commit_that_is_cancelled_shares_the_files_with_none(path: Path) -> None:
    """A thread goes on when its task is cancelled; whoever comes next, such as the end of the process, waits for it."""
    dead, counters = letters_of(path)
    seen = Seen(path.with_name("seen.sqlite"), per_gateway=100)
    files = Files(seen=seen, dead=dead, counters=counters)
    entered, go_on = threading.Event(), threading.Event()

    def slow(_: DeadLetters) -> None:
        entered.set()
        assert go_on.wait(10)

    first = asyncio.create_task(files.with_letters(slow))
    await asyncio.to_thread(entered.wait, 10)
    first.cancel()
    second = asyncio.create_task(files.with_letters(lambda found: found.total_bytes()))
    done, _ = await asyncio.wait((first, second), timeout=0.2)
    go_on.set()
    assert not done
    assert await second == 0
    with pytest.raises(asyncio.CancelledError):
        await first
    seen.close()
    dead.close()


async def test_waiting_out_a_full_disk_is_no_stall(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog would end it, again and again, and a start on a full disk may be the last one."""
    monkeypatch.setattr("cloud_ingest.files._RETRY_S", 0.01)
    dead, counters = letters_of(path)
    seen = Seen(path.with_name("seen.sqlite"), per_gateway=100)
    files = Files(seen=seen, dead=dead, counters=counters)
    failures = iter(["database or disk is full"])

    def commit(_changes: object) -> None:
        for failure in failures:
            raise sqlite3.OperationalError(failure)

    monkeypatch.setattr(seen, "commit", commit)
    before = time.monotonic()
    await files.commit([])
    assert files.tried_again_at >= before
    monkeypatch.undo()
    seen.close()
    dead.close()


def test_letters_are_never_filed_in_a_deleted_file(path: Path) -> None:
    dead, _ = letters_of(path)
    dead.add([Letter(topic="t/live", payload=b"1", reason="bad")])
    for one in path.parent.iterdir():
        one.unlink()
    dead.add([Letter(topic="t/live", payload=b"2", reason="bad")])
    again, _ = letters_of(path)
    assert [again.get(filed.id)[1] for filed in again.entries()] == [b"2"]
    dead.close()
    again.close()
