"""Acknowledgements: published on `stored` first, then the PUBLISH itself is acknowledged to the broker."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from telemetry.ack import Ack, Refused, encode_ack
from telemetry.ranges import to_ranges
from telemetry.topics import Channel, gateway_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cloud_ingest.decode import Identity
    from cloud_ingest.parcel import Delivery
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
_QUEUE: Final = 256
_PARALLEL: Final = 16
_Key = tuple[str, str, str]


class Publisher(Protocol):
    """The broker's connection, as far as acknowledgements need it."""

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish with QoS 1; false if there is no connection or the broker did not take it in time."""
        ...


class _Answer:
    """What one gateway is told at once."""

    __slots__ = ("answers_ns", "deliveries", "refused", "retry_after_s", "stored")

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self.refused: list[Refused] = []
        self.retry_after_s = 0.0
        self.deliveries: list[Delivery] = []
        self.answers_ns: int | None = None


class Acknowledger:
    """Groups answers by gateway and epoch; bounded: whoever settles batches waits for a slow broker."""

    def __init__(self, publisher: Publisher, counters: Counters, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._publisher = publisher
        self._counters = counters
        self._now_ns = now_ns
        self._open: dict[_Key, _Answer] = {}
        self._ready: asyncio.Queue[dict[_Key, _Answer]] = asyncio.Queue(_QUEUE)

    def settled(self, identity: Identity, refused: Sequence[Refused], deliveries: Iterable[Delivery]) -> None:
        """Note that a batch is stored but for `refused`; sent by the next `flush`."""
        answer = self._answer(identity)
        if not any(not refusal.samples for refusal in refused):
            answer.stored.add(identity.number)
        answer.refused.extend(refused)
        answer.deliveries.extend(deliveries)

    def wait(self, identity: Identity, retry_after_s: float, deliveries: Iterable[Delivery] = ()) -> None:
        """Note that the gateway of `identity` should send nothing new for so long."""
        answer = self._answer(identity)
        answer.retry_after_s = max(answer.retry_after_s, retry_after_s)
        answer.deliveries.extend(deliveries)

    def greet(self, site: str, gateway: str, epoch: str, at_ns: int | None = None) -> None:
        """Note that a gateway, whose `status` said `at_ns`, is to hear that the ingest is here, and what time it is."""
        self._open.setdefault((site, gateway, epoch), _Answer()).answers_ns = at_ns

    def _answer(self, identity: Identity) -> _Answer:
        return self._open.setdefault((identity.site, identity.gateway, identity.epoch), _Answer())

    async def flush(self) -> None:
        """Hand over what was noted; waits while the broker is slow."""
        if self._open:
            ready, self._open = self._open, {}
            await self._ready.put(ready)

    async def drained(self) -> None:
        """Wait until all that was handed over is published or given up."""
        await self._ready.join()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            answers = await self._ready.get()
            try:
                items = list(answers.items())
                for start in range(0, len(items), _PARALLEL):
                    async with asyncio.TaskGroup() as group:
                        for key, answer in items[start : start + _PARALLEL]:
                            group.create_task(self._publish(key, answer), name=f"ack-{key[1]}")
            finally:
                self._ready.task_done()

    async def _publish(self, key: _Key, answer: _Answer) -> None:
        site, gateway, epoch = key
        ack = Ack(
            epoch=epoch,
            time_ns=self._now_ns(),
            stored=to_ranges(answer.stored),
            refused=answer.refused,
            retry_after_s=answer.retry_after_s,
            answers_ns=answer.answers_ns,
        )
        if await self._publisher.publish(gateway_topic(site, gateway, Channel.STORED), encode_ack(ack)):
            self._counters.add("ack.published")
            for delivery in answer.deliveries:
                delivery.acknowledge()
        else:
            # The gateway sends the batches again and is answered from memory.
            self._counters.add("ack.unsent")
            _log.warning("acknowledgement to %s/%s could not be sent; it will ask again", site, gateway)
