"""Seccomp: system calls that the worker may make no more, as a BPF program written by hand. Needs x86-64 or ARM64."""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
from typing import Final

_PR_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16
_X32: Final = 0x40000000
_WRITES: Final = 0o1 | 0o2 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC; a temporary file without a name needs one of the first two."""
_MAKES: Final = 0o100 | 0o1000
_CLONE_THREAD: Final = 0x10000
_FASTOPEN: Final = 0x20000000
"""MSG_FASTOPEN: connects without connect(), so past rules that look there."""
_TYPE: Final = 0xF

MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine → its audit number, and its column below."""
# fmt: off
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # other programs and other processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    # memory that others can see, and ways around the calls that are looked at here
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "bpf": (321, 280), "perf_event_open": (298, 241),
    "splice": (275, 76), "tee": (276, 77), "vmsplice": (278, 75), "sendfile": (40, 71), "copy_file_range": (326, 285),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    # files and folders
    "creat": (85, None), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None), "mknodat": (259, 33),
    "unlink": (87, None), "unlinkat": (263, 35), "rmdir": (84, None),
    "truncate": (76, 45), "ftruncate": (77, 46), "fallocate": (285, 47),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "lchown": (94, None),
    "fchown": (93, 55), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    # the system itself
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    # nobody calls the worker
    "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
}
# fmt: on
_UNKNOWN: Final = {"clone3": (435, 435), "openat2": (437, 437)}
"""Their flags lie in memory, where no filter can look: as if the kernel did not know them."""
_OPENING: Final = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
_SENDING: Final = {"sendto": ((44, 206), 3), "sendmsg": ((46, 211), 2), "sendmmsg": ((307, 269), 3)}
_SOCKET, _CONNECT, _CLONE = (41, 198), (42, 203), (56, 220)


def forbid(*, network: bool, datagrams: bool, device: bool) -> bool:
    """Refuse this thread, and those it will start, what is listed above; return whether it is so now.

    `network`: TCP sockets may be made; `datagrams`: those that ask name servers too; `device`: one may be opened.
    """
    known = MACHINES.get(platform.machine())
    if known is None:
        return False
    code = program(*known, network=network, datagrams=datagrams, device=device)
    memory = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory)))
    libc = ctypes.CDLL(None)
    return bool(libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER), header, 0, 0) == 0)


def program(audit: int, column: int, *, network: bool, datagrams: bool, device: bool) -> bytes:
    """Return the filter for one kind of machine."""
    code = [_step(_LOAD, _ARCH), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL)]
    code += [_step(_LOAD, _NR), _step(_ABOVE, _X32, 0, 1), _step(_RETURN, _KILL)]
    refused = [numbers[column] for numbers in REFUSED.values()]
    refused += [] if network else [_SOCKET[column], _CONNECT[column]]
    for number in refused:
        if number is not None:
            code += _when(number, [_refuse(errno.EPERM)])
    for numbers in _UNKNOWN.values():
        code += _when(numbers[column], [_refuse(errno.ENOSYS)])
    for opening, place in _OPENING.values():
        code += _when(opening[column], _unless_any(place, _MAKES if device else _WRITES))
    for sending, place in _SENDING.values():
        code += _when(sending[column], _unless_any(place, _FASTOPEN))
    thread = [_argument(0), _step(_ANY_BIT, _CLONE_THREAD, 1, 0), _refuse(errno.EPERM), _step(_RETURN, _ALLOW)]
    code += _when(_CLONE[column], thread)
    if network:
        code += _when(_SOCKET[column], _sockets(datagrams=datagrams))
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _sockets(*, datagrams: bool) -> list[bytes]:
    families = [socket.AF_INET, socket.AF_INET6, *([socket.AF_UNIX, socket.AF_NETLINK] if datagrams else [])]
    code = [_argument(0)]
    code += [_step(_EQUAL, family, len(families) - n, 0) for n, family in enumerate(families)]
    code += [_refuse(errno.EACCES)]
    if datagrams:
        return [*code, _step(_RETURN, _ALLOW)]
    kind = [_argument(1), _step(_AND, _TYPE), _step(_EQUAL, socket.SOCK_STREAM, 1, 0), _refuse(errno.EACCES)]
    return [*code, *kind, _step(_RETURN, _ALLOW)]


def _unless_any(place: int, bits: int) -> list[bytes]:
    return [_argument(place), _step(_ANY_BIT, bits, 0, 1), _refuse(errno.EACCES), _step(_RETURN, _ALLOW)]


def _when(number: int | None, then: list[bytes]) -> list[bytes]:
    """Return the steps for one system call; they must end with a return. None: this machine has no such call."""
    return [] if number is None else [_step(_EQUAL, number, 0, len(then)), *then]


def _argument(place: int) -> bytes:
    """Load the lower half of an argument: both machines put it first, and all flags are in it."""
    return _step(_LOAD, _ARGUMENTS + 8 * place)


def _refuse(reason: int) -> bytes:
    return _step(_RETURN, _ERRNO | reason)


def _step(what: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", what, if_true, if_false, value)
