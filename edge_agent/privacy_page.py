"""The page of `edge-agent privacy show`, from the configuration: documents, keys, and the devices' profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.catalogue import GATEWAY_PROFILE, find_profile
from edge_agent.configuration import load_configuration, open_documents
from edge_agent.groups import DEVICE_PREFIX
from edge_agent.lessons import LESSON_PROFILE, PURPOSE, heart_rate_points
from edge_agent.privacy.show import document, page, rows
from edge_agent.timekeeping import make_clock
from telemetry.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_agent.privacy import GatewayKeys
    from edge_agent.privacy.in_force import InForce
    from edge_agent.privacy.wording import Language
    from telemetry.profile import DeviceProfile


def privacy_page(config: Path, language: Language) -> tuple[list[str], dict[str, Any]]:
    """Return the page's lines, and the same for programs. Raises ConfigError; writes nothing."""
    configuration = load_configuration(config)
    settings = configuration.settings
    clock = make_clock(settings.clock)
    documents = open_documents(configuration, clock=clock, counters=Counters(), peek=True)
    now_ns = clock.now_ns()
    profiles = {name: device.profile for name, device in configuration.devices.items()}
    own = find_profile(GATEWAY_PROFILE, GATEWAY_PROFILE, (), [])
    if own is not None:
        profiles[settings.gateway] = own
    lesson = find_profile(LESSON_PROFILE, LESSON_PROFILE, (), [])
    if lesson is not None:
        profiles |= dict.fromkeys(_classes(profiles, documents.in_force, configuration.keys, now_ns=now_ns), lesson)
    found = rows(profiles, documents.in_force, configuration.keys, now_ns=now_ns)
    lines = page(
        settings.site, settings.gateway, documents, configuration.keys, found, now_ns=now_ns, language=language
    )
    return lines, document(settings.site, settings.gateway, documents, found, now_ns=now_ns)


def _classes(
    profiles: Mapping[str, DeviceProfile], in_force: InForce, keys: GatewayKeys | None, *, now_ns: int
) -> frozenset[str]:
    """Return the devices that class means would come from; none where bands, roster, key or consents are missing."""
    makes = heart_rate_points(profiles) and keys is not None and PURPOSE in keys.keys
    if not makes or in_force.no_roster(now_ns) is not None or in_force.nobody(PURPOSE, now_ns=now_ns) is not None:
        return frozenset()
    lessons = in_force.roster.lessons if in_force.roster is not None else ()
    return frozenset(
        f"{DEVICE_PREFIX}{lesson.school_class}" for lesson in lessons if lesson.purpose == PURPOSE and lesson.bindings
    )
