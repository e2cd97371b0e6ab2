"""The console's own connection to the broker: hears what all gateways tell of themselves, says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final

import aiomqtt

from cloud_ingest.broker import BrokerClient, subscribe
from cloud_ingest.reconnect import Reconnector
from telemetry.topics import Channel, gateway_topic

if TYPE_CHECKING:
    from cloud_ingest.console.fleet import Fleet
    from cloud_ingest.settings import MqttSettings
    from telemetry.counters import Counters

_GOODBYE_S: Final = 1.0
_QUEUE: Final = 65_535
"""Room for the retained messages of a large fleet, which come all at once; half of what the client queues."""
_CHANNELS: Final = (Channel.STATUS, Channel.DEVICES, Channel.HEALTH)


class Listener:
    """Feeds the fleet; reconnects for ever, with jitter."""

    def __init__(self, settings: MqttSettings, fleet: Fleet, counters: Counters) -> None:
        # An id of its own: with the ingest's the broker would throw the ingest out.
        client_id = f"console-{secrets.token_hex(4)}"
        own = settings.model_copy(update={"client_id": client_id, "receive_maximum": _QUEUE})
        self._fleet = fleet
        self._reconnector = Reconnector(own, counters)
        self._stop = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """Why gateways cannot be heard; none if they can."""
        return self._reconnector.problem

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._reconnector.run(self._session, self._stop)

    async def _session(self, protocol: aiomqtt.ProtocolVersion) -> None:
        client = await self._reconnector.open(protocol, self._stop)
        if client is None:
            return
        try:
            await self._read(client)
        finally:
            client.timeout = _GOODBYE_S
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _read(self, client: BrokerClient) -> None:
        for channel in _CHANNELS:
            await subscribe(client, gateway_topic("+", "+", channel), 0)
        self._reconnector.established(client)
        async for message in client.messages:
            if client.overflowed:
                raise aiomqtt.MqttError("more messages than fit arrived; connecting anew")
            self._fleet.hear(message.topic.value, bytes(message.payload), retained=message.retain)
