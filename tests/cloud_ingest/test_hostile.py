"""Hostile and unlucky messages at the wire: each is refused with its reason, the rest is stored, memory stays flat."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import pytest

from telemetry.batch import encode_batch, pack
from telemetry.erasure import CLOUD
from telemetry.sample import Quality
from telemetry.topics import Channel, gateway_topic
from tests.cloud_ingest.conftest import MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import GATEWAY, NOW, SITE, batch, block, payload_of, sample, topic_of
from tests.cloud_ingest.test_service import bomb, counters_of, letters_of, numbers_of, rows_of
from tests.cloud_ingest.test_trouble import memory_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Server

TOPIC = topic_of(batch())
DAY = 86_400 * 10**9


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.sqlite"


def text_of(number: int, old: str = "", new: str = "") -> bytes:
    """Return a batch's JSON with one thing replaced."""
    text = encode_batch(batch(number)).decode()
    assert old in text
    return text.replace(old, new, 1).encode()


def number_as(number: int, text: str) -> bytes:
    return text_of(number, "612.0", text)


DEEP = 100_000
WHOLE: dict[str, Any] = {
    "not JSON": lambda n: text_of(n)[:-9],
    "not UTF-8": lambda n: text_of(n, "r101-air", "r101@air").replace(b"@", b"\xff"),
    "half a surrogate": lambda n: text_of(n, "r101-air", "r101\\ud800"),
    "deep arrays": lambda n: text_of(n)[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": lambda n: pack(text_of(n)[:-1] + b',"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"),
    "deep and never closed": lambda n: pack(text_of(n)[:-1] + b',"x":' + b"[" * DEEP),
    "NaN": lambda n: number_as(n, "NaN"),
    "Infinity": lambda n: number_as(n, "Infinity"),
    "1e999": lambda n: number_as(n, "1e999"),
    "a number of 400 digits": lambda n: number_as(n, "9" * 400),
    "null for a value": lambda n: number_as(n, "null"),
    "an array for a value": lambda n: number_as(n, "[1.0]"),
    "a time as text": lambda n: text_of(n, '"acquired_at_ns":', '"acquired_at_ns":"now","x":'),
    "another version": lambda n: text_of(n, "campus.batch/1", "campus.batch/2"),
    "another site": lambda n: text_of(n, SITE, "elsewhere"),
    "another gateway": lambda n: text_of(n, GATEWAY, "gw-666"),
    "another class": lambda n: text_of(n, '"class":"open"', '"class":"personal"'),
    "a class that is none": lambda n: text_of(n, '"class":"open"', '"class":"secret"'),
    "gzip cut short": lambda n: gzip.compress(text_of(n))[:-5],
    "gzip twice": lambda n: gzip.compress(gzip.compress(text_of(n))),
    "bytes after gzip": lambda n: gzip.compress(text_of(n)) + b"x",
    "twice the batch": lambda n: text_of(n) * 2,
}
UNNAMED = {"gzip twice"}
"""Nothing in it names its batch: filed, but nobody can be told."""


async def test_pain_07_poison_never_wedges_the_consumer(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto) as gateway:
        for number, make in enumerate(WHOLE.values(), start=2):
            await gateway.send_raw(TOPIC, make(number))
        await gateway.send_raw("campus/v1/demo-school/gw-101/telemetry/open", payload_of(batch(1)))
        await gateway.send_raw("campus/v1/demo-school/gw-101/telemetry/open/live/more", payload_of(batch(1)))
        await gateway.send_raw(f"campus/v1/demo-school/{'x' * 200}/telemetry/open/live", payload_of(batch(1)))
        await gateway.send(batch(1))
        await gateway.stored(1)
        for number, name in enumerate(WHOLE, start=2):
            if name not in UNNAMED:
                (refusal,) = [r for r in (await gateway.refused(number)).refused if r.batch == number]
                assert refusal.samples == []
                assert refusal.reason
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1]
    assert len(letters_of(ingest)) == len(WHOLE) + 3
    assert counters_of(ingest)["intake.poison_messages"] == len(WHOLE) + 3


