"""What the ingest reads of the gateways' health: the heads of their audit logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.audit_heads import Told
from telemetry.topics import Channel, parse_topic

if TYPE_CHECKING:
    from cloud_ingest.audit_heads import AuditHeads
    from telemetry.counters import Counters

MAX_BYTES: Final = 1_000_000
_LAST: Final = f"/{Channel.HEALTH}"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Of a health document, what is read here."""

    audit: Told | None = None


def is_health(topic: str) -> bool:
    """Tell whether a topic is some gateway's health."""
    return topic.endswith(_LAST)


class HealthListener:
    """Notes each head that is told; what is no health document is counted. The gateway is the topic's."""

    def __init__(self, heads: AuditHeads, counters: Counters) -> None:
        self._heads = heads
        self._counters = counters
        self._decoder = msgspec.json.Decoder(Health)

    def take(self, topic: str, payload: bytes) -> None:
        """Take one message; never raises for what is in it."""
        where = parse_topic(topic)
        if where is None or where.channel is not Channel.HEALTH:
            return
        try:
            # What is longer than any health document is cut, and then no JSON any more.
            audit = self._decoder.decode(payload[:MAX_BYTES]).audit
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._counters.add("audit.bad_health")
            return
        if audit is not None:
            self._heads.note(where.site, where.gateway, audit)
