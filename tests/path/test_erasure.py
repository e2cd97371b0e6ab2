"""One pupil is erased while data flow and one of three gateways is off: he is nowhere left, and nobody else changes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from edge_agent.buffer import read_status
from tests.edge_agent.buffer.traces import traces
from tests.edge_agent.privacy.files import SITE, consents_text, handle, policy_text, signed, write_documents, write_keys
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.held import Shelf
    from tests.servers import MakeServer, Server

PROGRAMS = Path(sys.executable).parent
HIS_CARD = "62E3086CED"
CARDS = ["0A0012ABCD", "0B0012ABCE", "0C0012ABCF"]
HIM = handle("attendance", HIS_CARD)
OTHERS = [handle("attendance", card) for card in CARDS]
MAX_BYTES = 64_000_000
COUNT = """
SELECT count(*) FROM (SELECT DISTINCT series, time_ns FROM value JOIN series ON series = series.id
WHERE measurement = 'attendance')
"""
AGENT = """
site = "{site}"
gateway = "{name}"
window_s = 1.0
[mqtt]
url = "mqtt://{broker}"
[buffer]
path = "{folder}/buffer"
max_bytes = 64000000
[privacy]
key_file = "{folder}/keys.toml"
cloud_key = "{cloud_key}"
{documents}
[clock]
assume_synced = true
[health]
period_s = 0.5
[log]
level = "debug"
[[link]]
name = "usb"
kind = "serial"
path = "{reader}"
[[device]]
name = "gate"
room = "{name}"
profile = "rfid/rdm6300"
link = "usb"
"""
INGEST = """
data = "{folder}/ingest"
[mqtt]
url = "mqtt://{broker}"
client_id = "ingest-1"
[store]
url = "sqlite:///{folder}/store.db"
[erasure]
backups = ["tape in the cellar, rewritten each month"]
"""


class Gateway:
    """A gateway with a card reader; its agent is started as often as a test wants."""

    def __init__(self, name: str, root: Path, devices: Shelf, broker: Server, cloud_key: Path) -> None:
        self.name = name
        self.folder = root / name
        self.folder.mkdir()
        self.reader = devices("rdm6300")
        write_keys(self.folder / "keys.toml", "attendance")
        documents = write_documents(self.folder, policy=policy_text(), consents=[HIM, *OTHERS])
        self.config = self.folder / "agent.toml"
        self.config.write_text(
            AGENT.format(
                site=SITE, name=name, broker=broker.authority, folder=self.folder, cloud_key=cloud_key,
                documents=documents, reader=self.reader.link,
            ),
            encoding="utf-8",
        )  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAMS / "edge-agent", "run", "--config", self.config], stderr=log)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)

    async def tap(self, card: str) -> None:
        """Lay a card on the reader, again and again until the agent's link is open and takes it."""

        def lay() -> bool:
            number = self.reader.present(card)
            while not (mine := [said for said in self.reader.said() if said["n"] == number]):
                time.sleep(0.05)
            return bool(mine[0]["delivered"])

        async with asyncio.timeout(30):
            while not await asyncio.to_thread(lay):  # noqa: ASYNC110 - the simulator sends no event
                await asyncio.sleep(0.2)

    def withdraw(self, *still: str) -> None:
        """The officer's new list, without those who are not named."""
        fresh = self.folder / "consents.new"
        fresh.write_bytes(signed(consents_text(*still, serial=2)))
        fresh.replace(self.folder / "consents.toml")

    def waiting(self) -> int:
        return read_status(self.folder / "buffer", max_bytes=MAX_BYTES).values


