"""Erasing: purges the buffer of people who withdrew, and of those whom the cloud orders to erase."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.privacy.accepted import replace_file
from telemetry.erasure import Erased, Erasure, decode_order
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from pathlib import Path

    from edge_agent.auditing import Auditor
    from edge_agent.buffer import Buffer
    from edge_agent.commands import Answer, Command
    from edge_agent.privacy import Documents
    from telemetry.counters import Counters
    from telemetry.erasure import Order
    from telemetry.signed import PublicKey

_LOG: Final = logging.getLogger(__name__)
NAME: Final = "erasures.json"
SCHEMA: Final = "campus.erasures/1"
RETRY_S: Final = 15.0
MAX_REMEMBERED: Final = 1000


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What one request found here."""

    at_ns: int
    samples: int
    values: int
    batches: int


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the cloud; without `done` it is still to be carried out."""

    erasure: Erasure
    done: Done | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The state file: no handle stands in it."""

    schema: str = SCHEMA
    site: str
    serial: int = 0
    """Of the last order that was followed."""
    requests: dict[str, Known] = {}


def load(path: Path, *, site: str) -> Memory:
    """Return the state; a fresh one where there is none, or one that cannot be read: orders come again."""
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory(site=site)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _LOG.warning("%s cannot be read: orders of the cloud are followed anew", path)
        return Memory(site=site)
    return memory if (memory.schema, memory.site) == (SCHEMA, site) else Memory(site=site)


class Eraser:
    """Whoever is to go is written down first, purged then, and crossed off last: a crash in between repeats it."""

    def __init__(
        self,
        path: Path,
        *,
        buffer: Buffer,
        documents: Documents,
        forget: Callable[[Callable[[str], bool]], Awaitable[tuple[int, int]]],
        unsend: Callable[[Collection[tuple[str, int]]], None],
        trusted: Mapping[str, PublicKey],
        site: str,
        gateway: str,
        now_ns: Callable[[], int],
        audit: Auditor,
        counters: Counters,
        again: Callable[[Command], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._buffer = buffer
        self._documents = documents
        self._forget = forget
        """Takes people out of what waits before the buffer; returns samples and values."""
        self._unsend = unsend
        """Takes batches back from the publisher."""
        self._trusted = trusted
        self._site = site
        self._gateway = gateway
        self._now_ns = now_ns
        self._audit = audit
        self._again = again
        """Has a command carried out once more, so that its answer is sent."""
        self._unanswered: Command | None = None
        self._counters = counters
        self._memory = load(path, site=site)
        self._due = asyncio.Event()
        self._lock = asyncio.Lock()

    def look(self) -> None:
        """Notice that somebody may have withdrawn: called when the documents changed."""
        if self._documents.withdrawn:
            self._due.set()

    async def settle(self) -> bool:
        """Purge everybody who is written down; false if the disk refused, and it has to be tried again."""
        async with self._lock:
            try:
                await self._purge_withdrawn()
                await self._carry_out()
            except OSError as error:
                self._counters.add("buffer.purges_failed")
                _LOG.error("rows of people who must go cannot be purged (%s) → mend the disk; trying again", error)
                return False
        return True

    async def run(self) -> None:
        """Purge whenever somebody is written down, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            if not await self.settle():
                await asyncio.sleep(RETRY_S)
                self._due.set()
            elif self._unanswered is not None:
                command, self._unanswered = self._unanswered, None
                self._again(command)

    async def handle(self, command: Command) -> Answer:
        """Follow an order of the cloud; answer what was found. Raises ProtocolError if it must not be followed."""
        try:
            order = self._order(command)
        except ProtocolError as error:
            self._counters.add("privacy.commands_refused")
            self._audit.refused("erase_refused", why=str(error)[:200])
            raise
        before = self._memory.requests
        named = {one.request: before.get(one.request) or Known(erasure=one) for one in order.erasure}
        if named.keys() - before.keys() or order.serial > self._memory.serial:
            # What the order names comes last: of too many the oldest that it does not name are forgotten.
            others = {request: known for request, known in before.items() if request not in named}
            requests = dict(list((others | named).items())[-MAX_REMEMBERED:])
            await self._remember(msgspec.structs.replace(self._memory, serial=order.serial, requests=requests))
        settled = await self.settle()
        if not settled:
            self._unanswered = command
            self._due.set()
        known = [self._memory.requests[erasure.request] for erasure in order.erasure]
        return {
            "ok": settled and all(one.done is not None for one in known),
            "text": "erased" if settled else "not yet: the buffer's disk refuses; it is tried again",
            "serial": order.serial,
            "erasures": [self._told(one) for one in known],
        }

    def _order(self, command: Command) -> Order:
        if not self._trusted:
            raise ProtocolError("no [privacy] cloud_key is set here: orders to erase cannot be verified")
        order = decode_order(command.text, self._trusted, site=self._site, target=self._gateway, now_ns=self._now_ns())
        if order.serial < self._memory.serial:
            raise ProtocolError(f"order {order.serial} is older than order {self._memory.serial}, which was followed")
        return order

    def _told(self, known: Known) -> dict[str, Any]:
        who = Erased([known.erasure])
        listed = self._documents.in_force.consented(self._now_ns()).values()
        told: dict[str, Any] = {
            "request": known.erasure.request,
            # Who erases somebody without withdrawing his consent goes on measuring him.
            "still_consented": len({handle for handles in listed for handle in handles if who(handle)}),
        }
        return told | (msgspec.structs.asdict(known.done) if known.done is not None else {})

    async def _purge_withdrawn(self) -> None:
        withdrawn = dict(self._documents.withdrawn)
        handles = frozenset(handle for gone in withdrawn.values() for handle in gone)
        if not handles:
            return
        done = await self._purge(handles.__contains__, reason="withdrawn")
        await self._documents.purged(withdrawn)
        self._audit("purged", reason="withdrawn", people=len(handles), values=done.values, batches=done.batches)
        _LOG.info("%d handles withdrew: %d values were purged from the buffer", len(handles), done.values)

    async def _carry_out(self) -> None:
        for request, known in list(self._memory.requests.items()):
            if known.done is not None:
                continue
            done = await self._purge(Erased([known.erasure]), reason="erased")
            changed = self._memory.requests | {request: msgspec.structs.replace(known, done=done)}
            await self._remember(msgspec.structs.replace(self._memory, requests=changed))
            self._audit(
                "erased", request=request, handles=len(known.erasure.hashes), values=done.values, batches=done.batches
            )
            _LOG.info("erasure %s: %d values were purged from the buffer", request, done.values)

    async def _purge(self, who: Callable[[str], bool], *, reason: str) -> Done:
        samples, values = await self._forget(who)
        purged = await self._buffer.purge(who, reason=reason)
        self._unsend(purged.gone)
        return Done(
            at_ns=self._now_ns(),
            samples=samples + purged.samples,
            values=values + purged.values,
            batches=purged.batches,
        )

    async def _remember(self, memory: Memory) -> None:
        """Write the state before anything is done about it."""
        try:
            await asyncio.to_thread(replace_file, self._path, msgspec.json.encode(memory))
        except OSError as error:
            # Without the file a crash could leave it undone until the order comes again, which is retained.
            self._counters.add("privacy.state_unwritable")
            _LOG.error("%s cannot be written: %s", self._path, error.strerror)
        self._memory = memory
