from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulators.control import Refusal, Request, ask, ask_async, socket_path

if TYPE_CHECKING:
    from simulators.held import HeldDevice, Shelf


@pytest.fixture
def bus(device: Shelf) -> HeldDevice:
    return device("modbus-rtu", name="bus", units=(1, 2))


def test_state(bus: HeldDevice) -> None:
    assert bus.state() == {
        "kind": "modbus-rtu",
        "name": "bus",
        "endpoint": bus.ready.endpoint,
        "open": False,
        "faults": [],
        "devices": {"bus-1": 0, "bus-2": 0},
        "counters": {},
    }


@pytest.mark.parametrize(
    ("name", "parameters", "complaint"),
    [
        ("fire", {}, "choose one of silence"),
        ("corruption", {}, "needs 'rate'"),
        ("corruption", {"rate": 1.5}, "not a probability"),
        ("drift", {"point": "co2"}, "needs 'per_sample'"),
        ("drift", {"point": "pressure", "per_sample": 1.0}, "choose one of co2, humidity"),
        ("silence", {"device": "bus-3"}, "choose one of bus-1, bus-2"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_could(
    bus: HeldDevice, name: str, parameters: dict[str, object], complaint: str
) -> None:
    with pytest.raises(Refusal, match=complaint):
        bus.fault(name, **parameters)
    assert bus.state()["faults"] == []


def test_faults_come_and_go(bus: HeldDevice) -> None:
    assert bus.fault("silence")["faults"] == ["silence"]
    assert bus.fault("stall", seconds=60)["faults"] == ["silence", "stall"]
    assert bus.clear("silence")["faults"] == ["stall"]
    assert bus.clear()["faults"] == []


def test_each_device_knows_its_own_faults(device: Shelf, bus: HeldDevice) -> None:
    with pytest.raises(Refusal, match="no fault 'stall'"):
        device("rdm6300").fault("stall")
    with pytest.raises(Refusal, match="reads no cards"):
        bus.present("62E3086CED")


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"op":"explode"}', b'{"op":"state","x":1}', b"\xff\xfe"])
def test_garbage_gets_an_answer_and_the_connection_stays(bus: HeldDevice, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(3)
        client.connect(bus.ready.control)
        file = client.makefile("rb")
        for sent, ok in ((line, False), (b'{"op":"state"}', True)):
            client.sendall(sent + b"\n")
            assert msgspec.json.decode(file.readline())["ok"] is ok
        file.close()


def test_a_line_without_end_ends_its_connection_only(bus: HeldDevice) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(3)
        client.connect(bus.ready.control)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):  # noqa: PT012 - when it hangs up is its own business
            for _ in range(100):
                client.sendall(bytes(10_000))
    assert bus.state()["kind"] == "modbus-rtu"


async def test_asking_without_blocking(bus: HeldDevice) -> None:
    assert (await ask_async(bus.ready.control, Request(op="state")))["name"] == "bus"
    with pytest.raises(Refusal):
        await ask_async(bus.ready.control, Request(op="fault", fault="fire"))


def test_a_device_that_is_gone(bus: HeldDevice) -> None:
    bus.stop()
    with pytest.raises(OSError, match="No such file"):
        ask(bus.ready.control, Request(op="state"))


def test_a_socket_path_must_be_short(tmp_path: Path) -> None:
    assert socket_path("", tmp_path / "x") == tmp_path / "x"
    with pytest.raises(ValueError, match="choose a shorter one"):
        socket_path("/" + "x" * 200, Path())
