"""sd_notify, to a real datagram socket; a missing or deaf supervisor is no error."""

import contextlib
import os
import socket

import pytest

from edge_agent.notify import notify, watchdog_period_s


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listener


def test_lines_arrive_as_one_datagram(supervisor):
    notify("READY=1", "STATUS=reading 3 devices")
    assert supervisor.recv(1000) == b"READY=1\nSTATUS=reading 3 devices"


def test_an_abstract_address_is_understood(monkeypatch):
    name = f"campus-edge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("WATCHDOG=1")
        assert listener.recv(100) == b"WATCHDOG=1"


def test_without_a_supervisor_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize("address", ["gone", "x" * 200])
def test_a_supervisor_that_is_gone_is_no_error(monkeypatch, tmp_path, address):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / address))
    notify("READY=1")


def test_a_supervisor_that_does_not_read_never_blocks_us(supervisor):
    for _ in range(2000):
        notify("WATCHDOG=1" + "x" * 1000)
    received = 0
    with contextlib.suppress(BlockingIOError):
        while supervisor.recv(2000):
            received += 1
    assert 0 < received < 2000


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("60000000", "", 30.0),
        ("60000000", "ours", 30.0),
        ("60000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
        ("-5", "", None),
    ],
)
def test_the_watchdog_wants_to_hear_twice_in_its_time(monkeypatch, microseconds, pid, expected):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    assert watchdog_period_s() == expected
