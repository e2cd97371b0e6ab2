"""The intake: decides what becomes of each telemetry message: written, answered from memory, refused or shed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cloud_ingest import letters
from cloud_ingest.deadletter import Letter
from cloud_ingest.decode import Accepted, Identity, Rejected, decode, reject
from cloud_ingest.parcel import Delivery, Parcel, cost_of
from cloud_ingest.revoked import REASON
from telemetry.ack import Refused
from telemetry.topics import parse_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloud_ingest.acks import Acknowledger
    from cloud_ingest.rows import RowMaker
    from cloud_ingest.seen import Seen
    from cloud_ingest.writer import Writer
    from telemetry.counters import Counters
    from telemetry.sample import DataClass

_log = logging.getLogger(__name__)
_MOST_CONFLICTS: Final = 4
"""Of one batch in hand; more are shed."""
_MOST_SHED: Final = 100_000


class Intake:
    """Holds the batches in hand by identity; writers report each settled one to `settled`."""

    def __init__(
        self,
        *,
        maker: RowMaker,
        seen: Seen,
        acks: Acknowledger,
        counters: Counters,
        revoked: Callable[[str, str], bool],
    ) -> None:
        self._revoked = revoked
        """Whether the batches of (site, gateway) are refused."""
        self._maker = maker
        self._seen = seen
        self._acks = acks
        self._counters = counters
        self._in_hand: dict[Identity, Parcel] = {}
        self._shed_by: set[tuple[str, str, str]] = set()
        """Site, gateway and epoch of batches that were shed."""
        self._filer: Writer | None = None
        self._routes: Mapping[DataClass, Writer] = {}

    def route(self, *, filer: Writer, routes: Mapping[DataClass, Writer]) -> None:
        """Name the writers: one a class, and the one that files letters. A class without a writer is refused."""
        self._filer = filer
        self._routes = routes

    async def accept(self, delivery: Delivery) -> None:
        """Take one telemetry message; returns at once unless the broker is slow in taking acknowledgements."""
        self._counters.add("intake.messages")
        self._counters.add("intake.bytes", len(delivery.payload))
        if self._is_revoked(delivery.topic):
            # Not even decoded: its devices would use up the series of the site.
            self._counters.add("intake.revoked_gateways")
            self._reject(delivery, reject(delivery.topic, delivery.payload, REASON))
        elif isinstance(decoded := decode(delivery.topic, delivery.payload, self._maker), Rejected):
            self._reject(delivery, decoded)
        else:
            self._sort(delivery, decoded)
        delivery.release()
        await self._acks.flush()

    def _is_revoked(self, topic: str) -> bool:
        where = parse_topic(topic)
        return where is not None and self._revoked(where.site, where.gateway)

    def settled(self, parcel: Parcel) -> None:
        """Forget a batch in hand; conflicts that waited for it are refused now."""
        if parcel.identity is not None and self._in_hand.get(parcel.identity) is parcel:
            del self._in_hand[parcel.identity]
        for conflict in parcel.after:
            self._file(conflict)

    def _sort(self, delivery: Delivery, accepted: Accepted) -> None:
        identity = accepted.identity
        in_hand = self._in_hand.get(identity)
        known = self._seen.lookup(identity)
        if known is not None and known.digest != accepted.digest:
            self._counters.add("intake.conflicts")
            _log.error(
                "batch %d of %s/%s came again with other bytes: is its buffer copied, or its name used twice?",
                identity.number,
                identity.site,
                identity.gateway,
            )
            reason = f"{letters.CONFLICT}: this batch is known with other bytes"
            self._refuse(delivery, identity, accepted.digest, reason)
        elif in_hand is not None:
            self._counters.add("intake.known_batches")
            in_hand.deliveries.append(delivery)
            self._routes[accepted.batch.data_class].answer_if_busy(in_hand)
        elif known is not None and known.settled:
            self._counters.add("intake.known_batches")
            self._acks.settled(identity, known.refused, [delivery])
        else:
            self._take(delivery, accepted)

    def _take(self, delivery: Delivery, accepted: Accepted) -> None:
        identity, batch = accepted.identity, accepted.batch
        writer = self._routes.get(batch.data_class)
        if writer is None:
            self._counters.add(f"intake.unrouted.{batch.data_class}")
            reason = f"no store may keep class {batch.data_class}: set store.routes.{batch.data_class}"
            self._refuse(delivery, identity, accepted.digest, reason)
            return
        values = sum(len(row.fields) for row in accepted.rows)
        cost = cost_of(values, accepted.size)
        if not writer.has_room(cost):
            # The gateway keeps the batch and sends it again: shedding loses nothing and bounds our memory.
            self._shed(identity, writer.retry_after_s, [delivery])
            return
        filed, refusals = letters.for_samples(delivery.topic, batch, accepted.refused, delivery.payload)
        if refusals:
            self._counters.add("intake.refused_samples", len(accepted.refused))
            _log.warning(
                "%d samples of %s/%s are refused: %s",
                len(accepted.refused),
                identity.site,
                identity.gateway,
                refusals[0].reason,
            )
        parcel = Parcel(
            topic=delivery.topic,
            identity=identity,
            digest=accepted.digest,
            # Only what the store may yet refuse is needed again.
            batch=batch if accepted.rows else None,
            rows=accepted.rows,
            letters=filed,
            refused=refusals,
            values=values,
            cost=cost,
            deliveries=[delivery],
        )
        self._seen.claim(identity, accepted.digest)
        self._in_hand[identity] = parcel
        self._counters.add(f"intake.accepted_batches.{batch.data_class}")
        writer.submit(parcel)

    def _reject(self, delivery: Delivery, rejected: Rejected) -> None:
        self._counters.add("intake.poison_messages")
        _log.warning("message on %s cannot be stored: %s", delivery.topic[:200], rejected.reason)
        self._refuse(delivery, rejected.identity, rejected.digest, rejected.reason)

    def _refuse(self, delivery: Delivery, identity: Identity | None, digest: bytes, reason: str) -> None:
        """Have the whole message filed and its gateway told, as soon as that cannot free a batch still in hand."""
        parcel = Parcel(
            topic=delivery.topic,
            identity=identity,
            digest=digest,
            letters=[Letter(topic=delivery.topic, payload=delivery.payload, reason=reason)],
            refused=[Refused(batch=identity.number, samples=[], reason=reason)] if identity else [],
            cost=cost_of(0, len(delivery.payload)),
            deliveries=[delivery],
            settles=False,
        )
        in_hand = self._in_hand.get(identity) if identity else None
        if in_hand is None:
            self._file(parcel)
        elif len(in_hand.after) < _MOST_CONFLICTS:
            in_hand.after.append(parcel)
        else:
            self._shed_refusal(parcel)

    def _file(self, parcel: Parcel) -> None:
        if self._filer is not None and self._filer.has_room(parcel.cost):
            self._filer.submit(parcel)
        else:
            self._shed_refusal(parcel)

    def _shed_refusal(self, parcel: Parcel) -> None:
        """Let the gateway send it again; what names no gateway is dropped, lest it fill Receive Maximum for ever."""
        if parcel.identity is not None and self._filer is not None:
            self._shed(parcel.identity, self._filer.retry_after_s, parcel.deliveries)
            return
        self._counters.add("intake.dropped_poison")
        for delivery in parcel.deliveries:
            delivery.acknowledge()

    def _shed(self, identity: Identity, retry_after_s: float, deliveries: Sequence[Delivery]) -> None:
        self._counters.add("intake.shed_batches")
        if len(self._shed_by) < _MOST_SHED:
            self._shed_by.add((identity.site, identity.gateway, identity.epoch))
        self._acks.wait(identity, retry_after_s, deliveries)

    def call_back(self) -> None:
        """Greet whose batches were shed: there is room again, and their time-outs may be minutes away."""
        shed_by, self._shed_by = self._shed_by, set()
        for site, gateway, epoch in shed_by:
            self._acks.greet(site, gateway, epoch)
