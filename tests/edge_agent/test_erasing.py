"""Withdrawal and orders to erase in the agent: who may order, what is remembered, and what happens to the buffer."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.audit import lines
from edge_agent.auditing import Auditor, open_audit
from edge_agent.commands import Command
from edge_agent.erasing import Eraser, load
from telemetry.counters import Counters
from telemetry.erasure import Erasure, Order, encode_order, keyed_hash
from telemetry.errors import ProtocolError
from telemetry.signed import PublicKey
from tests.edge_agent.buffer.helpers import drain, event, opened, plain, until
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from edge_agent.buffer import Buffer

CLOUD = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
HIM, HER = "ab" * 16, "cd" * 16
SALT = bytes(32)
REQUEST = "0123456789abcdef"


class Papers:
    """Stands in for the officer's documents: who withdrew, and who consents."""

    def __init__(self) -> None:
        self.withdrawn: dict[str, frozenset[str]] = {}
        self.consents: dict[str, frozenset[str]] = {}
        self.done: list[dict[str, frozenset[str]]] = []

    @property
    def in_force(self) -> Papers:
        return self

    def consented(self, _now_ns: int) -> dict[str, frozenset[str]]:
        return self.consents

    async def purged(self, handles: dict[str, frozenset[str]]) -> None:
        self.done.append(handles)
        self.withdrawn = {}


class Rig:
    """An eraser over a real buffer."""

    def __init__(self, folder: Path, buffer: Buffer, papers: Papers, *, key: Ed25519PrivateKey | None = CLOUD) -> None:
        self.folder = folder
        self.papers = papers
        self.counters = Counters()
        self.unsent: list[tuple[str, int]] = []
        self.forgotten: list[bool] = []
        self.again: list[Command] = []
        self.audit: Auditor = open_audit(folder / "privacy", counters=self.counters, now_ns=time.time_ns)
        public = PublicKey(raw=key.public_key().public_bytes_raw()) if key is not None else None
        self.eraser = Eraser(
            folder / "privacy" / "erasures.json",
            buffer=buffer,
            documents=papers,  # type: ignore[arg-type]
            forget=self._forget,
            unsend=self._unsend,
            trusted={public.key_id: public} if public is not None else {},
            site="school",
            gateway="gw-1",
            now_ns=time.time_ns,
            audit=self.audit,
            counters=self.counters,
            again=self.again.append,
        )

    async def _forget(self, who: Callable[[str], bool]) -> tuple[int, int]:
        self.forgotten.append(who(HIM))
        return (0, 0)

    def _unsend(self, keys: Collection[tuple[str, int]]) -> None:
        self.unsent += keys

    def events(self) -> list[str]:
        return [line.split(b'"event":"')[1].split(b'"')[0].decode() for line in lines(self.folder / "privacy")]


def command(
    handle: str = HIM,
    *,
    serial: int = 5,
    key: Ed25519PrivateKey = CLOUD,
    request: str = REQUEST,
    requests: tuple[str, ...] = (),
    **changed: Any,
) -> Command:
    now = datetime.now(UTC)
    hashes = (keyed_hash(SALT, handle),)
    erasure = tuple(
        Erasure(request=one, salt=SALT.hex(), hashes=hashes, keep_until=now + timedelta(days=9))
        for one in requests or (request,)
    )
    known: dict[str, Any] = {
        "schema": "campus.erase/1", "site": "school", "target": "gw-1", "issued_at": now,
        "not_after": now + timedelta(days=9),
    }  # fmt: skip
    order = Order(serial=serial, erasure=erasure, **(known | changed))
    return Command(schema="campus.command/1", kind="erase", text=encode_order(order, key))


def subjects(batches: list[Any]) -> list[str | None]:
    return sorted(one.subject for b in batches for block in plain(b).devices for one in block.samples)  # type: ignore[type-var]


async def test_an_order_purges_answers_and_is_remembered_without_his_handle(tmp_path: Path) -> None:
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        rig.papers.consents = {"attendance": frozenset({HIM, HER})}
        for handle in (HIM, HER, HIM):
            await buffer.append(event(handle=handle))
        taken = buffer.take_live()
        assert taken is not None

        answer = await rig.eraser.handle(command())

        assert answer["ok"]
        told = answer["erasures"][0]
        assert (told["request"], told["values"], told["still_consented"]) == (REQUEST, 2, 1)
        assert (taken.epoch, taken.number) in rig.unsent
        assert rig.forgotten == [True]
        assert not traces(tmp_path, HIM)
        assert subjects(await drain(buffer)) == [HER]

        # It comes again with each connection: answered from memory, purged once.
        again = await rig.eraser.handle(command())
        assert again["erasures"] == answer["erasures"]
        assert len(rig.forgotten) == 1
        assert rig.events() == ["erased"]
        assert load(tmp_path / "privacy" / "erasures.json", site="school").serial == 5


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (command(key=STRANGER), "not trusted"),
        (command(serial=4), "older than order 5"),
        (command(target="gw-2"), "is for 'gw-2'"),
        (command(site="elsewhere"), "of site 'elsewhere'"),
        (command(not_after=datetime(2020, 1, 1, tzinfo=UTC)), "out of date"),
        (Command(schema="campus.command/1", kind="erase", text="anything"), "not signed"),
    ],
)
async def test_orders_that_are_not_followed(tmp_path: Path, order: Command, told: str) -> None:
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        await rig.eraser.handle(command(HER))
        await buffer.append(event(handle=HIM))
        with pytest.raises(ProtocolError, match=told):
            await rig.eraser.handle(order)
        assert rig.counters.get("privacy.commands_refused") == 1
        assert rig.events() == ["erased", "erase_refused"]
        assert subjects(await drain(buffer)) == [HIM]


