"""A small disk for the agent's buffer, that can be filled: a tmpfs in a mount namespace of our own, so root's only.

The namespace ends with the last process in it: even kill -9 of a torture leaves no mount behind.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLONE_NEWNS: Final = 0x00020000  # <linux/sched.h>
_SIZE_MB: Final = 16
_MOUNT_S: Final = 5.0
_BALLAST: Final = "ballast"
_BLOCK: Final = bytes(4096)


class Unavailable(Exception):
    """No disk can be mounted here; the text says why."""


def own_mounts() -> None:
    """Give this process, and those it starts, mounts of their own. Raises Unavailable. Call it before any thread is."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        raise Unavailable("mount namespaces are Linux's")
    if unshare(_CLONE_NEWNS):
        raise Unavailable(f"no mount namespace: {os.strerror(ctypes.get_errno())} (root may)")
    _run("mount", "--make-rprivate", "/")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small disk on `folder` for a while; what is on it then stays in the folder. Raises Unavailable."""
    folder.mkdir(parents=True, mode=0o700)
    _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m,mode=0700", "tmpfs", str(folder))
    kept = folder.with_name(f"{folder.name}.kept")
    try:
        yield
        shutil.copytree(folder, kept)
    finally:
        _run("umount", "--lazy", str(folder))
    folder.rmdir()
    kept.rename(folder)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no byte free on the disk that `folder` lies on, for a while."""
    ballast = folder / _BALLAST
    try:
        with ballast.open("wb", buffering=0) as file:
            free = os.statvfs(folder)
            os.posix_fallocate(file.fileno(), 0, max(1, (free.f_bavail - 1) * free.f_bsize))
            file.seek(0, os.SEEK_END)
            try:
                while file.write(_BLOCK):
                    pass
            except OSError:
                pass  # no space left: what was wanted
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _run(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise Unavailable(f"{name} is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, timeout=_MOUNT_S, check=False)  # noqa: S603 - ours
    if done.returncode:
        raise Unavailable(f"{name}: {done.stderr.decode(errors='replace').strip()}")
