"""sd_notify: tells systemd (or whoever waits on $NOTIFY_SOCKET) that the process is ready, alive or stopping."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


def notify(message: str) -> bool:
    """Send `message`, such as `READY=1`; false if nobody listens. Never blocks, never raises."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
            channel.sendto(message.encode(), address)
    except OSError as error:
        _log.warning("service manager cannot be told %s: %s", message, error)
        return False
    return True


def watchdog_period_s() -> float | None:
    """Return how often `WATCHDOG=1` is to be sent, half of what systemd asks; none if it does not watch us."""
    text = os.environ.get("WATCHDOG_USEC", "")
    watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 2_000_000 if watched and text.isdigit() and int(text) > 0 else None
