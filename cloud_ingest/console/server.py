"""The console's process: one TaskGroup, its own socket, ready when it listens, gone within 2 s of SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING, Final

from cloud_ingest.addresses import is_loopback, parse_listen
from cloud_ingest.console.session import Attempts, Sessions, open_password, session_key
from cloud_ingest.notify import notify
from cloud_ingest.zones import zone
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloud_ingest.console.guard import Door
    from cloud_ingest.console.model import Source
    from cloud_ingest.settings import ConsoleSettings, Settings

_log = logging.getLogger(__name__)
FOLDER: Final = "console"
_GOODBYE_S: Final = 1
_MOST_CONNECTIONS: Final = 1000
_MOST_MESSAGE: Final = 262_144


class _Stop(Exception):
    """Ends the TaskGroup."""


def open_listener(listen: str) -> socket.socket:
    """Return a bound socket. Raises ConfigError when the address is taken or is not ours."""
    host, port = parse_listen(listen)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host == "::":
                # `[::]` means every address of this machine, IPv4 too.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(128)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        mend = "stop what listens there, or choose another port" if taken else "give an address of this machine"
        raise ConfigError([Problem(where=f"console.listen {listen}", what=error.strerror or "", mend=mend)]) from error
    return listener


def address_of(listener: socket.socket, *, tls: bool) -> str:
    """Return the URL by which the console is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


def door(console: ConsoleSettings, folder: Path) -> Door:
    """Return what the guard needs. Raises ConfigError."""
    from cloud_ingest.console.guard import Door  # noqa: PLC0415 - after the check for the extra

    host, _ = parse_listen(console.listen)
    password = None if console.password_file is None else open_password(console.password_file)
    named = {name.lower().strip("[]") for name in console.hosts}
    loopback = is_loopback(host)
    if not loopback and console.cert_file is None:
        _log.warning("passwords cross the network unencrypted: set console.cert_file, or put a TLS proxy in front")
    return Door(
        hosts=frozenset({"localhost", "127.0.0.1", "::1", host, *named}) if loopback or named else None,
        password=password,
        sessions=None if password is None else Sessions(session_key(folder), password.fingerprint),
        attempts=Attempts(),
    )


async def serve(settings: Settings, source: Source, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; tell `on_ready` the address. Raises ConfigError."""
    console = settings.console
    folder = settings.data / FOLDER
    # Read by NiceGUI when it is imported: whatever it stores goes below the data folder, never into the working one.
    os.environ["NICEGUI_STORAGE_PATH"] = str(folder / "nicegui")
    import uvicorn  # noqa: PLC0415 - part of the extra

    from cloud_ingest.console.app import build, compressed  # noqa: PLC0415
    from cloud_ingest.console.guard import Guard  # noqa: PLC0415
    from cloud_ingest.console.hub import Hub  # noqa: PLC0415

    class Server(uvicorn.Server):
        """Leaves signals to us."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    opened = door(console, folder)
    hub = Hub(source)
    guarded = compressed(
        Guard(build(hub, zone=zone(console.timezone), may_log_out=opened.password is not None), opened)
    )
    listener = open_listener(console.listen)
    try:
        config = uvicorn.Config(
            guarded,
            ws="wsproto",
            log_config=None,
            log_level="warning",
            access_log=False,
            # A proxy on this machine may say who its visitor is.
            forwarded_allow_ips=["127.0.0.1", "::1"],
            server_header=False,
            ssl_certfile=console.cert_file,
            ssl_keyfile=console.key_file,
            limit_concurrency=_MOST_CONNECTIONS,
            ws_max_size=_MOST_MESSAGE,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
        config.load()
    except (OSError, ssl.SSLError) as error:
        listener.close()
        problem = Problem(
            where="console.cert_file", what=f"cannot be used: {error}", mend="give a matching pair in PEM"
        )
        raise ConfigError([problem]) from error
    server = Server(config)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    address = address_of(listener, tls=console.cert_file is not None)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(source.run(), name="source")
            group.create_task(hub.run(), name="hub")
            web = group.create_task(_served(server, listener), name="web")
            group.create_task(_announce(server, address, on_ready), name="ready")
            await stop.wait()
            notify("STOPPING=1")
            server.should_exit = True
            await web
            raise _Stop  # noqa: TRY301 - the way to end a TaskGroup with endless tasks
    except* _Stop:
        pass
    finally:
        listener.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await source.close()


async def _served(server: object, listener: socket.socket) -> None:
    await server.serve(sockets=[listener])  # type: ignore[attr-defined]


async def _announce(server: object, address: str, on_ready: Callable[[str], None]) -> None:
    while not server.started:  # type: ignore[attr-defined] # noqa: ASYNC110 - uvicorn tells by a flag only
        await asyncio.sleep(0.01)
    _log.info("console at %s", address)
    on_ready(address)
    notify(f"READY=1\nSTATUS=console at {address}\nX_CONSOLE_URL={address}")
