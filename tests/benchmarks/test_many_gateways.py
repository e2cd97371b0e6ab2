"""The stand-ins for thousands of gateways, as few; and what thousands do to a real ingest."""

from __future__ import annotations

import asyncio
import resource

import pytest

from benchmarks import many_gateways, two_workers
from benchmarks._batches import make_gateways
from benchmarks._gateways import Gateway, Tally, need_files
from benchmarks._mqtt import next_packet, publish_packet


@pytest.mark.server("mosquitto", "influxd")
def test_a_small_fleet_and_its_herd_are_served_and_counted() -> None:
    seen = many_gateways.measure(40, herd=20, seconds=1.0, period_s=1.0)
    assert len(seen.latencies) == 40
    assert seen.batches >= 40 + 40 + 20 * many_gateways.MISSED
    assert seen.served <= seen.caught_up
    assert many_gateways.percentile(seen.latencies, 99) > 0


@pytest.mark.server("mosquitto")
def test_two_workers_have_their_parts() -> None:
    gateways, values = make_gateways(96)
    two = two_workers.measure(["one", "two"], gateways, "sqlite")
    stored = sorted(count for count, _ in two.values())
    assert sum(stored) == values
    assert stored[0] > 0.8 * stored[1]


def test_too_few_open_files_are_told_with_the_mending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    raised = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    need_files(2000)
    assert raised == [(2256, 4096)]
    with pytest.raises(RuntimeError, match="ulimit -n 5256"):
        need_files(5000)


async def test_a_gateway_whose_connection_is_cut_keeps_what_is_not_stored() -> None:
    gateway = Gateway(7, Tally())
    gateway.close_batch(age_s=10)
    gateway.close_batch()
    gateway.cut()
    await asyncio.sleep(0)
    assert [batch.number for batch in gateway.waiting] == [0, 1]
    assert gateway.has_before(1)
    assert not gateway.has_before(0)
    assert gateway.tally.hung_up == 0


def test_packets_end_where_their_length_says() -> None:
    packet = publish_packet("a/b", 1, b"x" * 300)
    assert next_packet(packet + b"more") == (len(packet), 3)
    assert next_packet(packet[:-1]) == (0, 0)
    assert next_packet(b"\x30") == (0, 0)
