"""Commands: what comes on `command`, taken one after the other, each answered on `reply`."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from telemetry.erasure import COMMAND_SCHEMA
from telemetry.errors import ProtocolError
from telemetry.signed import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from edge_agent.privacy import Documents
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
REPLY_SCHEMA: Final = "campus.reply/1"
MAX_WAITING: Final = 8
MAX_COMMAND_BYTES: Final = 2 * MAX_BYTES
"""JSON escapes quotes and line ends: a document grows on its way."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command; what it asks for is signed by itself, since whoever may publish may send one."""

    schema: str
    kind: str
    text: str = ""
    """The signed document, or whatever the kind takes."""
    id: str | None = None
    """Comes back in the reply."""


Answer = dict[str, Any]
"""`ok`, `text` for people, and what else the kind tells."""


@dataclass(slots=True, kw_only=True)
class Commands:
    """`take` may be called from the event loop at any time; `run` does the work, until cancelled."""

    handlers: Mapping[str, Callable[[Command], Awaitable[Answer]]]
    """Kind → what carries it out. It raises ProtocolError for a command that is wrong."""
    reply: Callable[[dict[str, Any]], None]
    now_ns: Callable[[], int]
    counters: Counters
    site: str
    gateway: str
    _waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))

    def take(self, payload: bytes) -> None:
        """Take one message; one that is too large, or of too many, is dropped and counted."""
        if not payload:
            return  # a retained command was cleared
        if len(payload) > MAX_COMMAND_BYTES:
            self.counters.add("commands.too_large")
            return
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self.counters.add("commands.dropped")

    async def run(self) -> None:
        """Carry out what was taken, one after the other."""
        while True:
            self.reply(await self._answer(await self._waiting.get()))

    async def _answer(self, payload: bytes) -> dict[str, Any]:
        head = {
            "schema": REPLY_SCHEMA,
            "site": self.site,
            "gateway": self.gateway,
            "at_ns": self.now_ns(),
            "id": None,
            "kind": None,
        }
        try:
            command = _decoded(payload)
            head |= {"id": command.id, "kind": command.kind}
            answer = await self.handlers.get(command.kind, _unknown)(command)
        except ProtocolError as error:
            self.counters.add("commands.refused")
            _LOG.warning("a command was refused: %s", error)
            answer = {"ok": False, "text": f"refused: {error}"}
        return head | answer


async def _unknown(command: Command) -> Answer:
    raise ProtocolError(f"this gateway knows no command {command.kind[:40]!r}")


def _decoded(payload: bytes) -> Command:
    try:
        command = msgspec.json.decode(payload, type=Command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("the command cannot be decoded") from error
    if command.schema != COMMAND_SCHEMA:
        raise ProtocolError(f"schema {command.schema[:40]!r} is not supported; this version takes {COMMAND_SCHEMA!r}")
    return command


def document_handler(documents: Documents) -> Callable[[Command], Awaitable[Answer]]:
    """Return what takes a signed policy, consents or roster."""

    async def handle(command: Command) -> Answer:
        receipt = await documents.receive(command.text.encode("utf-8", "replace"))
        return {
            "ok": receipt.ok,
            "text": receipt.text,
            "document": str(receipt.kind) if receipt.kind else None,
            "serial": receipt.serial,
        }

    return handle
