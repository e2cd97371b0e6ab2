"""Faults that a device can be told to have, and which of them are active now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE: Final = "silence"
CORRUPTION: Final = "corruption"
DROP: Final = "drop"
UNPLUG: Final = "unplug"
STALL: Final = "stall"
DRIFT: Final = "drift"
HANG: Final = "hang"
VANISH: Final = "vanish"
DARK: Final = "dark"
GARBAGE: Final = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """A fault's meaning, the parameters it needs, and the kinds of device that know it."""

    says: str
    parameters: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("rdm6300", "modbus-rtu", "modbus-tcp")


_MODBUS: Final = ("modbus-rtu", "modbus-tcp")
_BANDS: Final = ("ble-bands",)
_CAMERA: Final = ("camera",)
FAULTS: Final[dict[str, FaultKind]] = {
    SILENCE: FaultKind(says="says nothing at all"),
    CORRUPTION: FaultKind(
        says="damages a byte with this probability (over TCP, which has no CRC to show it: the MBAP protocol id)",
        parameters=("rate",),
    ),
    DROP: FaultKind(says="loses a byte with this probability (over TCP: a whole reply)", parameters=("rate",)),
    UNPLUG: FaultKind(
        says="pulls the plug: hang-up and no link; plugs in again when the fault ends",
        kinds=("rdm6300", *_MODBUS, *_BANDS, *_CAMERA),
    ),
    STALL: FaultKind(
        says="answers, but measurement and sequence stand still; a camera: no picture comes any more",
        kinds=(*_MODBUS, *_CAMERA),
    ),
    DRIFT: FaultKind(
        says="adds this much to a point with each measurement", parameters=("point", "per_sample"), kinds=_MODBUS
    ),
    HANG: FaultKind(says="answers nothing and hears nothing, but can be connected to", kinds=(*_BANDS, *_CAMERA)),
    VANISH: FaultKind(says="a band is out of reach, without a goodbye", kinds=_BANDS),
    DARK: FaultKind(says="somebody switched off the light: pictures are nearly black", kinds=_CAMERA),
    GARBAGE: FaultKind(says="video bytes are noise that no decoder can make a picture of", kinds=_CAMERA),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """One active fault; `device` none means all devices of the link."""

    name: str
    device: str | None = None
    rate: float = 0.0
    point: str = ""
    per_sample: float = 0.0


class Faults:
    """The active faults of one device process. `on_change` hears of each that begins or ends."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.on_change = on_change
        self._active: dict[tuple[str, str | None, str], Active] = {}
        self._ends: dict[tuple[str, str | None, str], asyncio.TimerHandle] = {}

    def begin(self, fault: Active, *, seconds: float | None = None) -> None:
        """Start `fault`, in place of one of the same name, device and point; it ends after `seconds` if given."""
        key = (fault.name, fault.device, fault.point)
        self._forget_end(key)
        self._active[key] = fault
        if seconds is not None:
            self._ends[key] = asyncio.get_running_loop().call_later(seconds, self._end, key)
        self.on_change()

    def clear(self, name: str | None = None) -> None:
        """End all faults, or all called `name`."""
        for key in [key for key in self._active if name in (None, key[0])]:
            self._forget_end(key)
            del self._active[key]
        self.on_change()

    def has(self, name: str, device: str | None = None) -> bool:
        """Tell whether fault `name` is active for the link or for `device`."""
        return any(self._of(name, device))

    def rate(self, name: str) -> float:
        """Return the highest active rate of fault `name`; 0 if there is none."""
        return max((fault.rate for fault in self._of(name, None)), default=0.0)

    def drifts(self, device: str) -> list[tuple[str, float]]:
        """Return (point, amount per measurement) of each drift of `device`."""
        return [(fault.point, fault.per_sample) for fault in self._of(DRIFT, device)]

    def names(self) -> list[str]:
        """Return the names of the active faults, sorted."""
        return sorted({name for name, _device, _point in self._active})

    def _of(self, name: str, device: str | None) -> list[Active]:
        return [fault for fault in self._active.values() if fault.name == name and fault.device in (None, device)]

    def _end(self, key: tuple[str, str | None, str]) -> None:
        del self._active[key], self._ends[key]
        self.on_change()

    def _forget_end(self, key: tuple[str, str | None, str]) -> None:
        timer = self._ends.pop(key, None)
        if timer is not None:
            timer.cancel()