async def test_pain_08_only_the_bad_samples_are_refused(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    bad = {
        "neither values nor reasons": sample(NOW, {}),
        "before the believable window": sample(NOW - 31 * DAY),
        "before the believable": sample(1),
        "in the future": sample(NOW + 7200 * 10**9),
        "must be float, not bool": sample(NOW, {"co2": True}),
        "must be float, not str": sample(NOW, {"co2": "612"}),
        "has no quantity": sample(NOW, {"pm10": 1.0}),
        "subject is not allowed": sample(NOW, subject="0f" * 16),
    }
    samples = [one for number, bad_one in enumerate(bad.values()) for one in (sample(NOW + number), bad_one)]
    uncertain = sample(1, quality=Quality.CLOCK_UNCERTAIN)
    ingest = await make_ingest(
        mosquitto, url, CAMPUS_INGEST_ACCEPT__FUTURE_S="3600", CAMPUS_INGEST_ACCEPT__PAST_DAYS="30"
    )
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1, [block([*samples, uncertain])]))
        ack = await gateway.stored(1)
        assert sorted(index for one in ack.refused for index in one.samples) == list(range(1, 16, 2))
        told = {index: one.reason for one in ack.refused for index in one.samples}
        for index, words in enumerate(bad):
            assert words in told[2 * index + 1]
    assert await ingest.stop() == 0
    assert len(await rows_of(url)) == len(bad) + 1
    assert len(letters_of(ingest)) == len(bad) - 1  # one a reason


async def test_keys_given_twice_mean_the_last_one(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    """As every JSON reader of ours takes it; a site that is right only the first time is the wrong site."""
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send_raw(TOPIC, text_of(1, '"co2":612.0', '"co2":1.0,"co2":2.0'))
        await gateway.send_raw(TOPIC, text_of(2)[:-1] + b',"site":"elsewhere"}')
        await gateway.stored(1)
        await gateway.refused(2)
    assert await ingest.stop() == 0
    assert [row["co2"] for row in await rows_of(url)] == [2.0]


def wide_nothing(number: int) -> bytes:
    """Refused samples by the hundred thousand: some kilobytes on the wire, megabytes in memory."""
    plain = msgspec.json.decode(encode_batch(batch(number)))
    plain["devices"][0]["samples"] = [{"acquired_at_ns": 1}] * 150_000
    return gzip.compress(json.dumps(plain, separators=(",", ":")).encode())


async def test_pain_07_bombs_and_giants_leave_memory_flat(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    ingest = await make_ingest(mosquitto, url)
    giant = encode_batch(batch(4)) + b" " * (5 << 20)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.stored(1)
        before, peak = memory_of(ingest), 0
        started = time.monotonic()
        for _ in range(4):
            for payload in (bomb(), giant, wide_nothing(5), giant, b"[" * 4_000_000, giant):
                await gateway.send_raw(TOPIC, payload)
                peak = max(peak, memory_of(ingest))
            await gateway.send_raw(TOPIC, b"x" * (9 << 20))  # the broker does not even pass it on
        await gateway.send(batch(2))
        await gateway.stored(2)
        peak = max(peak, memory_of(ingest))
        assert time.monotonic() - started < 60
        for number in (3, 4, 5):
            await gateway.refused(number)
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1, 2]
    assert peak - before < 150_000_000, f"grew by {(peak - before) / 1e6:.0f} MB"
    assert counters_of(ingest)["intake.bytes"] < 4 * 25_000_000


async def test_a_health_or_status_that_is_hostile_stops_nobody(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto) as gateway:
        for channel in (Channel.STATUS, Channel.HEALTH):
            nonsense = (b"", b"\xff", b"[" * DEEP, b'{"state":"online","epoch":7}', b'{"counters":NaN}', b"9" * 5000)
            for payload in nonsense:
                await gateway.client.publish(gateway_topic(SITE, GATEWAY, channel), payload, qos=1)
        await gateway.send(batch(1))
        await gateway.stored(1)
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1]


async def test_topics_that_look_like_others_are_not_left_unacknowledged(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    """They would use up Receive Maximum, and nothing else came in until the connection was made anew."""
    ingest = await make_ingest(mosquitto, url, CAMPUS_INGEST_MQTT__RECEIVE_MAXIMUM="3")
    async with connected_gateway(mosquitto) as gateway:
        for end in ("status", "health", f"{CLOUD}/x", "open/status", "open/live/health"):
            for _ in range(3):
                await gateway.send_raw(f"campus/v1/{SITE}/{GATEWAY}/telemetry/{end}", b"{}")
        await gateway.send(batch(1))
        await gateway.stored(1)
    assert await ingest.stop() == 0
    assert counters_of(ingest)["intake.poison_messages"] == 15


async def test_a_retained_batch_is_one_batch(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    """Sent anew by the broker on each connection: a resend like any other."""
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.publish(TOPIC, payload_of(batch(1)), qos=1, retain=True)
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto):
        for _ in range(2):
            async with asyncio.timeout(10):
                while not await rows_of(url):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            ingest.kill()
            await ingest.start()
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1]
