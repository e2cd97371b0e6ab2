"""A typical classroom, as `systemd/examples/agent.toml` has it: two air sensors and a card reader, with real wires.

The sensors speak Modbus, one over a serial line and one over TCP; a card reader is at the door, and the officer's
policy has a rule for attendance. The devices are simulated, in processes of their own, and nobody shows a card.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import _stage
from benchmarks._papers import SETTINGS, SITE, write_papers
from simulators.demo.config import write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATEWAY: Final = "gw-1"
NOBODY: Final = "mqtt://[::1]:1"
"""A broker that is not there."""
_CONFIG: Final = """
site = "{site}"
gateway = "{gateway}"
simulated = true
window_s = {window_s}
[mqtt]
url = "{mqtt}"
[buffer]
path = "{buffer}"
{privacy}
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


def configure(
    folder: Path,
    wires: Wires,
    *,
    mqtt: str,
    buffer: Path | None = None,
    period_s: float | None = None,
    window_s: float = 2.0,
) -> Path:
    """Write the agent's files; return its settings. `period_s` in place of the sensors' own 1 s."""
    write_papers(folder, purpose="attendance", rules={"personal": True}, kind="card", identifiers=())
    path = folder / "agent.toml"
    text = _CONFIG.format(
        site=SITE,
        gateway=GATEWAY,
        window_s=window_s,
        mqtt=mqtt,
        buffer=buffer or folder / "buffer",
        privacy=SETTINGS.format(folder=folder),
        bus=wires.bus,
        cards=wires.cards,
        host=wires.host,
        port=wires.port,
        period="" if period_s is None else f"period_s = {period_s}",
    )
    write_private(path, text)
    return path
