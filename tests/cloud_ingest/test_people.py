"""A person's copy, the access log, a stolen gateway, the heads of audit logs: by the program and from its files."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import aiomqtt
import pytest
from typer.testing import CliRunner

from cloud_ingest.access import AccessLog
from cloud_ingest.cardinality import Guard
from cloud_ingest.cli import app
from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.intake import Intake
from cloud_ingest.revoked import LOOK_EVERY_S, REASON, Revocation, Revoked, add, remove
from cloud_ingest.rows import RowMaker
from cloud_ingest.seen import Seen
from cloud_ingest.series import Row, make_series
from cloud_ingest.settings import SeriesSettings
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import ConfigError
from tests.cloud_ingest.conftest import connected_gateway
from tests.cloud_ingest.gateway import GATEWAY, NOW, SITE, attendance, batch, payload_of, topic_of
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud_ingest.conftest import MakeIngest
    from tests.servers import Server

HIM, HER = "ee" * 16, "0f" * 16


async def run(*words: object, code: int = 0) -> str:
    done = await asyncio.to_thread(lambda: CliRunner().invoke(app, [str(word) for word in words]))
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done.output


async def fill(url: str) -> None:
    rows = [
        Row(
            series=make_series(
                name, {"site": SITE, "room": "r101", "device": "r101-door", "subject": (HIM, HER)[n % 2]}
            ),
            time_ns=NOW + n,
            fields={"presence": True} if name == "attendance" else {"heart_rate": 120.0},
        )
        for n in range(10)
        for name in ("attendance", "vitals")
    ]
    store = open_store(url)
    await store.prepare()
    await store.write(rows)
    await store.close()


async def test_a_persons_copy_has_all_of_his_and_nobody_elses(tmp_path: Path) -> None:
    url, data = f"sqlite://{tmp_path}/s.sqlite", tmp_path / "data"
    data.mkdir()
    await fill(url)
    dead = DeadLetters(data / "deadletter.sqlite", max_bytes=10**7, counters=Counters())
    dead.add(
        [Letter(topic=topic_of(one), payload=payload_of(one), reason="r") for one in (attendance(1, HIM), batch(2))]
    )
    dead.add([Letter(topic="t/x", payload=b"no batch", reason="r")])
    dead.close()
    out = tmp_path / "copy.json"
    words = ["--handle", HIM, "--store", url, "--data", data]
    await run("subject", "export", *words, "--out", out, "--reason", "asked for his data")
    copy = json.loads(out.read_text())
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert {name: len(rows) for name, rows in copy["stores"][url].items()} == {"attendance": 5, "vitals": 5}
    assert [letter["time_ns"] for letter in copy["dead_letters"]] == [NOW]
    assert HER not in out.read_text()
    [entry] = AccessLog(data).of(HIM)
    assert (entry["action"], entry["reason"], entry["rows"]) == ("export", "asked for his data", 11)
    assert AccessLog(data).of(HER) == []
    await run("subject", "export", *words, "--out", out, "--reason", "again", code=78)
    await run("subject", "export", "--handle", "62E3086CED", *words[2:], "--out", out, "--reason", "x", code=2)


async def test_who_looks_at_people_is_written_down_first(tmp_path: Path) -> None:
    url, data = f"sqlite://{tmp_path}/s.sqlite", tmp_path / "data"
    data.mkdir()
    await fill(url)
    query = ["query", "--store", url, "--last", "all", "--format", "json", "--measurement"]
    assert HIM in await run(
        *query, "attendance", "--data", data, "--where", f"subject={HIM}", "--reason", "a complaint"
    )
    await run(*query, "attendance", "--data", data)
    await run(*query, "environment", "--data", data)
    await run(*query, "attendance")
    log = AccessLog(data)
    assert [(entry["action"], entry["reason"], entry["rows"]) for entry in log.entries()] == [
        ("query", "a complaint", 5),
        ("query", "unspecified", 10),
    ]
    assert len(log.of(HIM)) == 2
    assert len(log.of(HER)) == 1
    assert not traces(data, HIM)
    assert {stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()} == {0o600}
    # What cannot be written down is not shown.
    (data / "access.jsonl").unlink()
    (data / "access.jsonl").mkdir()
    assert HIM not in await run(*query, "attendance", "--data", data, code=78)


@pytest.mark.parametrize("edit", ["drop", "change", "garbage"])
def test_an_edited_access_log_is_noticed(tmp_path: Path, edit: str) -> None:
    log = AccessLog(tmp_path)
    for number in range(4):
        log.write("query", handle=HIM if number % 2 else None, reason=f"{number}")
    path = tmp_path / "access.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if edit == "drop":
        del lines[1]
    else:
        lines[1] = lines[1].replace(b'"reason": "1"', b'"reason": "9"') if edit == "change" else b"garbage\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match="was edited"):
        log.entries()


async def test_a_stolen_gateway_is_refused_and_who_is_affected_is_told(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    ingest = await make_ingest(mosquitto, url)
    devices = {"devices": [{"name": "r101-door", "room": "r101"}]}
    async with connected_gateway(mosquitto) as gateway, aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.publish(f"campus/v1/{SITE}/{GATEWAY}/devices", json.dumps(devices), qos=1, retain=True)
        await gateway.send(attendance(1, HIM), attendance(2, HER, NOW + 1), attendance(3, HIM, NOW + 2))
        await gateway.stored(3)
        out = tmp_path / "affected.json"
        where = ["--site", SITE, "--mqtt", f"mqtt://{mosquitto.authority}", "--store", url, "--data", ingest.data]
        told = await run("gateway", "compromised", GATEWAY, *where, "--out", out)
        assert "attendance: 2 people's rows came from its devices, 3 rows" in told
        assert "all 2 people of the site" in told
        assert json.loads(out.read_text())["handles"] == {"attendance": {HER: 1, HIM: 2}}
        assert HIM not in told
        await asyncio.sleep(2 * LOOK_EVERY_S)
        await gateway.send(attendance(4, HIM, NOW + 9))
        await gateway.refused(4)
        letters = json.loads(await run("deadletter", "list", "--data", ingest.data, "--json"))
        assert [letter["reason"] for letter in letters] == ["gateway_revoked"]
        await run("gateway", "reinstate", GATEWAY, "--site", SITE, "--data", ingest.data)
        await asyncio.sleep(2 * LOOK_EVERY_S)
        await gateway.send(attendance(5, HER, NOW + 10))
        await gateway.stored(5)
        await run("gateway", "reinstate", GATEWAY, "--site", SITE, "--data", ingest.data, code=1)
        await run("gateway", "compromised", "gw-999", *where, code=69)
        told = await run("gateway", "compromised", "gw-999", *where, "--device", "r101/r101-door")
        assert "2 people's rows" in told


async def test_a_stolen_gateway_uses_up_no_series(tmp_path: Path) -> None:
    """Those of the site are limited: what is refused must not take them from honest gateways."""
    counters, seen = Counters(), Seen(tmp_path / "seen.sqlite", per_gateway=100)
    guard = Guard(tmp_path / "series.sqlite", SeriesSettings(), counters)
    acks = Mock(flush=AsyncMock())
    intake = Intake(
        maker=RowMaker(guard=guard, counters=counters),
        seen=seen,
        acks=acks,
        counters=counters,
        revoked=lambda site, gateway: (site, gateway) == (SITE, GATEWAY),
    )
    intake.route(filer=Mock(**{"has_room.return_value": True}), routes={})
    for one in (batch(1), batch(2, gateway="gw-102")):
        await intake.accept(Mock(topic=topic_of(one), payload=payload_of(one)))
        assert counters.get("series.new_devices") == (0 if one.number == 1 else 1)
    assert counters.get("intake.revoked_gateways") == 1
    seen.close()
    guard.close()


async def test_letters_of_a_stolen_gateway_are_replayed_only_by_their_numbers(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "deadletter.sqlite", max_bytes=1 << 20, counters=Counters())
    dead.add([Letter(topic=topic_of(batch(1)), payload=payload_of(batch(1)), reason=REASON)])
    dead.close()
    where = ("--data", tmp_path, "--store", f"sqlite://{tmp_path}/store.sqlite", "--json")
    (left,) = json.loads(await run("deadletter", "replay", *where, code=1))
    assert left["reason"].startswith(REASON)
    assert "name the letter's number" in left["reason"]
    (stored,) = json.loads(await run("deadletter", "replay", "1", *where))
    assert stored["stored"]


def test_a_damaged_list_of_stolen_gateways_lets_nobody_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_ingest.revoked.LOOK_EVERY_S", 0.0)
    revoked = Revoked(tmp_path)
    assert not revoked(SITE, GATEWAY)
    add(tmp_path, Revocation(site=SITE, gateway=GATEWAY, at_ns=NOW))
    assert revoked(SITE, GATEWAY)
    assert not revoked(SITE, "gw-102")
    assert stat.S_IMODE((tmp_path / "revoked.json").stat().st_mode) == 0o600
    good = (tmp_path / "revoked.json").read_bytes()
    (tmp_path / "revoked.json").write_bytes(b"{cut short")
    assert revoked(SITE, GATEWAY)
    (tmp_path / "revoked.json").write_bytes(good)
    assert remove(tmp_path, SITE, GATEWAY)
    assert not revoked(SITE, GATEWAY)


async def test_heads_come_with_health_and_a_rewritten_log_is_flagged(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite")
    topic = f"campus/v1/{SITE}/{GATEWAY}/health"
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        for payload in (b"{}", b"[", b'{"audit":{"n":-1,"hash":"x"}}', b'{"audit":null}', b"x" * 2_000_000):
            await client.publish(topic, payload, qos=1)
        for n, digit in ((3, "a"), (3, "b"), (2, "c")):
            await client.publish(topic, json.dumps({"audit": {"n": n, "hash": digit * 64}}), qos=1)

        async def flagged() -> str:
            return await run("audit", "flags", "--data", ingest.data, "--gateway", GATEWAY, code=1)

        async with asyncio.timeout(10):
            while "3 heads" not in await run("audit", "heads", "--data", ingest.data):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.1)
    assert "rewritten" in await flagged()
    assert "shortened" in await flagged()
    heads = json.loads(await run("audit", "heads", "--data", ingest.data, "--json"))
    assert [(head["n"], head["step"]) for head in heads] == [(3, "first"), (3, "rewritten"), (2, "shortened")]
    await run("audit", "flags", "--data", ingest.data, "--gateway", "another")
    await run("audit", "heads", "--data", tmp_path / "nothing", code=78)
    assert await ingest.stop() == 0
    assert json.loads((ingest.data / "counters.json").read_text())["counters"]["audit.bad_health"] == 3