class Cloud:
    """The ingest and its command line."""

    def __init__(self, root: Path, broker: Server) -> None:
        self.root = root
        self.data = root / "ingest"
        self.config = root / "ingest.toml"
        self.config.write_text(INGEST.format(folder=root, broker=broker.authority), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.root / "ingest.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAMS / "cloud-ingest", "run", "--config", self.config], stderr=log)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)

    async def run(self, *words: str | Path, expect: int = 0) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [PROGRAMS / "cloud-ingest", *words], capture_output=True, timeout=90, check=False
        )
        assert done.returncode == expect, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    def stored(self) -> int:
        """Rows in the store; 0 until there is one."""
        address = f"file:{self.root}/store.db?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
                return int(db.execute(COUNT).fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    async def rows(self) -> list[dict[str, Any]]:
        store = f"sqlite:///{self.root}/store.db"
        words = ["query", "--store", store, "--measurement", "attendance", "--last", "all", "--format", "json"]
        rows: list[dict[str, Any]] = json.loads(await self.run(*words))
        return rows


@pytest.fixture
def school(
    tmp_path: Path, make_mosquitto: MakeServer, campus_device: Shelf
) -> Iterator[tuple[Server, Cloud, list[Gateway]]]:
    broker = make_mosquitto()
    cloud = Cloud(tmp_path, broker)
    subprocess.run(
        [PROGRAMS / "cloud-ingest", "erase", "keygen", "--data", cloud.data], check=True, capture_output=True
    )
    names = ("gw-1", "gw-2", "gw-3")
    gateways = [Gateway(name, tmp_path, campus_device, broker, cloud.data / "cloud.pub") for name in names]
    try:
        yield broker, cloud, gateways
    finally:
        for one in (*gateways, cloud):
            one.stop()


async def retained(broker: Server) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async with aiomqtt.Client(broker.host, broker.port, identifier="auditor") as client:
        await client.subscribe("campus/#")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                async for message in client.messages:
                    if message.retain:
                        found[message.topic.value] = bytes(message.payload)  # type: ignore[arg-type]
    return found


async def reading(broker: Server, names: set[str]) -> None:
    """Return when the gateways' readers are open."""
    waiting = set(names)
    async with asyncio.timeout(30), aiomqtt.Client(broker.host, broker.port, identifier="waiter") as client:
        await client.subscribe(f"campus/v1/{SITE}/+/health")
        async for message in client.messages:
            health = json.loads(bytes(message.payload))  # type: ignore[arg-type]
            if health["devices"]["gate"]["state"] == "up":
                waiting.discard(health["gateway"])
            if not waiting:
                return


async def poison(broker: Server) -> None:
    """A batch with a row of his and one of somebody else from the year 2100: both become dead letters."""
    samples = [
        {"acquired_at_ns": 4_102_444_800 * 10**9 + n, "values": {"presence": True}, "subject": who}
        for n, who in enumerate([HIM, OTHERS[0]])
    ]
    device = {
        "device": "gate", "room": "gw-1", "profile": "rfid/rdm6300@1.0.0", "measurement": "attendance",
        "quantities": {"presence": "presence"}, "samples": samples,
    }  # fmt: skip
    batch = {
        "schema": "campus.batch/1", "site": SITE, "gateway": "gw-1", "epoch": "f" * 16, "batch": 1,
        "class": "personal", "devices": [device],
    }  # fmt: skip
    async with aiomqtt.Client(broker.host, broker.port, identifier="poisoner") as client:
        await client.publish(f"campus/v1/{SITE}/gw-1/telemetry/personal/live", json.dumps(batch), qos=1)


async def test_one_pupil_is_erased_everywhere_and_nobody_else_changes(
    school: tuple[Server, Cloud, list[Gateway]], tmp_path: Path
) -> None:
    broker, cloud, gateways = school
    before = await _everybody_everywhere(broker, cloud, gateways)

    # Others go on tapping while he is erased.
    for one in gateways:
        one.withdraw(*OTHERS)
    flowing = asyncio.create_task(_flow(gateways[:2]))
    text = await cloud.run("erase", "--handle", HIM, "--config", cloud.config, "--json", expect=1)
    receipt = json.loads(text)
    _tells_what_was_found(receipt)
    online = [tmp_path / "ingest", tmp_path / "gw-1", tmp_path / "gw-2"]
    await until(lambda: not any(traces(folder, HIM) for folder in online), within_s=10)
    assert not [name for name in ("store.db", "store.db-wal", "ingest.log") if _holds(tmp_path / name)]
    assert f"campus/v1/{SITE}/gw-3/command/erase" in await _retained_without_him(broker)

    # The third gateway returns.
    gateways[2].start()
    await reading(broker, {gateways[2].name})  # nobody waits for one that is still offline
    text = await cloud.run("erase", "status", receipt["request"], "--config", cloud.config, "--wait", "30")
    assert "complete" in text
    flowing.cancel()
    await asyncio.gather(flowing, return_exceptions=True)
    for one in (*gateways, cloud):
        one.stop()
    after = await cloud.rows()

    assert not [path for path in traces(tmp_path, HIM) if not path.startswith("mosquitto")]
    assert not [topic for topic in await _retained_without_him(broker) if "/command" in topic]
    kept = [row for row in before if row["subject"] != HIM]
    assert len(kept) == 11
    assert [row for row in after if row in kept] == kept
    assert [row["subject"] for row in after if row["room"] == "gw-3"].count(OTHERS[0]) == 2
    assert len({(row["room"], row["subject"], row["time_ns"]) for row in after}) == len(after)
    await _receipt_can_be_checked(cloud, receipt["request"])
    await _audit_is_whole(cloud, gateways[0])


async def _everybody_everywhere(broker: Server, cloud: Cloud, gateways: list[Gateway]) -> list[dict[str, Any]]:
    """Bring him into the store, the dead letters and all buffers; switch gw-3 off; return the rows that are stored."""
    for one in (cloud, *gateways):
        one.start()
    await reading(broker, {one.name for one in gateways})
    for card in (HIS_CARD, *CARDS):
        for one in gateways:
            await one.tap(card)
    await until(lambda: cloud.stored() == 12, within_s=40)
    await poison(broker)
    await until(lambda: HIM.encode() in _bytes_of(cloud.data), within_s=10)
    # The ingest is away: what is measured now waits in the buffers, and gw-3 is switched off with it.
    cloud.stop()
    for card in (HIS_CARD, CARDS[0]):
        for one in gateways:
            await one.tap(card)
    await until(lambda: all(one.waiting() == 2 for one in gateways), within_s=20)
    gateways[2].stop()
    assert traces(gateways[2].folder / "buffer", HIM)
    cloud.start()
    await until(lambda: cloud.stored() == 16, within_s=40)
    return await cloud.rows()


def _tells_what_was_found(receipt: dict[str, Any]) -> None:
    assert receipt["pending"] == {"gateways": ["gw-3"], "workers": [], "stores": []}
    assert not receipt["complete"]
    store = next(place for place in receipt["places"] if place["place"].startswith("store"))
    assert store["found_rows"] == {"attendance": 5}
    assert store["verified"].endswith("0 traces")
    letters = [place for place in receipt["places"] if "found_letters" in place]
    assert sum(place["found_letters"] for place in letters) == 1
    assert receipt["handed_over"]["backups"] == ["tape in the cellar, rewritten each month"]


async def _retained_without_him(broker: Server) -> dict[str, bytes]:
    found = await retained(broker)
    assert not [topic for topic, payload in found.items() if HIM.encode() in payload]
    return found


async def _receipt_can_be_checked(cloud: Cloud, request: str) -> None:
    path, key = cloud.data / "erasures" / f"{request}.receipt", cloud.data / "cloud.pub"
    said = await cloud.run("erase", "verify", path, "--key", key, "--handle", HIM)
    assert "complete: yes" in said
    await cloud.run("erase", "verify", path, "--key", key, "--handle", OTHERS[0], expect=1)
    receipt = json.loads(path.read_bytes())
    receipt["places"][0]["found_rows"] = {}
    forged = cloud.root / "forged.json"
    forged.write_text(json.dumps(receipt), encoding="utf-8")
    await cloud.run("erase", "verify", forged, "--key", key, expect=1)
    receipt["signature"]["value"] = base64.b64encode(bytes(64)).decode()
    forged.write_text(json.dumps(receipt), encoding="utf-8")
    await cloud.run("erase", "verify", forged, "--key", key, expect=1)


async def _audit_is_whole(cloud: Cloud, gateway: Gateway) -> None:
    heads = cloud.root / "heads.json"
    heads.write_text(await cloud.run("audit", "heads", "--data", cloud.data, "--json"), encoding="utf-8")
    await cloud.run("audit", "flags", "--data", cloud.data)
    command = [PROGRAMS / "edge-agent", "privacy", "audit", "verify", "--config", gateway.config, "--heads", heads]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    log = (gateway.folder / "privacy" / "audit.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert {"started", "document_accepted", "purged", "erased", "stopped"} <= set(events)
    (gateway.folder / "privacy" / "audit.jsonl").write_text(log.replace('"event":"erased"', '"event":"erazed"'))
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert b"altered: entry" in done.stdout


async def _flow(gateways: list[Gateway]) -> None:
    while True:
        for one in gateways:
            for card in CARDS[1:]:
                await one.tap(card)
        await asyncio.sleep(0.3)


def _bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("deadletter.sqlite*"))


def _holds(path: Path) -> bool:
    return path.exists() and HIM.encode() in path.read_bytes()
