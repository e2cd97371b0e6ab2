"""Samples become batches: one open batch a class, closed by time or size, encoded once. Pure: time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from edge_agent.buffer.priority import Priority, priority_of
from edge_agent.buffer.record import EncodedBatch
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, DeviceInfo, encode_batch, pack
from telemetry.errors import ConfigError, Problem
from telemetry.sample import Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.sample import Admitted, DataClass


@dataclass(slots=True, kw_only=True)
class OpenBatch:
    """Samples of one class that still wait for company."""

    data_class: DataClass
    event: bool
    opened: float
    """Loop time of the first append: it lingers from here."""
    taken_at: float
    """Loop time that the oldest sample's acquisition corresponds to: age is measured from here."""
    spill_at: float
    """Loop time by which it has to be acknowledged or on its way to disk."""
    blocks: dict[str, list[BatchSample]] = field(default_factory=dict)
    samples: int = 0
    values: int = 0
    plain_bytes: int = 0
    oldest_at_ns: int = 0

    @property
    def priority(self) -> Priority:
        """What it is worth."""
        return priority_of(self.data_class, event=self.event)


@dataclass(slots=True, kw_only=True)
class ClosedBatch:
    """An encoded batch with the times that decide what becomes of it."""

    batch: EncodedBatch
    taken_at: float
    spill_at: float
    on_disk: bool = False
    taken: bool = False
    """Handed to the publisher, which sends it until it is acknowledged."""


class Assembler:
    """Keeps the open batches."""

    def __init__(
        self,
        *,
        site: str,
        gateway: str,
        simulated: bool,
        devices: Mapping[str, DeviceInfo],
        window_s: float,
        spill_share: float,
        max_values: int,
        max_bytes: int,
    ) -> None:
        self.open: dict[tuple[DataClass, bool, bool], OpenBatch] = {}
        self._site = site
        self._gateway = gateway
        self._simulated = simulated
        self._devices = devices
        self._window_s = window_s
        self._spill_s = window_s * spill_share
        self._max_values = max_values
        self._max_bytes = max_bytes
        self._encoder = msgspec.json.Encoder()
        self._block_bytes: dict[str, int] = {}

    @property
    def plain_bytes(self) -> int:
        """Bytes of JSON that the open batches will have."""
        return sum(batch.plain_bytes for batch in self.open.values())

    def add(self, admitted: Admitted, *, now: float, age_s: float) -> tuple[OpenBatch, OpenBatch | None]:
        """Put a sample of age `age_s` at loop time `now` into its open batch.

        Returns that batch, and the full one that had to make room for it, now out of `open`.
        Raises ConfigError if nothing is known about the device.
        """
        if admitted.device not in self._devices:
            raise ConfigError(
                [
                    Problem(
                        where=f"device {admitted.device!r}", what="unknown to the buffer", mend="name it in [[device]]"
                    )
                ]
            )
        sample = BatchSample(
            acquired_at_ns=admitted.acquired_at_ns,
            values=admitted.values,
            bad=admitted.bad or None,
            quality=admitted.quality,
            subject=admitted.handle,
        )
        # What comes later than W cannot keep it any more (a clock that was just set); it must not age its neighbours.
        late = age_s >= self._window_s
        event = admitted.durability is Durability.EVENT
        key = (admitted.data_class, event, late)
        values = len(admitted.values) + len(admitted.bad)
        size = len(self._encoder.encode(sample)) + 1
        full = self.open.get(key)
        if full is not None and self._fits(full, admitted.device, values, size):
            full = None
        if full is not None:
            del self.open[key]
        batch = self.open.get(key)
        taken_at = now - age_s
        spill_at = (now if late else taken_at) + self._spill_s
        if batch is None:
            batch = self.open[key] = OpenBatch(
                data_class=admitted.data_class,
                event=event,
                opened=now,
                taken_at=taken_at,
                spill_at=spill_at,
                plain_bytes=256,
                oldest_at_ns=admitted.acquired_at_ns,
            )
        if admitted.device not in batch.blocks:
            batch.blocks[admitted.device] = []
            batch.plain_bytes += self._block(admitted.device)
        batch.blocks[admitted.device].append(sample)
        batch.samples += 1
        batch.values += values
        batch.plain_bytes += size
        batch.taken_at = min(batch.taken_at, taken_at)
        batch.spill_at = min(batch.spill_at, spill_at)
        batch.oldest_at_ns = min(batch.oldest_at_ns, admitted.acquired_at_ns)
        return batch, full

    def full(self, batch: OpenBatch) -> bool:
        """Whether nothing more should be put into `batch`."""
        return batch.values >= self._max_values or batch.plain_bytes >= self._max_bytes

    def forget(self, who: Callable[[str], bool]) -> tuple[int, int]:
        """Take the rows of these people out of the open batches; return how many samples and values that were."""
        samples = values = 0
        for batch in list(self.open.values()):
            theirs = [
                (device, one)
                for device, block in batch.blocks.items()
                for one in block
                if one.subject is not None and who(one.subject)
            ]
            for device, one in theirs:
                number = len(one.values) + len(one.bad or {})
                batch.blocks[device].remove(one)
                batch.samples -= 1
                batch.values -= number
                batch.plain_bytes -= len(self._encoder.encode(one)) + 1
                samples, values = samples + 1, values + number
            for device in [device for device, block in batch.blocks.items() if not block]:
                del batch.blocks[device]
                batch.plain_bytes -= self._block(device)
            if not batch.samples:
                self.discard(batch)
            elif theirs:
                batch.oldest_at_ns = min(one.acquired_at_ns for block in batch.blocks.values() for one in block)
        return samples, values

    def discard(self, batch: OpenBatch) -> None:
        """Take `batch` out of the open ones, to be closed."""
        for key in [key for key, other in self.open.items() if other is batch]:
            del self.open[key]

    def encode(self, batch: OpenBatch, identity: Callable[[], tuple[str, int]]) -> ClosedBatch:
        """Close `batch`: take its number, freeze its time, encode it once."""
        epoch, number = identity()
        blocks = [
            DeviceBlock(**msgspec.structs.asdict(self._devices[device]), samples=samples)
            for device, samples in batch.blocks.items()
        ]
        plain = encode_batch(
            Batch(
                schema=SCHEMA,
                site=self._site,
                gateway=self._gateway,
                epoch=epoch,
                number=number,
                data_class=batch.data_class,
                devices=blocks,
                simulated=self._simulated,
            )
        )
        encoded = EncodedBatch(
            epoch=epoch,
            number=number,
            data_class=batch.data_class,
            event=batch.event,
            samples=batch.samples,
            values=batch.values,
            oldest_at_ns=batch.oldest_at_ns,
            payload=pack(plain),
        )
        return ClosedBatch(batch=encoded, taken_at=batch.taken_at, spill_at=batch.spill_at)

    def _fits(self, batch: OpenBatch, device: str, values: int, size: int) -> bool:
        block = 0 if device in batch.blocks else self._block(device)
        return batch.values + values <= self._max_values and batch.plain_bytes + block + size <= self._max_bytes

    def _block(self, device: str) -> int:
        """Return the bytes of what travels once with a device's samples; devices may come while the agent runs."""
        size = self._block_bytes.get(device)
        if size is None:
            size = self._block_bytes[device] = len(self._encoder.encode(self._devices[device])) + 16
        return size
