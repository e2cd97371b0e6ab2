"""The page of `edge-agent privacy show`, from the configuration: documents, keys, and the devices' profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.catalogue import GATEWAY_PROFILE, find_profile
from edge_agent.clock import Clock
from edge_agent.configuration import load_configuration, open_documents
from edge_agent.privacy.show import document, page, rows
from telemetry.counters import Counters

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.privacy.wording import Language


def privacy_page(config: Path, language: Language) -> tuple[list[str], dict[str, Any]]:
    """Return the page's lines, and the same for programs. Raises ConfigError; writes nothing."""
    configuration = load_configuration(config)
    settings = configuration.settings
    clock = Clock(assume_synced=settings.clock.assume_synced)
    documents = open_documents(configuration, clock=clock, counters=Counters(), peek=True)
    now_ns = clock.now_ns()
    profiles = {name: device.profile for name, device in configuration.devices.items()}
    own = find_profile(GATEWAY_PROFILE, GATEWAY_PROFILE, (), [])
    if own is not None:
        profiles[settings.gateway] = own
    found = rows(profiles, documents.in_force, configuration.keys, now_ns=now_ns)
    lines = page(
        settings.site, settings.gateway, documents, configuration.keys, found, now_ns=now_ns, language=language
    )
    return lines, document(settings.site, settings.gateway, documents, found, now_ns=now_ns)
