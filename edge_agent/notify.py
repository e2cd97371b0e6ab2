"""sd_notify: tells systemd that the service is ready, alive or stopping; does nothing without $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send `lines`, such as `READY=1`; a missing or deaf supervisor is no error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as connection:
        try:
            connection.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def watchdog_period_s() -> float | None:
    """Return how often systemd wants to hear `WATCHDOG=1`: half of its limit; none if it does not watch."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6 / 2 or None
