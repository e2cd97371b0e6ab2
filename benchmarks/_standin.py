"""Stand-in for the ingest: hears every batch, acknowledges it at once, and keeps it to be counted afterwards.

Its thread lives in the benchmark's own process, so that it costs the agent nothing. It decodes only a batch's head.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from telemetry.ack import Ack, encode_ack
from telemetry.batch import decode_batch, peek_identity, unpack
from telemetry.topics import Channel, gateway_topic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Arrival = tuple[float, str, bytes]
"""`time.monotonic()`, topic and payload of a batch."""
_TELEMETRY: Final = "campus/v1/+/+/telemetry/#"


class Standin:
    """Hears from its making until `close`."""

    def __init__(self, url: str) -> None:
        self.arrivals: list[Arrival] = []
        """It grows as long as anybody publishes: take a copy of what is to be counted."""
        self._subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="stand-in")
        self._client.max_inflight_messages_set(0)
        self._client.on_connect = lambda client, *_: client.subscribe(_TELEMETRY, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        broker = urlsplit(url)
        self._client.connect(broker.hostname or "", broker.port or 1883)
        self._client.loop_start()

    @property
    def ready(self) -> bool:
        """Whether the broker has confirmed the subscription."""
        return self._subscribed

    def close(self) -> None:
        """Hang up."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed = True

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        self.arrivals.append((time.monotonic(), message.topic, payload))
        identity = peek_identity(payload)
        if identity is None:
            raise RuntimeError(f"a batch on {message.topic} has no identity")
        epoch, number = identity
        site, gateway = message.topic.split("/")[2:4]
        ack = Ack(epoch=epoch, time_ns=time.time_ns(), stored=[(number, number)])
        client.publish(gateway_topic(site, gateway, Channel.STORED), encode_ack(ack), qos=1)


def values_in(arrivals: Sequence[Arrival]) -> tuple[int, int]:
    """Return how many good and how many bad values these batches hold; a batch that came twice counts once."""
    once: dict[tuple[str, int], tuple[int, int]] = {}
    for _, _, payload in arrivals:
        batch = decode_batch(unpack(payload))
        samples = [sample for block in batch.devices for sample in block.samples]
        good, bad = sum(len(one.values) for one in samples), sum(len(one.bad or {}) for one in samples)
        once[batch.epoch, batch.number] = good, bad
    return sum(good for good, _ in once.values()), sum(bad for _, bad in once.values())


@contextlib.contextmanager
def standin(url: str) -> Iterator[Standin]:
    """Yield a stand-in that is subscribed."""
    made = Standin(url)
    try:
        deadline = time.monotonic() + 10
        while not made.ready:
            if time.monotonic() > deadline:
                raise RuntimeError("the broker did not confirm the subscription")
            time.sleep(0.01)
        yield made
    finally:
        made.close()
