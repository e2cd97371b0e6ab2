"""The agent as a process and its officer: documents by MQTT and by file, a withdrawal, forgeries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from tests.edge_agent.privacy.files import (
    STRANGER,
    consents_text,
    handle,
    policy_text,
    signed,
    write_documents,
    write_keys,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from simulators.held import HeldDevice, Shelf
    from tests.servers import MakeServer, Server

pytestmark = pytest.mark.server("mosquitto")
CARD, OTHER = "62E3086CED", "62E3086CEE"
GAP_S = 1.2
TOPICS = "campus/v1/demo-school/gw-101"
CONFIG = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://{broker}"
[buffer]
path = "{folder}/buffer"
[privacy]
key_file = "{folder}/keys.toml"
{documents}
[clock]
assume_synced = true
[health]
period_s = 0.3
[[link]]
name = "usb"
kind = "serial"
path = "{reader}"
[[device]]
name = "gate"
room = "hall"
profile = "rfid/rdm6300"
link = "usb"
"""


class Office:
    """The officer's end of MQTT, which also acknowledges every batch as stored."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.health: dict[str, Any] = {}
        self.replies: list[dict[str, Any]] = []
        self.subjects: list[str] = []

    async def listen(self) -> None:
        async for message in self._client.messages:
            payload = json.loads(bytes(message.payload))  # type: ignore[arg-type]
            match str(message.topic).split("/")[4:]:
                case ["health"]:
                    self.health = payload
                case ["reply"]:
                    self.replies.append(payload)
                case ["telemetry", *_]:
                    samples = [sample for device in payload["devices"] for sample in device["samples"]]
                    self.subjects += [sample["subject"] for sample in samples if "subject" in sample]
                    ack = {"epoch": payload["epoch"], "time_ns": 1, "stored": [[payload["batch"]] * 2]}
                    await self._client.publish(f"{TOPICS}/stored", json.dumps(ack), qos=1)

    async def send(self, document: bytes, *, retain: bool = False) -> dict[str, Any]:
        before = len(self.replies)
        command = {"schema": "campus.command/1", "kind": "document", "id": str(before), "text": document.decode()}
        await self._client.publish(f"{TOPICS}/command", json.dumps(command), qos=1, retain=retain)
        await until(lambda: len(self.replies) > before, within_s=10)
        assert self.replies[-1]["id"] == str(before)
        return self.replies[-1]

    async def tap(self, reader: HeldDevice, card: str) -> str:
        """Return what became of a card: its subject, or the counter that grew."""
        withheld, subjects = self._withheld(), len(self.subjects)
        # The reader tells one presence from the next by this gap, and nothing says when it is over.
        await asyncio.sleep(GAP_S)
        reader.present(card, frames=6)
        await until(lambda: len(self.subjects) > subjects or self._withheld() != withheld, within_s=10)
        if len(self.subjects) > subjects:
            return self.subjects[-1]
        (grown,) = [name for name, count in self._withheld().items() if count > withheld.get(name, 0)]
        return grown.removeprefix("gate.withheld.personal.")

    def _withheld(self) -> dict[str, int]:
        counters = self.health.get("counters", {})
        return {name: count for name, count in counters.items() if name.startswith("gate.withheld.")}


@contextlib.asynccontextmanager
async def office(broker: Server) -> AsyncIterator[Office]:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for topic in ("health", "reply", "telemetry/#"):
            await client.subscribe(f"{TOPICS}/{topic}", qos=1)
        found = Office(client)
        task = asyncio.create_task(found.listen())
        try:
            yield found
        finally:
            # asyncio.wait_for of Python 3.11, which aiomqtt uses to publish, may swallow a cancellation.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.1)


@contextlib.contextmanager
def agent(folder: Path, broker: Server, reader: HeldDevice, consents: str) -> Iterator[Path]:
    """Run an agent whose log is at the path that is yielded; it must end in order."""
    write_keys(folder / "keys.toml", "attendance")
    documents = write_documents(folder, policy=policy_text(), consents=consents)
    config, log = folder / "agent.toml", folder / "agent.log"
    text = CONFIG.format(broker=broker.authority, folder=folder, documents=documents, reader=reader.link)
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, log.read_text()
        finally:
            process.kill()


async def test_what_leaves_follows_the_officers_documents(
    tmp_path: Path, campus_device: Shelf, make_mosquitto: MakeServer
) -> None:
    broker, reader = make_mosquitto(), campus_device("rdm6300")
    consented = [handle("attendance", card) for card in (CARD, OTHER)]
    async with office(broker) as officer:
        with agent(tmp_path, broker, reader, consents_text(*consented, serial=1)) as log:
            await until(lambda: bool(officer.health), within_s=15)
            assert officer.health["gate_closed_for_people"] is None
            assert officer.health["documents"]["consents"]["state"] == "in_force"
            assert await officer.tap(reader, CARD) == consented[0]
            # A withdrawal over MQTT: from its reply on nothing of him leaves, the others are not concerned.
            reply = await officer.send(signed(consents_text(consented[1], serial=2)))
            assert (reply["ok"], reply["document"], reply["serial"]) == (True, "consents", 2)
            assert await officer.tap(reader, CARD) == "no_consent"
            assert await officer.tap(reader, OTHER) == consented[1]
            # Forged, or played again from before the withdrawal: refused, and what is in force stays.
            for document, told in (
                (signed(consents_text(*consented, serial=3), STRANGER), "not trusted here"),
                (signed(consents_text(*consented, serial=1)), "serial 2 was accepted before"),
            ):
                refused = await officer.send(document)
                assert not refused["ok"]
                assert told in refused["text"]
            assert await officer.tap(reader, OTHER) == consented[1]
            # A forged file closes the gate within a second, and health says why.
            (tmp_path / "fresh").write_bytes(signed(policy_text(serial=2), STRANGER))
            os.replace(tmp_path / "fresh", tmp_path / "policy.toml")  # noqa: PTH105
            await until(lambda: officer.health["gate_closed_for_people"] is not None, within_s=10)
            assert "not trusted here" in officer.health["gate_closed_for_people"]
            assert officer.health["documents"]["policy"]["state"] == "refused"
            assert await officer.tap(reader, OTHER) == "document_forged"
            assert (await officer.send(signed(policy_text(serial=3))))["ok"]
            await until(lambda: officer.health["gate_closed_for_people"] is None, within_s=10)
            assert await officer.tap(reader, OTHER) == consented[1]
    said = log.read_text()
    assert CARD not in said
    assert OTHER not in said
