"""Landlock: which files may be read and which TCP ports connected to, held by the kernel for good. Needs Linux 5.13."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same numbers on every machine."""
_ASK_VERSION: Final = 1
_RULE_PATH, _RULE_PORT = 1, 2
_READ_FILE: Final = 1 << 2
_READ: Final = _READ_FILE | 1 << 3
_WRITE_FILE: Final = 1 << 1
_IOCTL: Final = 1 << 15
_FILES: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: _IOCTL}
"""Version from which → rights to files and folders that it knows: all of them are handled, so refused unless given."""
_NET_FROM: Final = 4
_NET: Final = 0b11
_CONNECT: Final = 0b10
_SCOPES_FROM: Final = 6
_SCOPES: Final = 0b11
"""Abstract unix sockets and signals of others."""


def version() -> int:
    """Return what the kernel offers; 0 for nothing."""
    return max(0, _call(_CREATE_RULESET, None, 0, _ASK_VERSION))


def restrict(*, readable: Iterable[str], device: str | None, ports: Iterable[int]) -> tuple[bool, bool]:
    """Allow this thread, and those it will start, only that; return whether (files, TCP) are restricted now.

    `device` may be read, written and controlled. Paths that are not there are passed over.
    """
    offered = version()
    if offered == 0:
        return False, False
    files = sum(rights for since, rights in _FILES.items() if since <= offered)
    net, scopes = _NET if offered >= _NET_FROM else 0, _SCOPES if offered >= _SCOPES_FROM else 0
    attributes = struct.pack("QQQ", files, net, scopes)[: 24 if scopes else 16 if net else 8]
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False, False
    try:
        for path in readable:
            _allow(ruleset, path, _READ if os.path.isdir(path) else _READ_FILE)  # noqa: PTH112 - str in, str out
        if device is not None:
            _allow(ruleset, device, (_READ_FILE | _WRITE_FILE | _IOCTL) & files)
        for port in ports if net else ():
            _call(_ADD_RULE, ruleset, _RULE_PORT, struct.pack("QQ", _CONNECT, port), 0)
        done = _call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)
    return done, done and net != 0


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _call(_ADD_RULE, ruleset, _RULE_PATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: bytes | int | None) -> int:
    """Return the system call's result, -1 if it is refused or unknown."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    given = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return int(libc.syscall(ctypes.c_long(number), *given))
