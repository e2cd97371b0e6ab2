"""What a worker gives up: tried against the kernel, and the filter's program run step by step for each machine."""

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people import holding
from drivers.camera_people.measures import EXPECTED, Measure, decode_greeting, encode_greeting, words
from drivers.camera_people.worker import landlock, seccomp
from telemetry.errors import ProtocolError

ROOT = Path(__file__).parents[3]
ALLOWED, REFUSED, KILLED = seccomp._ALLOW, seccomp._ERRNO, seccomp._KILL
HELD = holding.held()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's means are Linux's")

ATTEMPTS = """
import ctypes, json, os, socket, sys
from drivers.camera_people.assignment import Assignment
from drivers.camera_people.worker.confinement import before_libraries, begin, confine
kind, folder, port, other = sys.argv[1:5]
secret = os.path.join(folder, "secret")
a = Assignment(url=f"http://127.0.0.1:{port}/", capture=kind, path=os.path.join(folder, "film.mp4"), memory_mb=512)
begin(), before_libraries(a), confine(a)
libc = ctypes.CDLL(None, use_errno=True)

def raw(number):
    if libc.syscall(number, 0, 0, 0, 0, 0) == -1:
        raise OSError(ctypes.get_errno(), "")

attempts = {
    "write": lambda: open(os.path.join(folder, "new"), "wb"),
    "append": lambda: open(secret, "ab"),
    "read": lambda: open(secret, "rb").close(),
    "remove": lambda: os.unlink(secret),
    "folder": lambda: os.mkdir(os.path.join(folder, "made")),
    "shared": lambda: os.memfd_create("x"),
    "fork": os.fork,
    "program": lambda: os.execv("/bin/true", ["true"]),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)),
    "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "camera": lambda: socket.create_connection(("127.0.0.1", int(port))).close(),
    "elsewhere": lambda: socket.create_connection(("127.0.0.1", int(other))).close(),
    "fast open": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).sendto(b"x", 0x20000000, ("127.0.0.1", 9)),
    "library": lambda: __import__("colorsys"),
    "ring": lambda: raw(425),
}
told = {}
for name, attempt in attempts.items():
    try:
        attempt()
        told[name] = True
    except (OSError, ImportError) as error:
        told[name] = False
print(json.dumps(told))
"""


def attempts(kind, folder):
    (folder / "secret").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as camera, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(server.getsockname()[1]) for server in (camera, other)]
        command = [sys.executable, "-c", ATTEMPTS, kind, str(folder), *ports]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=ROOT)
    assert sorted(path.name for path in folder.iterdir()) == ["secret"]
    return {name for name, done in json.loads(done.stdout).items() if done}


@pytest.mark.skipif(EXPECTED & ~HELD, reason=f"this kernel holds a worker only by {words(HELD)}")
def test_it_reaches_the_camera_and_nothing_else(tmp_path):
    done = attempts("mjpeg", tmp_path)
    if Measure.ADDRESS not in HELD:
        done.discard("elsewhere")
    # As nobody it may not enter a root's own Python folder either.
    assert done - {"library"} == {"camera"}


@pytest.mark.skipif(EXPECTED & ~HELD, reason=f"this kernel holds a worker only by {words(HELD)}")
def test_with_a_local_camera_it_reaches_nothing_at_all(tmp_path):
    assert attempts("file", tmp_path) - {"library"} == set()


def test_this_machine_holds_a_worker_and_check_would_say_if_not(monkeypatch):
    if landlock.version() and os.uname().machine in seccomp.MACHINES:
        assert words(EXPECTED & ~HELD) == []
    assert holding.unheld() == [] or EXPECTED & ~HELD
    monkeypatch.setattr(holding, "held", lambda: EXPECTED & ~Measure.CALLS)
    (problem,) = holding.unheld()
    assert "not hold it by calls" in str(problem)
    monkeypatch.undo()
    monkeypatch.setattr(holding, "MODULE", "drivers.camera_people.worker.absent")
    assert holding.held() == Measure(0)


def test_a_local_camera_gets_a_network_without_an_interface():
    local = holding.held(local=True)
    assert HELD & ~local == Measure(0)
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(0) == 0:
        assert local & ~HELD == Measure.OWN_NETWORK


FREED = """
import ctypes, sys
from drivers.camera_people.assignment import Assignment
from drivers.camera_people.worker.confinement import confine
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
confine(Assignment(url="", capture="file"))
at = libc.malloc(60_000)
ctypes.memset(at, 0x41, 60_000)
libc.free(at)
# The first words are the allocator's own.
print(b"A" in ctypes.string_at(at + 64, 50_000))
"""


