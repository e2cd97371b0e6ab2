"""Rdm6300Driver: one Sample per presence of a card."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from drivers.rdm6300.frame import FrameDecoder
from drivers.rdm6300.lapses import Lapses
from drivers.rdm6300.presence import Presences
from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID, Number
from telemetry.sample import Sample, Subject
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from drivers.links import Link
    from drivers.rdm6300.presence import Arrival
    from telemetry.driver import DeviceContext
    from telemetry.profile import DeviceProfile

POINT: Final = "presence"
SEE: Final = "drivers/rdm6300/README.md"


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Options:
    """The driver's options: a profile's `[options]`, overridden by the device's."""

    confirm_frames: Annotated[int, Field(strict=True, ge=1, le=10)] = 2
    gap_s: Annotated[Number, Field(ge=0.2, le=60)] = 1.0
    """A reader repeats its frame each 65 ms: with less than three of them a card would leave between two frames."""


class Rdm6300Driver:
    """One reader on its own serial port; keeps the link's turn for as long as it listens."""

    def __init__(self, context: DeviceContext, link: Link) -> None:
        found: list[Problem] = []
        options = validated(Options, context.options, f"device {context.device}: options", found, see=SEE)
        if options is None:
            raise ConfigError(found)
        self._context = context
        self._link = link
        self._options = options

    async def __aenter__(self) -> Self:
        """Nothing to prepare: the reader speaks by itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release: the port closes with its link."""

    async def samples(self) -> AsyncIterator[Sample]:
        """Yield one Sample per arrival of a card. Raises DeviceUnavailable when the port is lost."""
        decoder = FrameDecoder()
        gap_s = self._options.gap_s
        async with self._link.turn() as port:
            # A process that was frozen for longer than the gap must not take the rest of a tap for another one.
            with Lapses(tick_s=gap_s / 4, least_s=gap_s / 2) as lapses:
                opened_s = time.monotonic()
                presences = Presences(
                    confirm_frames=self._options.confirm_frames, gap_s=gap_s, opened_s=lapses.without(opened_s)
                )
                while True:
                    # All sightings first, by the time at which each came: whoever takes a sample may be slow, which
                    # must not look like a card that left and came back.
                    pieces = await port.receive_pieces()
                    for arrival in self._arrivals(pieces, decoder, presences, lapses):
                        yield Sample(
                            device=self._context.device,
                            acquired_at_ns=arrival.first_ns,
                            values={POINT: True},
                            subject=Subject(kind="card", identifier=arrival.card),
                            resumed=arrival.resumed,
                        )
                    self._count(decoder, presences)

    def _arrivals(
        self, pieces: list[tuple[float, bytes]], decoder: FrameDecoder, presences: Presences, lapses: Lapses
    ) -> list[Arrival]:
        behind_ns = self._context.now_ns() - int(time.monotonic() * 1e9)
        sightings = (
            presences.sighting(card, now_s=lapses.without(came), now_ns=int(came * 1e9) + behind_ns)
            for came, data in pieces
            for card in decoder.feed(data)
        )
        return [arrival for arrival in sightings if arrival is not None]

    def _count(self, decoder: FrameDecoder, presences: Presences) -> None:
        prefix = f"device.{self._context.device}"
        self._context.counters.add(f"{prefix}.garbage_bytes", decoder.garbage_bytes)
        self._context.counters.add(f"{prefix}.checksum_errors", decoder.checksum_errors)
        self._context.counters.add(f"{prefix}.unconfirmed_cards", presences.unconfirmed)
        decoder.garbage_bytes = decoder.checksum_errors = presences.unconfirmed = 0


def create(context: DeviceContext, link: Link) -> Rdm6300Driver:
    """Return the driver for one reader. Raises ConfigError if its options are wrong."""
    return Rdm6300Driver(context, link)


def problems(profile: DeviceProfile, options: dict[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's points and the device's options."""
    found: list[Problem] = []
    validated(Options, options, where, found, see=SEE)
    if [point.name for point in profile.points] != [POINT]:
        found.append(
            Problem(
                where=f"profile {profile.id}: point",
                what=f"a card reader has exactly one point, named {POINT!r}",
                mend=f'keep one [[point]] with name = "{POINT}", quantity = "presence"',
            )
        )
    return found


def link_address(options: Mapping[str, bool | int | float | str]) -> int | None:  # noqa: ARG001 - every driver has it
    """Return none: a reader needs its port alone."""
    return None
