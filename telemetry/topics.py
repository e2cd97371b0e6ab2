"""MQTT topics: one place that builds and parses them. No personal identifier ever stands in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from telemetry.sample import DataClass

ROOT: Final = "campus/v1"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""A site, gateway, room or device name: safe as a topic level, a tag and a file name."""


class Channel(StrEnum):
    """The last fixed level of a gateway's topics."""

    STATUS = "status"
    DEVICES = "devices"
    TELEMETRY = "telemetry"
    STORED = "stored"
    HEALTH = "health"
    COMMAND = "command"
    REPLY = "reply"


class Flow(StrEnum):
    """Whether a batch is sent as it is made, or after an outage."""

    LIVE = "live"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A parsed topic; `data_class` and `flow` are set for telemetry only."""

    site: str
    gateway: str
    channel: Channel
    data_class: DataClass | None = None
    flow: Flow | None = None


def gateway_topic(site: str, gateway: str, channel: Channel) -> str:
    """Return the topic of one of a gateway's channels; `+` is allowed for subscriptions."""
    return f"{ROOT}/{site}/{gateway}/{channel}"


def erase_topic(site: str, gateway: str) -> str:
    """Return where the cloud's order to erase waits; apart from `command`, lest one retained message replace it."""
    return f"{gateway_topic(site, gateway, Channel.COMMAND)}/erase"


def telemetry_topic(site: str, gateway: str, data_class: DataClass, flow: Flow) -> str:
    """Return the topic a batch of `data_class` is published on."""
    return f"{ROOT}/{site}/{gateway}/{Channel.TELEMETRY}/{data_class}/{flow}"


def all_telemetry(group: str | None = None) -> str:
    """Return the ingest's subscription; with `group`, a shared one for several workers."""
    plain = f"{ROOT}/+/+/{Channel.TELEMETRY}/#"
    return f"$share/{group}/{plain}" if group else plain


def parse_topic(topic: str) -> Topic | None:
    """Return the parts of `topic`, or none if it is not one of ours."""
    levels = topic.split("/")
    if levels[:2] != ROOT.split("/") or len(levels) < 5:  # noqa: PLR2004 - root, site, gateway, channel
        return None
    site, gateway, channel, *rest = levels[2:]
    if not (NAME.fullmatch(site) and NAME.fullmatch(gateway)):
        return None
    try:
        if channel != Channel.TELEMETRY:
            return Topic(site=site, gateway=gateway, channel=Channel(channel)) if not rest else None
        data_class, flow = rest
        return Topic(
            site=site, gateway=gateway, channel=Channel.TELEMETRY, data_class=DataClass(data_class), flow=Flow(flow)
        )
    except ValueError:
        return None
