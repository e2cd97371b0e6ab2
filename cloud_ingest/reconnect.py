"""Connects to the broker again and again: which MQTT version it speaks, how long to wait, when to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Final

import aiomqtt

from cloud_ingest.broker import V5, V311, BrokerClient, VersionRefused, connect
from telemetry.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloud_ingest.settings import MqttSettings
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 60.0


class Reconnector:
    """One connection at a time; reconnects for ever with full jitter, a refused login waits longest."""

    def __init__(self, settings: MqttSettings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self.connected = asyncio.Event()
        self.problem: str | None = "not connected yet"
        """Why there is no connection; none while there is one."""
        self.progress_at = time.monotonic()

    def established(self, client: BrokerClient) -> None:
        """Note that a session has all its subscriptions."""
        self.problem = None
        self.connected.set()
        self._counters.add("mqtt.connects")
        _log.info("connected to %s with MQTT %s", self._settings.url, "5" if client.protocol is V5 else "3.1.1")

    async def run(self, session: Callable[[aiomqtt.ProtocolVersion], Awaitable[None]], stop: asyncio.Event) -> None:
        """Run one session after the other until `stop`; a session calls `established`, and raises when it is over."""
        backoff_s = _FIRST_BACKOFF_S
        protocol = V311 if self._settings.protocol == "3.1.1" else V5
        proven = False
        while not stop.is_set():
            self.progress_at = time.monotonic()
            started = time.monotonic()
            try:
                await session(protocol)
            except VersionRefused as error:
                if self._settings.protocol == "auto" and protocol is V5:
                    _log.info("broker does not speak MQTT 5 (%s): using 3.1.1", error)
                    protocol = V311
                    continue
                self.problem = f"broker does not speak MQTT {self._settings.protocol}: set mqtt.protocol = auto"
                _log.error("%s", self.problem)
                backoff_s = _LONGEST_BACKOFF_S
            except AuthError as error:
                self._counters.add("mqtt.auth_refused")
                self.problem = f"{error}: correct mqtt.username, password_file or cert_file"
                _log.error("%s", self.problem)
                backoff_s = _LONGEST_BACKOFF_S
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                proven = proven or self.connected.is_set()
                if self._settings.protocol == "auto" and not proven:
                    # Some brokers hang up on a version they do not know, some never answer it.
                    protocol = V311 if protocol is V5 else V5
                    if protocol is V311:
                        continue
                self.problem = f"no connection to the broker at {self._settings.url}: {error}"
                _log.warning("%s", self.problem)
            if stop.is_set():
                return
            self._counters.add("mqtt.disconnects")
            if self.connected.is_set() and time.monotonic() - started > backoff_s:
                backoff_s = _FIRST_BACKOFF_S
            self.connected.clear()
            pause_s = max(0.05, random.uniform(0, backoff_s))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()

    async def open(self, protocol: aiomqtt.ProtocolVersion, stop: asyncio.Event) -> BrokerClient | None:
        """Return a connection; none if the process is to stop before there is one."""
        connecting = asyncio.create_task(connect(self._settings, protocol, self._counters), name="mqtt-connect")
        stopping = asyncio.create_task(stop.wait(), name="mqtt-stop")
        try:
            await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            return await connecting if connecting.done() else None
        finally:
            for task in (connecting, stopping):
                task.cancel()
            await asyncio.gather(connecting, stopping, return_exceptions=True)
