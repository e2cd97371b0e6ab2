"""From refused samples to dead letters: a letter is a message that can be replayed as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.deadletter import Letter
from telemetry.ack import Refused
from telemetry.batch import Batch, encode_batch, pack

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFLICT: Final = "conflict"
"""How the reason begins when a batch came again with other bytes."""
MOST_REASONS: Final = 16
"""Different ones in one batch; what is beyond shares the last: a letter and a refusal each would be thousands."""


def for_samples(
    topic: str, batch: Batch, refused: Mapping[int, str], payload: bytes | None = None
) -> tuple[list[Letter], list[Refused]]:
    """Return one letter and one refusal for each reason; with all samples refused alike, the letter is `payload`."""
    by_reason: dict[str, list[int]] = {}
    last = ""
    for index, reason in sorted(refused.items()):
        if reason not in by_reason and len(by_reason) >= MOST_REASONS - 1:
            last = last or f"too many different faults to be told apart; the first: {reason}"
            reason = last  # noqa: PLW2901
        by_reason.setdefault(reason, []).append(index)
    total = sum(len(block.samples) for block in batch.devices)
    letters: list[Letter] = []
    refusals: list[Refused] = []
    for reason, indices in by_reason.items():
        whole = len(indices) == total
        content = payload if whole and payload is not None else pack(encode_batch(_only(batch, set(indices))))
        letters.append(Letter(topic=topic, payload=content, reason=reason))
        refusals.append(Refused(batch=batch.number, samples=[] if whole else indices, reason=reason))
    return letters, refusals


def _only(batch: Batch, wanted: set[int]) -> Batch:
    """Return the batch with those samples alone; identity and device descriptions stay."""
    devices = []
    first = 0
    for block in batch.devices:
        samples = [sample for index, sample in enumerate(block.samples, start=first) if index in wanted]
        first += len(block.samples)
        if samples:
            devices.append(msgspec.structs.replace(block, samples=samples))
    return msgspec.structs.replace(batch, devices=devices)
