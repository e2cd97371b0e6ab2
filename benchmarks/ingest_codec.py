"""Ingest codec: payload → decoded → validated → line protocol, in values a second on one core.

Beside it, in the same run, stands what could not be beaten: the same JSON decoded to plain objects and its numbers
formatted, without a check. Run `python -m benchmarks --only ingest_codec`.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_ingest.decode import Accepted, decode
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.rows import RowMaker
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, encode_batch, pack, unpack
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Callable

RANGES = {
    "temperature": (15, 30, 1),
    "humidity": (20, 80, 1),
    "co2": (400, 2500, 0),
    "pm2_5": (0, 200, 0),
    "noise": (30, 85, 1),
    "illuminance": (0, 1500, 0),
}
"""Point → lowest, highest, decimals: what a room sensor sends."""
POINTS = {name: name for name in RANGES}
TOPIC = "campus/v1/demo-school/gw-1/telemetry/open/live"
TARGET = 500_000
VALUES = 1_000


def make_batches(count: int, *, start_ns: int) -> tuple[list[bytes], int]:
    """Return payloads of about 1,000 values each (six a sample, ten devices), and the values in all."""
    chance = random.Random(7)  # noqa: S311 - test data
    payloads = []
    samples = VALUES // len(POINTS) // 10
    for number in range(count):
        devices = [
            DeviceBlock(
                device=f"r{100 + device}-air",
                room=f"r{100 + device}",
                profile="modbus/multisensor_6in1@1.0.0",
                measurement="environment",
                quantities=POINTS,
                samples=[
                    BatchSample(
                        acquired_at_ns=start_ns + (number * samples + index) * 1_000_000_000 + device,
                        values={
                            name: float(round(chance.uniform(low, high), digits))
                            for name, (low, high, digits) in RANGES.items()
                        },
                    )
                    for index in range(samples)
                ],
            )
            for device in range(10)
        ]
        batch = Batch(
            schema=SCHEMA,
            site="demo-school",
            gateway="gw-1",
            epoch="0123456789abcdef",
            number=number,
            data_class=DataClass.OPEN,
            devices=devices,
        )
        # Uncompressed, so that both loops do the same work; gzip is measured on its own.
        payloads.append(encode_batch(batch))
    return payloads, count * samples * 10 * len(POINTS)


def _best(work: Callable[[], Any], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def run() -> list[dict[str, Any]]:
    """Return the figures: name, figure, unit, limit, ratio (figure ÷ limit)."""
    start_ns = time.time_ns() - 86_400 * 1_000_000_000
    payloads, values = make_batches(100, start_ns=start_ns)
    plain_decoder = msgspec.json.Decoder()

    def bare() -> None:
        for payload in payloads:
            document = plain_decoder.decode(payload)
            "\n".join(
                ",".join([f"{name}={value!r}" for name, value in sample["values"].items()])
                for block in document["devices"]
                for sample in block["samples"]
            ).encode()

    def ingest() -> None:
        maker, encoder = RowMaker(), LineEncoder()
        for payload in payloads:
            decoded = decode(TOPIC, payload, maker)
            if not isinstance(decoded, Accepted) or decoded.refused:
                raise RuntimeError("the benchmark's own batch is refused")
            encoder.encode(decoded.rows)

    packed = [pack(payload) for payload in payloads]

    def inflate() -> None:
        for payload in packed:
            unpack(payload)

    bare_rate = values / _best(bare)
    rate = values / _best(ingest)
    zipped_rate = 1 / (1 / rate + _best(inflate) / values)
    return [
        _figure("ingest codec, a core, 1,000 values a batch", rate, "values/s", TARGET),
        _figure("ingest codec with gzip payloads, a core", zipped_rate, "values/s", TARGET),
        _figure("bare codec loop, same batches, a core", bare_rate, "values/s", None),
        _figure("ingest codec's share of the bare loop", 100 * rate / bare_rate, "%", None),
    ]


def _figure(name: str, figure: float, unit: str, limit: float | None) -> dict[str, Any]:
    ratio = None if limit is None else round(figure / limit, 2)
    return {"name": name, "figure": round(figure), "unit": unit, "limit": limit, "ratio": ratio}


if __name__ == "__main__":
    for line in run():
        print(line)
