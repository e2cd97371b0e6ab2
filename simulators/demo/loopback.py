"""Listening on this machine only: IPv6 loopback where there is one, else IPv4."""

from __future__ import annotations

import socket


def listening_socket(host: str | None, port: int) -> socket.socket:
    """Return a bound TCP socket on `host`, or on the first loopback address that works, IPv6 before IPv4."""
    candidates = [host] if host else ["::1", "127.0.0.1"]
    problem: OSError | None = None
    for candidate in candidates:
        try:
            return socket.create_server(
                (candidate, port), family=socket.AF_INET6 if ":" in candidate else socket.AF_INET, backlog=64
            )
        except OSError as error:
            problem = error
    raise problem or OSError("no loopback address")
