"""What a driver is: an async context manager, given its device and an open link, that yields Samples.

Bytes become Samples in a driver and nowhere else. A driver never talks to another driver or to the agent;
it raises DeviceUnavailable (silent, gone) or ProtocolError (garbage), and the collector does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile
    from telemetry.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceContext:
    """What every driver is given about its device."""

    device: str
    """The device's name; goes into its Samples."""
    profile: DeviceProfile
    options: Mapping[str, bool | int | float | str]
    """The profile's options overridden by the device's own, such as the Modbus unit."""
    now_ns: Callable[[], int]
    """The clock by which Samples are stamped: nanoseconds of UTC as it was believed at the start, never set since.

    The agent turns such a time into UTC when the Sample arrives: however the system's clock is set, none is wrong."""
    counters: Counters
    utc_ns: Callable[[], int] | None = None
    """UTC as it is known now, for what goes by the time of day; none: `now_ns` will do."""


class Driver(Protocol):
    """Opened once per connection to the device; leaving the context releases it."""

    async def __aenter__(self) -> Self:
        """Get ready to read; may talk to the device. Raises DeviceUnavailable or ProtocolError."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the device; never raises."""
        ...


@runtime_checkable
class PollDriver(Driver, Protocol):
    """A device that answers when asked."""

    async def read(self) -> Sample:
        """Return one reading. Raises DeviceUnavailable, ProtocolError within the profile's deadline."""
        ...


@runtime_checkable
class PushDriver(Driver, Protocol):
    """A device that speaks when it wants to."""

    def samples(self) -> AsyncIterator[Sample]:
        """Yield Samples as they come; ends only by an error. Raises DeviceUnavailable when the link is lost."""
        ...


class SharedLink(Protocol):
    """What the agent needs to know of a link; drivers use more of it (`drivers.links.Link`)."""

    @property
    def is_open(self) -> bool:
        """Whether the transport is open now."""
        ...

    async def close(self) -> None:
        """Close it for good; never raises."""
        ...
