"""What the worker gives up, step by step: each step returns what the kernel has truly granted, and refuses nothing.

The order matters: a network of its own needs a process of one thread, the user is given up when libraries and model
are loaded, and the filters come last, before the camera is looked at and before any second thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import resource
import signal
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drivers.camera_people.assignment import LOCAL, V4L2
from drivers.camera_people.measures import Measure
from drivers.camera_people.worker import landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.camera_people.assignment import Assignment

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_M_PERTURB: Final = -6
_FREED: Final = 0xFF
"""What freed memory is filled with; new memory then comes filled with its complement, zeros."""
_CAPABILITIES: Final = struct.pack("Ii", 0x20080522, 0)
NOBODY: Final = 65534
DESCRIPTORS: Final = 64
_DNS: Final = 53
_READABLE: Final = (
    *("/usr", "/lib", "/lib64"),
    *(f"/etc/{name}" for name in ("hosts", "host.conf", "resolv.conf", "nsswitch.conf", "gai.conf", "localtime")),
    "/run/systemd/resolve",
)


def begin() -> Measure:
    """Die with the agent, leave no core dump, gain no right, grow no file."""
    libc = ctypes.CDLL(None)
    granted = Measure.NO_NEW_RIGHTS if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else Measure(0)
    # The agent decides when the worker ends: Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    granted |= _not_readable()
    for limit, most, measure in (
        (resource.RLIMIT_CORE, 0, Measure.NO_CORE_DUMP),
        (resource.RLIMIT_FSIZE, 0, Measure.NO_FILE_GROWS),
        (resource.RLIMIT_NOFILE, DESCRIPTORS, Measure.FEW_DESCRIPTORS),
    ):
        granted |= _limited(limit, most, measure)
    return granted


def before_libraries(assignment: Assignment) -> Measure:
    """Leave the network if the camera is local, cap the memory, keep it out of swap; in a process of one thread."""
    granted = Measure(0)
    if assignment.capture in LOCAL:
        granted |= _own_network()
    if assignment.memory_mb:
        granted |= _limited(resource.RLIMIT_DATA, assignment.memory_mb << 20, Measure.MEMORY_CAP)
    return granted | _unswapped()


def confine(assignment: Assignment) -> Measure:
    """Give up user, files, and system calls; called when all libraries are loaded and the first thread is the only one.

    Loads what Python would otherwise look for later, when it may not.
    """
    import encodings.idna  # noqa: F401, PLC0415 - else at the first name that is looked up

    local, device = assignment.capture in LOCAL, assignment.path if assignment.capture == V4L2 else None
    host, port = ("", 0) if local else assignment.address
    named = not local and not _is_address(host)
    granted = Measure(0)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and libc.mallopt(_M_PERTURB, _FREED) == 1:
        granted |= Measure.WIPED
    ports = () if local else (port, *((_DNS,) if named else ()))
    files, addresses = landlock.restrict(readable=_readable(), device=device, ports=ports)
    if files:
        granted |= Measure.FILES
    if addresses:
        granted |= Measure.ADDRESS
    # Not before: as nobody it may not even name the paths.
    granted |= _unprivileged(device)
    if seccomp.forbid(network=not local, datagrams=named, device=device is not None):
        granted |= Measure.CALLS
    return granted


def _readable() -> Iterator[str]:
    """Yield where libraries are: some modules are imported only when they are needed. No settings, no keys, no data."""
    yield from _READABLE
    yield from (sys.prefix, sys.base_prefix)
    # The folder that holds `drivers`: the repository, or the installed packages.
    yield str(Path(__file__).parents[3])


def _not_readable() -> Measure:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return Measure.NOT_READABLE if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 else Measure(0)


def _limited(limit: int, most: int, measure: Measure) -> Measure:
    with contextlib.suppress(OSError, ValueError):  # a service's own filter may not let us
        resource.setrlimit(limit, (most, most))
    return measure if resource.getrlimit(limit)[0] in range(most + 1) else Measure(0)


def _own_network() -> Measure:
    libc = ctypes.CDLL(None)
    kinds = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    done = libc.unshare(kinds) == 0
    _not_readable()  # other credentials: the kernel forgot it
    return Measure.OWN_NETWORK if done else Measure(0)


def _unswapped() -> Measure:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    # With a limit, what comes later could not be had at all.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) != unlimited:
        return Measure(0)
    locked = ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0
    return Measure.NO_SWAP if locked else Measure(0)


def _unprivileged(device: str | None) -> Measure:
    """Stop being root; keep the group that may open `device`."""
    if os.geteuid() == 0:
        groups = []
        if device is not None:
            with contextlib.suppress(OSError):
                status = Path(device).stat()
                groups = [status.st_gid] if stat.S_ISCHR(status.st_mode) else []
        with contextlib.suppress(OSError):
            os.setgroups(groups)
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    libc = ctypes.CDLL(None)
    libc.capset(_CAPABILITIES, bytes(24))  # a service's filter may refuse it, where there is nothing to give up
    left = ctypes.create_string_buffer(b"\xff" * 24, 24)
    libc.capget(_CAPABILITIES, left)
    _not_readable()
    return Measure.UNPRIVILEGED if left.raw == bytes(24) and os.geteuid() != 0 else Measure(0)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
