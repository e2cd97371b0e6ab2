"""The agent as a process on a machine whose clock is wrong: in 1970, set while it runs, with NTP blocked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.edge_agent.publisher.conftest import certificates  # noqa: F401 - a fixture
from tests.path import test_agent_alone
from tests.path.test_agent_alone import Gateway, delivered, hearing, ingest, stored
from tests.servers import free_port, wait_for_port
from tests.waiting import until

if TYPE_CHECKING:
    from tests.servers import MakeServer

gateway = test_agent_alone.gateway
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
IN_1970 = "@1970-01-01 00:01:00"


class Calendar:
    """The system's clock as the agent sees it, set while it runs; CLOCK_BOOTTIME is as it is."""

    def __init__(self, folder: Path) -> None:
        self.file, self.flag = folder / "faketime", folder / "synchronised"
        self.set(IN_1970)

    def set(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{text}\n", encoding="ascii")
        fresh.replace(self.file)

    def command(self, gateway: Gateway, broker: str, *, tls: str = "", level: str = "info") -> list[str]:
        command = gateway.command(broker, level=level)
        config = gateway.folder / "agent.toml"
        text = config.read_text(encoding="utf-8").replace("assume_synced = true", f'sync_file = "{self.flag}"')
        if tls:
            text = text.replace("mqtt://", "mqtts://").replace("[buffer]", f"{tls}\n[buffer]")
        config.write_text(text, encoding="utf-8")
        environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        return ["env", *(f"{name}={value}" for name, value in environment.items()), *command]


@pytest.fixture
def calendar(tmp_path: Path) -> Calendar:
    return Calendar(tmp_path)


def errors_s(gateway: Gateway, rows: list[dict[str, Any]]) -> list[float]:
    """By how much each reading's time is before the device's answer to it; what was stored twice fails."""
    answered = {round(said["values"]["co2"], 3): said["at_ns"] for said in gateway.box.said() if said["delivered"]}
    times = {round(row["co2"], 3): row["time_ns"] for row in rows if "co2" in row}
    assert len({row["time_ns"] for row in rows}) == len(rows)
    return [(answered[co2] - at_ns) / 1e9 for co2, at_ns in times.items() if co2 in answered]


@pytest.mark.server("mosquitto", "faketime")
async def test_pain_15_a_boot_in_1970_kill_9_a_restart_and_then_ntp(
    gateway: Gateway,
    calendar: Calendar,
    make_mosquitto: MakeServer,
    tmp_path: Path,
) -> None:
    mosquitto = make_mosquitto()
    async with hearing(mosquitto, "health") as heard:
        with ingest(tmp_path, mosquitto) as store:
            command = calendar.command(gateway, mosquitto.authority)
            with gateway.running(command) as agent:
                await until(lambda: heard and heard[-1]["time"]["waiting_samples"] >= 5, within_s=20)
                assert heard[-1]["clock"] == "unsynced"
                assert heard[-1]["at_ns"] < 86_400 * 10**9
                await asyncio.sleep(2.1)  # the window: what is younger may be lost
                before = delivered(gateway.box)
                agent.kill()
            heard.clear()
            with gateway.running(command):
                await until(lambda: heard and heard[-1]["time"]["waiting_samples"] >= 10, within_s=20)
                calendar.set("+0")
                await until(lambda: heard[-1]["uptime_s"] > 3, within_s=10)
                assert heard[-1]["clock"] == "unsynced"
                calendar.flag.touch()
                await until(lambda: heard[-1]["clock"] == "synced" and not heard[-1]["time"]["waiting_samples"])
                await until(lambda: len(stored(store, "environment")) >= before, within_s=20)
                calendar.set("+3600")  # somebody moves a clock that is believed
                await until(lambda: heard[-1]["time"]["steps"] == 1, within_s=5)
                assert abs(heard[-1]["time"]["last_step_s"] - 3600) < 1
                rows = [row for row in stored(store, "environment") if row["time_ns"] < time.time_ns() + 60 * 10**9]
    assert len(rows) >= before - 1
    assert not any("quality" in row for row in rows)
    errors = errors_s(gateway, rows)
    assert len(errors) >= 8
    # The reading's time is when it was asked for, or answered: the way over loopback lies between.
    assert max(map(abs, errors)) < 0.05 + 0.2


@pytest.mark.server("mosquitto", "faketime")
async def test_pain_15_where_ntp_is_blocked_the_ingests_answers_over_tls_tell_the_time(
    gateway: Gateway,
    calendar: Calendar,
    make_mosquitto: MakeServer,
    certificates: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    plain = free_port()
    secure = make_mosquitto(
        extra=f"allow_anonymous true\ncafile {certificates}/ca.pem\ncertfile {certificates}/server.pem\n"
        f"keyfile {certificates}/server.key\nlistener {plain} ::1\n"
    )
    authority, secure.port = secure.authority, plain
    assert secure.process is not None
    wait_for_port(secure.host, plain, secure.process, secure.log)
    async with hearing(secure, "health") as heard:
        with ingest(tmp_path, secure) as store:
            command = calendar.command(gateway, authority, tls=f'ca_file = "{certificates}/ca.pem"')
            with gateway.running(command):
                await until(lambda: heard and heard[-1]["time"]["source"] == "ingest", within_s=30)
                waited = delivered(gateway.box)
                await until(lambda: not heard[-1]["time"]["waiting_samples"], within_s=10)
                await until(lambda: len(stored(store, "environment")) > waited, within_s=20)
                rows = stored(store, "environment")
                calendar.set("+0")
                calendar.flag.touch()
                await until(lambda: heard[-1]["time"]["source"] == "system", within_s=5)
                assert abs(heard[-1]["time"]["last_step_s"]) < 1
                known = len(rows)
                await until(lambda: len(stored(store, "environment")) > known + 1, within_s=10)
                rows = stored(store, "environment")
    errors = errors_s(gateway, rows)
    assert len(errors) >= 3
    assert max(map(abs, errors)) < 1
    log = gateway.log.read_text(encoding="utf-8")
    assert log.count("certificate is not yet valid") == 1  # refused once, by the wrong clock
