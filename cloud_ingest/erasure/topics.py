"""Topics between the command line and the ingest's workers; no gateway reads or writes them."""

from __future__ import annotations

from typing import Final

from telemetry.erasure import CLOUD
from telemetry.topics import NAME, ROOT

ORDERS: Final = f"{ROOT}/+/{CLOUD}/erase/+"
WORKERS: Final = f"{ROOT}/{CLOUD}/worker/+"
MARK: Final = f"/{CLOUD}/"
_LEVELS: Final = 6


def order_topic(site: str, request: str) -> str:
    """Return where the order to all workers stands, retained."""
    return f"{ROOT}/{site}/{CLOUD}/erase/{request}"


def confirmation_topic(site: str, request: str, worker: str) -> str:
    """Return where a worker confirms, retained; `+` for all of them."""
    return f"{order_topic(site, request)}/{worker}"


def worker_topic(worker: str) -> str:
    """Return where a worker says that it runs, retained."""
    return f"{ROOT}/{CLOUD}/worker/{worker}"


def site_of_order(topic: str) -> str | None:
    """Return the site of an order's topic; none if it is none."""
    levels = topic.split("/")
    fits = len(levels) == _LEVELS and topic.startswith(f"{ROOT}/") and levels[3:5] == [CLOUD, "erase"]
    return levels[2] if fits and NAME.fullmatch(levels[2]) else None
