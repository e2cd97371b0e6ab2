"""What a worker of the ingest does about orders: hostile ones too, a busy store, its own dead letters."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.cardinality import Guard
from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.decode import Accepted, decode
from cloud_ingest.erasure import topics
from cloud_ingest.erasure.tombstones import Tombstones
from cloud_ingest.erasure.worker import Confirmation, ErasureWorker
from cloud_ingest.files import Files
from cloud_ingest.rows import RowMaker
from cloud_ingest.seen import Seen
from cloud_ingest.settings import SeriesSettings
from telemetry.counters import Counters
from telemetry.erasure import CLOUD, Erasure, Order, encode_order, keyed_hash
from telemetry.sample import DataClass
from telemetry.signed import PublicKey, public_line
from tests.cloud_ingest.gateway import NOW, SITE, attendance, batch, block, payload_of, sample, topic_of
from tests.edge_agent.buffer.traces import traces
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HIM, HER = "ee" * 16, "0f" * 16
SALT, REQUEST = bytes(32), "0123456789abcdef"
TOPIC = topics.order_topic(SITE, REQUEST)


def order(*, key: Ed25519PrivateKey = KEY, days: float = 1, **changed: Any) -> bytes:
    now = datetime.now(UTC)
    erasure = Erasure(
        request=REQUEST, salt=SALT.hex(), hashes=(keyed_hash(SALT, HIM),), keep_until=now + timedelta(days=days)
    )
    known: dict[str, Any] = {
        "schema": "campus.erase/1", "site": SITE, "target": CLOUD, "serial": 1, "issued_at": now,
        "not_after": now + timedelta(days=1), "erasure": (erasure,),
    }  # fmt: skip
    text = encode_order(Order(**(known | changed)), key)
    return msgspec.json.encode({"schema": "campus.command/1", "kind": "erase", "text": text})


class Rig:
    """A worker over real files, without a broker."""

    def __init__(self, folder: Path) -> None:
        self.counters = Counters()
        self.published: dict[str, Any] = {}
        self.refuses = 0
        self.tombstones = Tombstones(folder / "tombstones.sqlite")
        self.dead = DeadLetters(folder / "dead.sqlite", max_bytes=10**7, counters=self.counters)
        self.seen = Seen(folder / "seen.sqlite", per_gateway=100)
        self.guard = Guard(folder / "series.sqlite", SeriesSettings(), self.counters)
        self.in_hand = asyncio.Event()
        self.in_hand.set()
        (folder / "cloud.pub").write_text(public_line(PublicKey(raw=KEY.public_key().public_bytes_raw())))
        self.worker = ErasureWorker(
            name="ingest-1",
            tombstones=self.tombstones,
            public_key=folder / "cloud.pub",
            files=Files(seen=self.seen, dead=self.dead, counters=self.counters, guard=self.guard),
            settled=self.in_hand.wait,
            publisher=self,
            counters=self.counters,
        )
        self.maker = RowMaker(erased=self.tombstones, counters=self.counters, guard=self.guard)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        assert retain
        self.refuses -= 1
        if self.refuses >= 0:
            return False
        self.published[topic] = msgspec.json.decode(payload)
        return True

    def rows(self, one: Any) -> list[str]:
        decoded = decode(topic_of(one), payload_of(one), self.maker)
        assert isinstance(decoded, Accepted)
        assert not decoded.refused
        return [dict(row.series.tags)["subject"] for row in decoded.rows]


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr("cloud_ingest.erasure.worker._RETRY_S", 0.01)
    rig = Rig(tmp_path)
    running = asyncio.create_task(rig.worker.run())
    yield rig
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    rig.tombstones.close()
    rig.seen.close()
    rig.guard.close()
    rig.dead.close()


def both(number: int = 1) -> Any:
    samples = [sample(NOW + n, {"presence": True}, subject=who) for n, who in enumerate([HIM, HER, HIM])]
    taps = block(samples, measurement="attendance", quantities={"presence": "presence"})
    return batch(number, [taps], data_class=DataClass.PERSONAL)


async def test_from_the_order_on_his_rows_are_dropped_and_nobody_elses(rig: Rig, tmp_path: Path) -> None:
    rig.dead.add([Letter(topic=topic_of(both()), payload=payload_of(both()), reason="r")])
    assert rig.rows(both()) == [HIM, HER, HIM]
    rig.in_hand.clear()
    rig.refuses = 2
    rig.worker.take(TOPIC, order())
    assert rig.rows(both(2)) == [HER]
    assert rig.rows(attendance(3, HIM)) == []
    assert rig.counters.get("erasure.dropped_rows") == 3
    await asyncio.sleep(0.05)
    assert not rig.published, "something of his is still on its way to the store"
    rig.in_hand.set()
    await until(lambda: rig.published)
    confirmation = msgspec.convert(rig.published[topics.confirmation_topic(SITE, REQUEST, "ingest-1")], Confirmation)
    assert (confirmation.request, confirmation.worker, confirmation.letters) == (REQUEST, "ingest-1", 1)
    assert not traces(tmp_path, HIM)
    # It stays so after a restart.
    again = Tombstones(tmp_path / "tombstones.sqlite")
    assert again(HIM)
    assert not again(HER)
    again.close()


HOSTILE = {
    "forged": order(key=STRANGER),
    "for a gateway": order(target="gw-1"),
    "for another site": order(site="elsewhere"),
    "out of date": order(not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    "no JSON": b"x",
    "another kind": b'{"schema":"campus.command/1","kind":"document","text":""}',
    "deep": b"[" * 5000,
    "long": b"y" * 2_000_000,
}


async def test_pain_20_the_guard_forgets_that_he_ever_came(rig: Rig) -> None:
    assert rig.rows(both()) == [HIM, HER, HIM]
    rig.worker.take(TOPIC, order())
    await until(lambda: rig.published)
    assert rig.guard._db.execute("SELECT kind, count(*) FROM known GROUP BY kind").fetchall() == [(0, 1), (2, 1)]
    assert rig.rows(both(2)) == [HER]


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_orders_do_nothing(rig: Rig, payload: bytes) -> None:
    rig.worker.take(TOPIC, payload)
    assert rig.counters.get("erasure.refused_orders") == 1
    assert rig.rows(both()) == [HIM, HER, HIM]


async def test_nothing_is_believed_without_the_clouds_key(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "cloud.pub").unlink()
    rig.worker.take(TOPIC, order())
    assert rig.rows(both()) == [HIM, HER, HIM]
    assert rig.counters.get("erasure.refused_orders") == 1


async def test_a_disk_that_takes_no_tombstone_is_not_confirmed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(rig.tombstones, "add", full)
    rig.worker.take(TOPIC, order())
    assert rig.counters.get("erasure.failed_orders") == 1
    await asyncio.sleep(0.05)
    assert not rig.published


async def test_an_order_is_lifted_by_one_whose_time_is_over(rig: Rig) -> None:
    rig.worker.take(TOPIC, order())
    assert rig.rows(both()) == [HER]
    rig.worker.take(TOPIC, order(days=-1))
    assert rig.rows(both()) == [HIM, HER, HIM]
    assert rig.tombstones.erasures() == []


async def test_other_topics_and_cleared_ones_are_no_orders(rig: Rig) -> None:
    for topic in ("campus/v1/_cloud/worker/w", f"{TOPIC}/ingest-1", f"campus/v1/a b/{CLOUD}/erase/x", "x"):
        rig.worker.take(topic, order())
    rig.worker.take(TOPIC, b"")
    assert rig.counters.snapshot() == {}
    await rig.worker.tell("stopped")
    assert rig.published["campus/v1/_cloud/worker/ingest-1"]["state"] == "stopped"


def test_tombstones_outlast_and_end(tmp_path: Path) -> None:
    now = [time.time_ns()]
    tombstones = Tombstones(tmp_path / "t.sqlite", now_ns=lambda: now[0])
    ends = datetime.now(UTC) + timedelta(days=400)
    tombstones.add(SITE, Erasure(request=REQUEST, salt=SALT.hex(), hashes=(keyed_hash(SALT, HIM),), keep_until=ends))
    now[0] += 399 * 86_400 * 10**9
    assert tombstones(HIM)
    now[0] += 2 * 86_400 * 10**9
    assert not tombstones(HIM)
    assert tombstones.erasures() == []
    tombstones.close()
    assert not traces(tmp_path, HIM)


@given(st.text(max_size=60))
def test_topics_of_orders(text: str) -> None:
    assert topics.site_of_order(text) is None
    assert topics.site_of_order(topics.order_topic("school", REQUEST)) == "school"
