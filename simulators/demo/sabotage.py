"""Deliberate harm to the path, to prove that the verdict sees it: each kind changes batches on their way to the broker.

The batch keeps its identity, so the ingest acknowledges it and the gateway's buffer lets it go: only the truth
ledger can know. The same bytes are always changed in the same way, as a repeated batch must stay one batch.
"""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from telemetry.batch import pack, unpack
from telemetry.errors import ProtocolError
from telemetry.topics import Channel, parse_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.demo.frames import Publish

_EVERY: Final = 3
"""One batch in so many is harmed."""
_COPY_LATER_NS: Final = 3_000_000
_REMEMBERED: Final = 4096


class Sabotage(StrEnum):
    """What to do to the path."""

    DROP = "drop"
    """Remove a sample from a batch."""
    DUP = "dup"
    """Add a copy of a sample, a few milliseconds later."""
    ALTER = "alter"
    """Change a value slightly."""
    LEAK = "leak"
    """Put a raw card number into an unknown field of a batch."""
    LEAK_BAND = "leak-band"
    """Put a band's address there."""


class Saboteur:
    """Rewrites telemetry PUBLISH packets; `numbers` are what a leak puts there: raw card numbers, or addresses."""

    def __init__(self, kind: Sabotage, *, numbers: Sequence[str]) -> None:
        self.kind = kind
        self.harmed = 0
        """How many batches were changed."""
        self._numbers = numbers
        self._seen: Counter[str] = Counter()
        self._known: dict[tuple[Any, Any], bool] = {}

    def __call__(self, publish: Publish) -> Publish:
        """Return the packet to pass on: changed if it is this batch's turn, else the same object."""
        topic = parse_topic(publish.topic)
        if topic is None or topic.channel is not Channel.TELEMETRY:
            return publish
        try:
            batch = json.loads(unpack(publish.payload))
        except (ProtocolError, ValueError):
            return publish
        identity = (batch.get("epoch"), batch.get("batch"))
        if identity not in self._known:
            self._known[identity] = self._turn(batch)
            if len(self._known) > _REMEMBERED:
                self._known.pop(next(iter(self._known)))
        if not self._known[identity]:
            return publish
        self.harmed += 1
        self._harm(batch)
        plain = json.dumps(batch, separators=(",", ":"), ensure_ascii=False).encode()
        return publish.with_payload(pack(plain))

    def _turn(self, batch: dict[str, Any]) -> bool:
        """Whether to harm this batch. Events are rare, so each has its turn; of each other class one in `_EVERY`."""
        count = sum(len(block["samples"]) for block in batch["devices"])
        if self.kind is Sabotage.DROP and count < 2:  # noqa: PLR2004 - an empty batch would be noticed for another reason
            return False
        self._seen[batch["class"]] += 1
        return batch["class"] == "personal" or self._seen[batch["class"]] % _EVERY == 1

    def _harm(self, batch: dict[str, Any]) -> None:
        block = batch["devices"][0]
        sample = block["samples"][0]
        match self.kind:
            case Sabotage.DROP:
                del block["samples"][0]
                if not block["samples"]:
                    del batch["devices"][0]
            case Sabotage.DUP:
                block["samples"].append(sample | {"acquired_at_ns": sample["acquired_at_ns"] + _COPY_LATER_NS})
            case Sabotage.ALTER:
                _alter(sample)
            case Sabotage.LEAK | Sabotage.LEAK_BAND:
                batch["note"] = self._numbers[batch["batch"] % len(self._numbers)]


def _alter(sample: dict[str, Any]) -> None:
    """Move the first number a little, or the subject's handle by one bit where there is no number."""
    for name, value in sample.get("values", {}).items():
        if name != "sequence" and isinstance(value, float | int) and not isinstance(value, bool):
            sample["values"][name] = value + 0.125
            return
    if subject := sample.get("subject"):
        sample["subject"] = f"{int(subject[0], 16) ^ 1:x}{subject[1:]}"
