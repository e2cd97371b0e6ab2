"""`cloud-ingest erase` as people use it: several workers, gateways that answer or do not, and what may fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import pytest
from typer.testing import CliRunner

from cloud_ingest.cli import app
from cloud_ingest.erasure.exchange import Presence
from telemetry.erasure import Erased, decode_order
from telemetry.sample import DataClass
from telemetry.signed import read_public_key
from tests.cloud_ingest.conftest import connected_gateway
from tests.cloud_ingest.gateway import NOW, SITE, attendance, batch, block, sample
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cloud_ingest.conftest import IngestProcess, MakeIngest
    from tests.servers import Server

HIM, HER = "ee" * 16, "0f" * 16


class Office:
    """Runs the program with one data folder."""

    def __init__(self, data: Path, broker: str, store: str) -> None:
        self.data = data
        self.where = ["--mqtt", broker, "--store", store, "--data", str(data)]
        self.store = store

    async def run(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        done = await asyncio.to_thread(lambda: CliRunner().invoke(app, list(words), env=env))
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done.output

    async def erase(self, *words: str, code: int = 0) -> dict[str, Any]:
        output = await self.run("erase", "--handle", HIM, "--site", SITE, "--json", *words, *self.where, code=code)
        return json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]

    async def status(self, request: str, *words: str, code: int = 0) -> dict[str, Any]:
        output = await self.run("erase", "status", request, "--json", *words, *self.where, code=code)
        return json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]

    async def people(self) -> list[str]:
        words = ["query", "--store", self.store, "--measurement", "attendance", "--last", "all", "--format", "json"]
        return sorted(row["subject"] for row in json.loads((await self.run(*words)).splitlines()[0]))


@contextlib.asynccontextmanager
async def obedient(broker: Server, office: Office, name: str = "gw-101") -> AsyncIterator[list[str]]:
    """A gateway that follows orders; the list tells which requests it was given."""
    given: list[str] = []
    public = read_public_key((office.data / "cloud.pub").read_text())
    async with aiomqtt.Client(broker.host, broker.port, identifier=f"obedient-{name}") as client:
        await client.publish(f"campus/v1/{SITE}/{name}/status", b'{"state":"online"}', qos=1, retain=True)
        await client.subscribe(f"campus/v1/{SITE}/{name}/command/erase", qos=1)

        async def obey() -> None:
            async for message in client.messages:
                if not message.payload:
                    given.append("cleared")
                    continue
                text = json.loads(bytes(message.payload))["text"]  # type: ignore[arg-type]
                order = decode_order(text, {public.key_id: public}, site=SITE, target=name, now_ns=NOW)
                assert any(Erased([erasure])(HIM) for erasure in order.erasure)
                given.extend(erasure.request for erasure in order.erasure)
                done = [{"request": erasure.request, "at_ns": NOW, "values": 7} for erasure in order.erasure]
                reply = {"schema": "campus.reply/1", "kind": "erase", "ok": True, "erasures": done}
                await client.publish(f"campus/v1/{SITE}/{name}/reply", json.dumps(reply), qos=1)

        obeying = asyncio.create_task(obey())
        try:
            yield given
        finally:
            obeying.cancel()
            await asyncio.gather(obeying, return_exceptions=True)
            await client.publish(f"campus/v1/{SITE}/{name}/status", b'{"state":"offline"}', qos=1, retain=True)


def offices(tmp_path: Path, broker: Server, ingest: IngestProcess) -> Office:
    return Office(ingest.data, f"mqtt://{broker.authority}", f"sqlite://{tmp_path}/store.sqlite")


async def test_two_workers_confirm_and_a_gateway_that_returns(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    public = str(tmp_path / "i0" / "ingest" / "cloud.pub")
    more = {"CAMPUS_INGEST_MQTT__SHARE_GROUP": "w", "CAMPUS_INGEST_ERASURE__TRUSTED_KEY": public}
    workers = [await make_ingest(mosquitto, url, CAMPUS_INGEST_MQTT__CLIENT_ID=f"w-{n}", **more) for n in range(2)]
    office = offices(tmp_path, mosquitto, workers[0])
    await office.run("erase", "keygen", "--data", str(office.data))
    async with connected_gateway(mosquitto) as gateway:
        taps = [attendance(n, HIM if n % 2 else HER, NOW + n * 10**9) for n in range(1, 21)]
        await gateway.send(*taps)
        for number in range(1, 21):
            await gateway.stored(number)
        future = block(
            [sample(NOW * 2, {"presence": True}, subject=HIM)], measurement="attendance",
            quantities={"presence": "presence"},
        )  # fmt: skip
        await gateway.send(*(batch(n, [future], data_class=DataClass.PERSONAL) for n in range(30, 40)))
        for number in range(30, 40):
            await gateway.refused(number)
        assert all(traces(worker.data, HIM) for worker in workers), "each has dead letters of his"

        receipt = await office.erase("--wait", "5", code=1)

        assert receipt["pending"] == {"gateways": ["gw-101"], "workers": [], "stores": []}
        assert await office.people() == [HER] * 10
        assert not [worker.data for worker in workers if traces(worker.data, HIM)]
        # What a buffer still sends of him is acknowledged and dropped.
        await gateway.send(*(attendance(n, HIM, NOW + n * 10**9) for n in range(50, 60)), attendance(60, HER))
        for number in range(50, 61):
            await gateway.stored(number)
        assert await office.people() == [HER] * 11

    async with obedient(mosquitto, office) as given:
        receipt = await office.status(receipt["request"], "--wait", "5")
        assert (given[0], given[-1]) == (receipt["request"], "cleared")
    assert receipt["complete"]
    [buffer] = [place for place in receipt["places"] if place["place"].startswith("gateway")]
    assert buffer["found_values"] == 7
    assert "complete" in await office.run("erase", "status", *office.where)
    found = await office.run("erase", "scan", receipt["request"], "--path", str(tmp_path), "--data", str(office.data))
    assert found.startswith("0 files")
    for worker in workers:
        assert await worker.stop() == 0


async def test_a_worker_that_is_away_is_pending_until_it_returns(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    ingest = await make_ingest(mosquitto, url)
    office = offices(tmp_path, mosquitto, ingest)
    await office.run("erase", "keygen", "--data", str(office.data))
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(attendance(1, HIM), attendance(2, HER))
        await gateway.stored(2)
    assert await ingest.stop() == 0
    receipt = await office.erase("--wait", "0.2", "--without-gateway", "gw-101", code=1)
    assert receipt["pending"] == {"gateways": [], "workers": ["ingest-1"], "stores": []}
    assert await office.people() == [HER]
    await ingest.start()
    receipt = await office.status(receipt["request"], "--without-gateway", "gw-101")
    assert receipt["complete"]
    # Two requests for one gateway stand in one order.
    second = await office.erase("--wait", "0.2", code=1)
    third = await office.erase("--wait", "0.2", code=1)
    async with obedient(mosquitto, office) as given:
        assert (await office.status(second["request"]))["complete"]
        assert (await office.status(third["request"]))["complete"]
        assert {second["request"], third["request"]} <= set(given)
    # It was the wrong one after all.
    async with connected_gateway(mosquitto) as gateway:
        for request in (receipt["request"], second["request"], third["request"]):
            await office.run("erase", "lift", request, *office.where)
        # The worker hears of it a moment later; until then his rows are still dropped.
        async with asyncio.timeout(20):
            for number in itertools.count(5):
                await gateway.send(attendance(number, HIM, NOW + number))
                await gateway.stored(number)
                if await office.people() == sorted([HER, HIM]):
                    break


async def test_what_may_be_wrong_is_said_before_anything_is_done(tmp_path: Path, mosquitto: Server) -> None:
    office = Office(tmp_path / "data", f"mqtt://{mosquitto.authority}", f"sqlite://{tmp_path}/s.sqlite")
    told = await office.run("erase", "--handle", HIM, "--site", SITE, *office.where, code=78)
    assert "cloud-ingest erase keygen" in told
    assert not (tmp_path / "data" / "erasures").exists()
    await office.run("erase", "keygen", "--data", str(office.data))
    assert "exists already" in await office.run("erase", "keygen", "--data", str(office.data), code=78)
    (office.data / "cloud.pem").chmod(0o644)
    assert "chmod 600" in await office.run("erase", "--handle", HIM, "--site", SITE, *office.where, code=78)
    (office.data / "cloud.pem").chmod(0o600)
    many = [word for n in range(201) for word in ("--handle", f"{n:032x}")]
    for words in (many, ["--handle", "62E3086CED"], [], ["--handle", HIM], ["--handle", HIM, "--site", "a b"]):
        told = await office.run("erase", *words, *office.where, code=2)
        assert "62E3086CED" not in told
    assert "not known here" in await office.run("erase", "status", "0" * 16, *office.where, code=78)
    # Without a broker nothing is erased, and nothing is forgotten either.
    nowhere = Office(office.data, "mqtt://[::1]:1", office.store)
    told = await nowhere.run("erase", "--handle", HIM, "--site", SITE, *nowhere.where, code=69)
    assert "no connection to the broker" in told
    request = (await office.run("erase", "status", *office.where)).split()[0]
    assert request in told
    assert (await office.status(request, "--wait", "0.1"))["complete"]


def test_a_worker_that_fell_silent_does_not_run() -> None:
    from cloud_ingest.erasure.exchange import Heard

    heard = Heard(workers={"w": Presence(worker="w", state="online", at_ns=NOW - 10**12)})
    assert heard.running() == set()
    assert msgspec.json.encode(heard.workers["w"])


@pytest.mark.parametrize("document", [b"[]", b'{"schema":1}', b"\xff"])
async def test_hostile_answers_are_passed_over(mosquitto: Server, tmp_path: Path, document: bytes) -> None:
    office = Office(tmp_path / "data", f"mqtt://{mosquitto.authority}", f"sqlite://{tmp_path}/s.sqlite")
    await office.run("erase", "keygen", "--data", str(office.data))
    async with aiomqtt.Client(mosquitto.host, mosquitto.port, identifier="evil") as client:
        for topic in ("_cloud/worker/w", f"{SITE}/gw-9/status", f"{SITE}/gw-9/devices", f"{SITE}/_cloud/erase/x/w"):
            await client.publish(f"campus/v1/{topic}", document, qos=1, retain=True)
    receipt = await office.erase("--wait", "0.2", code=1)
    assert receipt["pending"]["gateways"] == ["gw-9"]
