"""A gateway was stolen: who is concerned, and which keys have to be renewed.

Rows do not name the gateway they came by; its retained `devices` says which devices are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud_ingest.erasure.exchange import connected
from cloud_ingest.rows import MEASUREMENTS
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Collection

    from cloud_ingest.settings import Settings
    from cloud_ingest.stores.base import Record, Store

SCHEMA: Final = "campus.compromised/1"
PURPOSES: Final = {"attendance": "attendance", "vitals": "pe_lesson"}
"""Measurement → the purpose whose key made its handles, by the profiles that come with campus-edge."""

_NOBODY: Final = frozenset({"environment", "energy", "occupancy", "lesson", "gateway"})
"""Measurements whose classes concern nobody by himself: no row of theirs has a subject."""


async def devices_of(settings: Settings, site: str, gateway: str) -> list[tuple[str, str]] | None:
    """Return (room, device) of a gateway's devices, as it told last; none if the broker retains nothing of it."""
    async with connected(settings.mqtt, site) as exchange:
        document = exchange.heard.devices.get(gateway)
    found = document.get("devices") if isinstance(document, dict) else None
    if not isinstance(found, list):
        return None
    return [(str(one.get("room")), str(one.get("name"))) for one in found if isinstance(one, dict)]


async def affected(settings: Settings, site: str, devices: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return the handles that its devices stored, and how many people's handles the stolen keys can make at all."""
    mine: dict[str, dict[str, int]] = {}
    all_of_site: dict[str, set[str]] = {}
    for url in settings.store.urls:
        store = open_store(url)
        try:
            for measurement in sorted(MEASUREMENTS - _NOBODY):
                purpose = PURPOSES.get(measurement, measurement)
                for series in await store.latest(measurement):
                    subject = series.get("subject")
                    if subject is None or series.get("site") != site:
                        continue
                    all_of_site.setdefault(purpose, set()).add(subject)
                    if (series.get("room"), series.get("device")) in devices:
                        counts = mine.setdefault(purpose, {})
                        counts[subject] = counts.get(subject, 0) + await _rows(store, measurement, series)
        finally:
            await store.close()
    return {
        "handles": {purpose: dict(sorted(counts.items())) for purpose, counts in sorted(mine.items())},
        "people_of_the_site": {purpose: len(handles) for purpose, handles in sorted(all_of_site.items())},
    }


async def _rows(store: Store, measurement: str, series: Record) -> int:
    where = tuple((tag, str(series[tag])) for tag in ("subject", "room", "device"))
    return len(await store.query(Selection(measurement=measurement, where=where)))
