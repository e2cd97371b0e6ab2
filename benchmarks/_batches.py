"""Batches of about 1,000 values from many gateways, for benchmarks of the ingest: packed as an agent packs them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks._load import Load
from benchmarks._mqtt import publish_packet
from benchmarks.ingest_codec import make_batches
from telemetry.batch import decode_batch, encode_batch, pack, unpack
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

GATEWAYS: Final = 48
IN_FLIGHT: Final = 4
SITE: Final = "demo-school"
DAY_NS: Final = 86_400 * 1_000_000_000


def topic(gateway: int) -> str:
    """Return where gateway number `gateway` publishes."""
    return telemetry_topic(SITE, f"gw-{gateway}", DataClass.OPEN, Flow.LIVE)


def make_gateways(batches: int) -> tuple[list[list[bytes]], int]:
    """Return each gateway's payloads, packed as an agent packs them, and the values in all; of yesterday."""
    plain, values = make_batches(batches, start_ns=time.time_ns() - DAY_NS)
    gateways: list[list[bytes]] = [[] for _ in range(GATEWAYS)]
    for number, payload in enumerate(plain):
        mine = gateways[number % GATEWAYS]
        gateway = f"gw-{number % GATEWAYS}"
        batch = decode_batch(payload)
        devices = [msgspec.structs.replace(block, room=f"{block.room}-{gateway}") for block in batch.devices]
        batch = msgspec.structs.replace(batch, gateway=gateway, number=len(mine), devices=devices)
        mine.append(pack(encode_batch(batch)))
    return gateways, values


def again(gateways: Sequence[Sequence[bytes]], epoch: str = "fedcba9876543210") -> list[list[bytes]]:
    """Return the same batches under another epoch, since the ingest would know them."""
    renumbered = []
    for payloads in gateways:
        batches = [decode_batch(unpack(payload)) for payload in payloads]
        renumbered.append([pack(encode_batch(msgspec.structs.replace(batch, epoch=epoch))) for batch in batches])
    return renumbered


def publish(mqtt: str, gateways: Sequence[Sequence[bytes]]) -> float:
    """Return the seconds from the first publish to the last acknowledgement; a few of each gateway are under way."""
    packets = {
        f"gw-{gateway}": [publish_packet(topic(gateway), number, payload) for number, payload in enumerate(payloads)]
        for gateway, payloads in enumerate(gateways)
    }
    load = Load("::1", int(mqtt.rpartition(":")[2]), gateway_topic(SITE, "+", Channel.STORED))
    started = time.monotonic()
    try:
        load.send(packets, in_flight=IN_FLIGHT)
        return time.monotonic() - started
    finally:
        load.close()