async def test_without_the_clouds_key_no_order_is_followed(tmp_path: Path) -> None:
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers(), key=None)
        with pytest.raises(ProtocolError, match=r"no \[privacy\] cloud_key"):
            await rig.eraser.handle(command())


async def test_who_withdrew_is_purged_and_crossed_off_afterwards(tmp_path: Path) -> None:
    async with opened(tmp_path / "buffer") as (buffer, counters):
        rig = Rig(tmp_path, buffer, Papers())
        for handle in (HIM, HER):
            await buffer.append(event(handle=handle))
        rig.papers.withdrawn = {"attendance": frozenset({HIM})}
        assert await rig.eraser.settle()
        assert rig.papers.done == [{"attendance": frozenset({HIM})}]
        assert counters.get("buffer.purged_values.withdrawn") == 1
        assert rig.events() == ["purged"]
        assert subjects(await drain(buffer)) == [HER]
        assert not traces(tmp_path, HIM)


async def test_a_disk_that_refuses_is_asked_again_and_the_cloud_is_told_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        await buffer.append(event(handle=HIM))
        known, refuse = buffer.purge, [True]

        async def purge(who: Any, *, reason: str) -> Any:
            if refuse:
                raise OSError("no space left on device")
            return await known(who, reason=reason)

        monkeypatch.setattr(buffer, "purge", purge)
        answer = await rig.eraser.handle(command())
        assert not answer["ok"]
        assert rig.events() == []
        assert rig.counters.get("buffer.purges_failed") == 1
        refuse.clear()
        # As after a crash: what was ordered is on disk, and is carried out before anything is sent.
        after = Rig(tmp_path, buffer, Papers())
        assert await after.eraser.settle()
        assert after.events() == ["erased"]
        assert not traces(tmp_path, HIM)


async def test_it_tries_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.erasing.RETRY_S", 0.01)
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        known, refusals = buffer.purge, [OSError("read-only file system")] * 2

        async def purge(who: Any, *, reason: str) -> Any:
            if refusals:
                raise refusals.pop()
            return await known(who, reason=reason)

        monkeypatch.setattr(buffer, "purge", purge)
        order = command()
        assert not (await rig.eraser.handle(order))["ok"]
        running = asyncio.create_task(rig.eraser.run())
        try:
            await until(lambda: rig.again == [order])
            assert (await rig.eraser.handle(order))["ok"]
            rig.papers.withdrawn = {"attendance": frozenset({HER})}
            rig.eraser.look()
            await until(lambda: bool(rig.papers.done))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_what_an_order_names_is_remembered_though_the_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order names old requests beside new ones: the oldest that it does not name is the one to be forgotten."""
    monkeypatch.setattr("edge_agent.erasing.MAX_REMEMBERED", 3)
    requests = [f"{number:016x}" for number in range(4)]
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        for serial, request in enumerate(requests[:3], start=1):
            assert (await rig.eraser.handle(command(serial=serial, request=request)))["ok"]
        both = command(serial=4, requests=(requests[0], requests[3]))
        answer = await rig.eraser.handle(both)
        assert [told["request"] for told in answer["erasures"]] == [requests[0], requests[3]]
        assert answer["ok"]
        known = load(tmp_path / "privacy" / "erasures.json", site="school").requests
        assert set(known) == {requests[0], requests[2], requests[3]}
        assert len(rig.forgotten) == 4, "the old one was not carried out again"


async def test_a_damaged_memory_follows_orders_anew(tmp_path: Path) -> None:
    (tmp_path / "privacy").mkdir()
    (tmp_path / "privacy" / "erasures.json").write_bytes(b"\xff not json")
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        assert (await rig.eraser.handle(command()))["ok"]


async def test_whoever_may_publish_cannot_flood_the_audit_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old entries are let go by size: refusals must not push out what was done with data about people."""
    monkeypatch.setattr("edge_agent.auditing.REFUSALS_AN_HOUR", 3)
    async with opened(tmp_path / "buffer") as (buffer, _):
        rig = Rig(tmp_path, buffer, Papers())
        for _ in range(5):
            with pytest.raises(ProtocolError):
                await rig.eraser.handle(command(key=STRANGER))
        assert rig.events() == ["erase_refused"] * 3
        assert rig.counters.get("audit.unwritten_refusals") == 2
        assert (await rig.eraser.handle(command()))["ok"]
        assert rig.events()[3:] == ["erased"]


def test_an_audit_folder_that_cannot_be_used_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "privacy").write_text("a file stands in its place")
    counters = Counters()
    audit = open_audit(tmp_path / "privacy" / "deeper", counters=counters, now_ns=time.time_ns)
    audit("started")
    assert audit.document() is None
    assert counters.get("audit.unwritten") == 1