@pytest.mark.skipif(Measure.WIPED not in HELD, reason="this C library cannot wipe what is freed")
def test_freed_memory_is_overwritten():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, check=True, timeout=60, cwd=ROOT)
    assert done.stdout == b"False\n"


def run(code, audit, number, *arguments):
    """Return what the filter says, as the kernel would."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    at, held = 0, 0
    while True:
        what, if_true, if_false, value = struct.unpack_from("HBBI", code, at * 8)
        at += 1
        if what == seccomp._LOAD:
            (held,) = struct.unpack_from("<I", data, value)
        elif what == seccomp._AND:
            held &= value
        elif what == seccomp._RETURN:
            return value
        else:
            tests = {seccomp._EQUAL: held == value, seccomp._ABOVE: held >= value, seccomp._ANY_BIT: held & value}
            at += if_true if tests[what] else if_false


@pytest.mark.parametrize("machine", seccomp.MACHINES)
@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("device", [True, False])
def test_the_filter_refuses_what_is_listed_and_lets_the_rest_through(machine, network, device):
    audit, column = seccomp.MACHINES[machine]
    code = seccomp.program(audit, column, network=network, datagrams=False, device=device)
    assert len(code) // 8 <= 4096

    def says(numbers, *arguments):
        return run(code, audit, numbers[column], *arguments)

    for name, numbers in seccomp.REFUSED.items():
        if numbers[column] is not None:
            assert says(numbers) == REFUSED | errno.EPERM, name
    for numbers in seccomp._UNKNOWN.values():
        assert says(numbers) == REFUSED | errno.ENOSYS
    openat, _ = seccomp._OPENING["openat"]
    assert says(openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOWED
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_RDONLY | os.O_TRUNC, os.O_TMPFILE | os.O_WRONLY):
        opened = device and flags in {os.O_WRONLY, os.O_TMPFILE | os.O_WRONLY}
        assert says(openat, 0, 0, flags) == (ALLOWED if opened else REFUSED | errno.EACCES)
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 1 | socket.SOCK_CLOEXEC)):
        assert says(seccomp._SOCKET, family, kind) == (ALLOWED if network else REFUSED | errno.EPERM)
    for family, kind in ((socket.AF_INET, 2), (socket.AF_INET, 3), (socket.AF_UNIX, 1), (socket.AF_NETLINK, 3)):
        assert says(seccomp._SOCKET, family, kind) & 0xFFFF0000 == REFUSED
    assert says(seccomp._CONNECT) == (ALLOWED if network else REFUSED | errno.EPERM)
    assert says(seccomp._CLONE, 0x3D0F00) == ALLOWED  # a thread
    assert says(seccomp._CLONE, 17) == REFUSED | errno.EPERM
    for numbers, place in seccomp._SENDING.values():
        assert says(numbers, *[0] * place, 0x20000000) == REFUSED | errno.EACCES
        assert says(numbers, *[0] * place, 0x4000) == ALLOWED
    assert run(code, 0x40000003, 3) == KILLED  # another machine's numbers mean other calls
    assert run(code, audit, 0x40000000 | 2) == KILLED
    assert run(code, audit, 0) == ALLOWED


def test_names_are_looked_up_only_if_the_camera_has_one():
    audit, column = seccomp.MACHINES["x86_64"]
    code = seccomp.program(audit, column, network=True, datagrams=True, device=False)
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
        assert run(code, audit, 41, family, socket.SOCK_DGRAM) == ALLOWED
    assert run(code, audit, 41, socket.AF_PACKET, socket.SOCK_DGRAM) == REFUSED | errno.EACCES


def test_without_landlock_or_on_another_machine_it_says_so(monkeypatch):
    monkeypatch.setattr(landlock, "_call", lambda *_: -1)
    assert landlock.restrict(readable=[], device=None, ports=[]) == (False, False)
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    assert not seccomp.forbid(network=True, datagrams=False, device=False)


@given(st.sets(st.sampled_from(list(Measure))).map(lambda some: sum(some, Measure(0))))
def test_a_greeting_comes_back(measures):
    assert decode_greeting(encode_greeting(measures)) == measures


@given(st.binary(max_size=16))
def test_any_other_greeting_is_refused(data):
    with pytest.raises(ProtocolError):
        decode_greeting(data)
