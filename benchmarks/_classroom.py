"""A typical classroom, as `systemd/examples/agent.toml` has it: two air sensors and a card reader, with real wires.

The sensors speak Modbus, one over a serial line and one over TCP; cards are read at the door, and the officer's policy
and consents let attendance pass. The devices are simulated, in processes of their own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from benchmarks import _stage
from simulators.demo.config import write_private
from simulators.demo.handles import handle, subkey
from simulators.demo.officer import new_officer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SITE: Final = "bench"
GATEWAY: Final = "gw-1"
PURPOSE: Final = "attendance"
SCHOOL_YEAR: Final = "2026-2027"
_CONFIG: Final = """
site = "{site}"
gateway = "{gateway}"
simulated = true
window_s = {window_s}
[mqtt]
url = "{mqtt}"
[buffer]
path = "{buffer}"
[privacy]
key_file = "{folder}/keys.toml"
trusted_keys = ["{folder}/officer.pub"]
policy_file = "{folder}/policy.toml"
consents_file = "{folder}/consents.toml"
[clock]
assume_synced = true
[[link]]
name = "bus"
kind = "serial"
path = "{bus}"
[[link]]
name = "cards"
kind = "serial"
path = "{cards}"
[[link]]
name = "box"
kind = "tcp"
host = "{host}"
port = {port}
[[device]]
name = "r101-air"
room = "r101"
profile = "modbus/multisensor_6in1"
link = "bus"
{period}
[[device]]
name = "r101-cards"
room = "r101"
profile = "rfid/rdm6300"
link = "cards"
[[device]]
name = "r102-air"
room = "r102"
profile = "modbus/airbox_tcp"
link = "box"
{period}
"""
_POLICY: Final = """schema = "campus.policy/2"
site = "{site}"
serial = 1
issued_at = {now}
valid_from = 2000-01-01T00:00:00Z
valid_until = 2100-01-01T00:00:00Z
[[purpose]]
name = "attendance"
basis = "consent"
zh = "考勤"
en = "Attendance"
[[rule]]
class = "personal"
purpose = "attendance"
consent = true
"""
_CONSENTS: Final = """schema = "campus.consents/1"
site = "{site}"
serial = 1
issued_at = {now}
"""
_CONSENT: Final = """[[consent]]
handle = "{handle}"
purpose = "attendance"
given_by = "guardian"
under_14 = true
valid_until = 2100-01-01T00:00:00Z
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """Where the classroom's devices are."""

    bus: str
    cards: str
    host: str
    port: int


@contextlib.contextmanager
def devices(folder: Path) -> Iterator[Wires]:
    """Run the classroom's devices; nobody shows a card, each measurement is eight minutes of the room's day."""
    log = folder / "devices.log"
    with (
        _stage.device("modbus-rtu", log=log) as bus,
        _stage.device("rdm6300", "--pupils", "0", log=log) as cards,
        _stage.device("modbus-tcp", log=log) as box,
    ):
        yield Wires(bus=bus["link"], cards=cards["link"], host=box["host"], port=box["port"])


def write_documents(folder: Path, pupils: Sequence[str]) -> None:
    """Write keys and signed documents that let the attendance of these cards pass."""
    key = subkey(b"benchmark" * 4, site=SITE, school_year=SCHOOL_YEAR, purpose=PURPOSE)
    keys = f'schema = "campus.gateway-keys/1"\nsite = "{SITE}"\nschool_year = "{SCHOOL_YEAR}"\nsimulated = true\n'
    write_private(folder / "keys.toml", f'{keys}[keys]\n{PURPOSE} = "{key.hex()}"\n')
    officer, now = new_officer(), datetime.now(UTC).isoformat(timespec="seconds")
    write_private(folder / "officer.pub", officer.public_line)
    write_private(folder / "policy.toml", officer.sign(_POLICY.format(site=SITE, now=now)))
    handles = [handle(key, kind="card", identifier=card) for card in pupils]
    given = "".join(_CONSENT.format(handle=who) for who in handles)
    write_private(folder / "consents.toml", officer.sign(_CONSENTS.format(site=SITE, now=now) + given))


def configure(
    folder: Path,
    wires: Wires,
    *,
    mqtt: str,
    buffer: Path | None = None,
    period_s: float | None = None,
    window_s: float = 2.0,
    pupils: Sequence[str] = (),
) -> Path:
    """Write the agent's files; return its settings. `period_s` in place of the sensors' own 1 s."""
    write_documents(folder, pupils)
    path = folder / "agent.toml"
    text = _CONFIG.format(
        site=SITE,
        gateway=GATEWAY,
        window_s=window_s,
        mqtt=mqtt,
        buffer=buffer or folder / "buffer",
        folder=folder,
        bus=wires.bus,
        cards=wires.cards,
        host=wires.host,
        port=wires.port,
        period="" if period_s is None else f"period_s = {period_s}",
    )
    write_private(path, text)
    return path
