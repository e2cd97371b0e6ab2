"""The scene of a run, and what the truth knows of it beside the journals: rooms, cards, bands, who refuses, rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.cards import pupil_cards, refusing_card
from simulators.demo.verdict import ReportRule
from simulators.ledger import bands_of
from simulators.scenario import SCENARIOS
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.bands import Band
    from simulators.scenario import Scenario
    from simulators.spec import DeviceSpec

ATTENDANCE: Final = "attendance"
ENVIRONMENT: Final = "environment"
VITALS: Final = "vitals"
OCCUPANCY: Final = "occupancy"
FAMILIES: Final[dict[str, str]] = {
    "rdm6300": ATTENDANCE,
    "modbus-rtu": ENVIRONMENT,
    "modbus-tcp": ENVIRONMENT,
    "ble-bands": VITALS,
    "camera": OCCUPANCY,
}
"""Kind of device → family of the report, which is also the name of its measurement."""
REFUSAL: Final = "no_consent"
"""The reason under which the gate keeps what concerns a person who refuses."""
UNBOUND: Final = "unbound"
"""Bands that are nobody's: the driver keeps what they say, and counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wearer:
    """A band, and whether it is somebody's who consents."""

    band: Band
    bound: bool
    consents: bool

    @property
    def identifier(self) -> str:
        """The band's static id, as the gateway writes it."""
        return self.band.id.hex().upper()

    @property
    def withheld(self) -> str | None:
        """Why what the band says must stay in the room; none if it may leave."""
        if not self.bound:
            return UNBOUND
        return None if self.consents else REFUSAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Devices of one seed and all that the truth knows of them."""

    scenario: Scenario
    seed: int
    rooms: Mapping[str, str]
    """Device → room."""
    kinds: Mapping[str, str]
    """Device → family."""
    rules: Mapping[tuple[str, str], ReportRule]
    cards: tuple[str, ...]
    """Every pupil's card."""
    refusing_card: str
    """The card of the one who does not consent."""
    wearers: Mapping[str, tuple[Wearer, ...]]
    """Radio → its bands."""

    @property
    def families(self) -> list[str]:
        """The families that there are devices of, in the report's order."""
        return [name for name in dict.fromkeys(FAMILIES.values()) if name in self.kinds.values()]

    @property
    def bands(self) -> list[Wearer]:
        """All bands."""
        return [wearer for wearers in self.wearers.values() for wearer in wearers]

    @property
    def cameras(self) -> list[str]:
        """The cameras' names."""
        return [name for name, family in self.kinds.items() if family == OCCUPANCY]

    def specs(self) -> dict[str, DeviceSpec]:
        """Return what each link's process is to play; card readers and bands wait for `start`."""
        return self.scenario.specs(seed=self.seed, hold=True)


def make_scene(name: str, *, seed: int) -> Scene:
    """Return the scene called `name`. Raises ConfigError if there is none."""
    scenario = SCENARIOS.get(name)
    if scenario is None:
        mend = f"choose one of {', '.join(SCENARIOS)}"
        raise ConfigError([Problem(where="--scenario", what=f"there is no {name!r}", mend=mend)])
    specs = scenario.specs(seed=seed)
    return Scene(
        scenario=scenario,
        seed=seed,
        rooms={device.name: device.room for device in scenario.devices},
        kinds={device.name: FAMILIES[device.kind] for device in scenario.devices},
        rules={
            # What the air box's profile documents, written again here: the verdict does not ask the profile.
            (device.name, "illuminance"): ReportRule(deadband=5.0, at_least_every_s=10.0)
            for device in scenario.devices
            if device.model == "airbox_tcp"
        },
        cards=tuple(pupil_cards(seed, scenario.pupils)),
        refusing_card=refusing_card(seed, scenario.pupils),
        wearers={
            device.name: _wearers(bands_of(specs[device.link]), unbound=device.unbound)
            for device in scenario.devices
            if device.kind == "ble-bands"
        },
    )


def _wearers(bands: list[Band], *, unbound: int) -> tuple[Wearer, ...]:
    """Return who wears what: the last `unbound` bands are nobody's, the wearer of the one before them refuses."""
    bound = len(bands) - unbound
    return tuple(Wearer(band=band, bound=at < bound, consents=at < bound - 1) for at, band in enumerate(bands))
