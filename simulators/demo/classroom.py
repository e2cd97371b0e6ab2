"""The demo's scene, and what the truth knows of it beside the journals: rooms, cards, who refuses, reporting rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulators.cards import pupil_cards, refusing_card
from simulators.demo.verdict import ReportRule
from simulators.scenario import SCENARIOS

if TYPE_CHECKING:
    from simulators.spec import DeviceSpec

SCENE: Final = SCENARIOS["classroom"]
ROOMS: Final = {device.name: device.room for device in SCENE.devices}
READERS: Final = frozenset(device.name for device in SCENE.devices if device.kind == "rdm6300")
REFUSAL: Final = "no_consent"
"""The reason under which the gate keeps the refusing pupil's taps."""
RULES: Final = {
    (device.name, "illuminance"): ReportRule(deadband=5.0, at_least_every_s=10.0)
    for device in SCENE.devices
    if device.model == "airbox_tcp"
}
"""What the air box's profile documents, written again here: the verdict does not ask the profile."""


def specs(seed: int) -> dict[str, DeviceSpec]:
    """Return what each link's process is to play; card readers wait for `start`."""
    return SCENE.specs(seed=seed, hold=True)


def cards(seed: int) -> list[str]:
    """Return every pupil's card."""
    return pupil_cards(seed, SCENE.pupils)


def refusing(seed: int) -> str:
    """Return the card of the one who does not consent."""
    return refusing_card(seed, SCENE.pupils)
