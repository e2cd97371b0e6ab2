"""URL → Store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloud_ingest.addresses import parse_store, redacted
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from cloud_ingest.stores.base import Store


def open_store(url: str) -> Store:
    """Return the store of `url`, not yet connected. Raises ConfigError that quotes no secret."""
    try:
        address = parse_store(url)
    except ValueError as error:
        where = f"store URL {redacted(url)}"
        raise ConfigError([Problem(where=where, what=str(error), mend="correct the URL")]) from None
    # Imported here so that reading a file does not load HTTP, and the other way round.
    if address.kind == "sqlite":
        from cloud_ingest.stores.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(Path(address.path[0]))
    if address.kind == "influx1":
        from cloud_ingest.stores.influx1 import Influx1Store  # noqa: PLC0415

        return Influx1Store(address)
    if address.kind == "victoriametrics":
        from cloud_ingest.stores.victoria_metrics import VictoriaMetricsStore  # noqa: PLC0415

        return VictoriaMetricsStore(address)
    from cloud_ingest.stores.influx2 import Influx2Store  # noqa: PLC0415

    return Influx2Store(address)
