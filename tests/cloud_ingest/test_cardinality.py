"""Too many new series: what is known goes on, what is new is refused with the way to mend it, also after a restart."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from cloud_ingest.cardinality import Guard
from cloud_ingest.rows import RowMaker
from cloud_ingest.settings import SeriesSettings
from telemetry.counters import Counters
from tests.cloud_ingest.conftest import MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import GATEWAY, NOW, SITE, attendance, batch, block, sample
from tests.cloud_ingest.test_service import counters_of, letters_of, rows_of
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from telemetry.batch import Batch
    from tests.cloud_ingest.influx2_imitation import Influx2
    from tests.servers import Server

HOUR = 3600 * 10**9
LIMITS = SeriesSettings(
    devices_per_hour=10,
    devices_per_day=25,
    devices_per_site=60,
    people_per_hour=5,
    people_per_day=8,
    people_per_site=10,
    fields_per_day=6,
    fields=9,
    forget_days=30,
)


def handle(n: int) -> str:
    return f"{0xA0 + n:02x}" * 16


class Rig:
    """A maker and its guard over a real file, at a time of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "series.sqlite"
        self.now = NOW - NOW % HOUR
        self.counters = Counters()
        self.start()

    def start(self) -> None:
        self.guard = Guard(self.path, LIMITS, self.counters, now_ns=lambda: self.now)
        self.maker = RowMaker(guard=self.guard, counters=self.counters, now_ns=lambda: self.now)

    def restart(self) -> None:
        self.guard.close()
        self.start()

    def kill(self) -> None:
        """As kill -9 right after a commit."""
        self.guard.commit(self.guard.take_changes())
        self.guard._db.close()
        self.guard._reader.close()
        self.start()

    def send(self, one: Batch) -> tuple[int, set[str]]:
        rows, refused = self.maker.rows(one)
        return len(rows), set(refused.values())

    def devices(self, first: int, end: int, **changed: Any) -> tuple[int, set[str]]:
        blocks = [block([sample(self.now), sample(self.now + 1)], device=f"d{n}") for n in range(first, end)]
        return self.send(batch(1, blocks, **changed))

    def people(self, first: int, end: int) -> tuple[int, set[str]]:
        counts = [self.send(attendance(1, handle(n), self.now)) for n in range(first, end)]
        return sum(rows for rows, _ in counts), {reason for _, reasons in counts for reason in reasons}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.guard.close()


def test_pain_20_a_gateway_that_invents_devices_stops_at_its_limit(rig: Rig) -> None:
    assert rig.devices(0, 10) == (20, set())
    rows, (reason,) = rig.devices(5, 15)
    assert rows == 10  # the five that are known
    assert "added 10 series of devices within an hour" in reason
    assert "raise series.devices_per_hour" in reason
    assert rig.devices(0, 10) == (20, set())
    assert rig.devices(100, 105, gateway="gw-102") == (10, set())  # its neighbour has its own limit
    assert rig.counters.get("series.refused_devices") == 5
    assert rig.counters.get("series.new_devices") == 15


def test_limits_of_the_hour_the_day_and_the_site(rig: Rig) -> None:
    assert rig.devices(0, 10)[0] == 20
    rig.now += HOUR
    assert rig.devices(10, 20)[0] == 20
    rig.now += HOUR
    rows, (reason,) = rig.devices(20, 30)
    assert rows == 10
    assert "within a day" in reason
    rig.now += 23 * HOUR
    assert rig.devices(30, 40)[0] == 20
    rig.now += 24 * HOUR
    assert rig.devices(40, 50)[0] == 20
    for hour in range(3):
        rig.now += HOUR
        rig.devices(100 + 10 * hour, 110 + 10 * hour, gateway="gw-102")
    rows, (reason,) = rig.devices(200, 201, gateway="gw-103")
    assert rows == 0
    assert "the site has its 60 series of devices" in reason
    assert "series.devices_per_site" in reason
    assert rig.devices(200, 201, site="other")[0] == 2


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_limits_and_what_is_known_survive(rig: Rig, end: str) -> None:
    rig.devices(0, 9)
    rig.people(0, 3)  # at the tenth device
    getattr(rig, end)()
    assert rig.devices(0, 9) == (18, set())
    assert rig.devices(10, 11)[0] == 0
    assert rig.people(0, 7)[0] == 5
    assert rig.counters.get("series.new_people") == 5


def test_pain_20_people_have_a_cap_of_their_own(rig: Rig) -> None:
    rows, (reason,) = rig.people(0, 7)
    assert rows == 5
    assert "series of people within an hour" in reason
    assert handle(5)[:4] not in reason
    rig.now += HOUR
    assert rig.people(0, 9)[0] == 8
    rig.now += 24 * HOUR
    rows, (reason,) = rig.people(0, 12)
    assert rows == 10
    assert "the site has its 10 series of people" in reason
    assert rig.devices(0, 5) == (10, set())


def test_pain_20_nobody_can_be_found_in_what_the_guard_remembers(rig: Rig, tmp_path: Path) -> None:
    rig.people(0, 5)
    rig.devices(0, 5)
    rig.guard.commit(rig.guard.take_changes())
    assert not any(traces(tmp_path, handle(n)) for n in range(5))
    hashes = [row[0] for row in rig.guard._db.execute("SELECT id FROM known WHERE kind = 1")]
    rig.guard.forget_people(SITE)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm"))
    assert len(hashes) == 5
    assert not any(one.to_bytes(8, signed=True) in left for one in hashes)
    assert rig.devices(0, 5) == (10, set())
    rig.restart()
    assert rig.people(0, 5)[0] == 0, "what was added within the hour stays counted"
    rig.now += HOUR
    assert rig.people(0, 3)[0] == 3


def test_pain_20_field_names_are_bounded_too(rig: Rig) -> None:
    def fields(first: int, end: int, gateway: str = GATEWAY) -> tuple[int, set[str]]:
        points = {f"p{n}": 1.0 for n in range(first, end)}
        return rig.send(
            batch(1, [block([sample(rig.now, dict(points))], quantities=dict.fromkeys(points, "co2"))], gateway=gateway)
        )

    assert fields(0, 6) == (1, set())
    assert "added 6 field names of fields within" in next(iter(fields(6, 7)[1]))
    assert fields(6, 9, "gw-102") == (1, set())
    assert "series.fields" in next(iter(fields(9, 10, "gw-103")[1]))
    assert fields(0, 6) == (1, set())
    assert next(iter(fields(0, 300)[1])) == "device has more than 256 points"


def test_a_name_that_is_a_quantity_keeps_its_type(rig: Rig) -> None:
    """Whoever comes first fixes a field's type in the store for everybody."""
    spoiler = block([sample(rig.now, {"temperature": "hot"})], quantities={"temperature": "state"})
    (reason,) = rig.send(batch(1, [spoiler]))[1]
    assert reason == "point 'temperature' cannot be string: that is the name of a quantity that is float"


def test_what_is_no_longer_there_is_not_counted_for_ever(rig: Rig) -> None:
    rig.devices(0, 10)
    for _ in range(40):
        rig.now += 24 * HOUR
        assert rig.devices(0, 4)[0] == 8  # these go on
        rig.guard.commit(rig.guard.take_changes())
    assert rig.guard._db.execute("SELECT count(*) FROM known WHERE kind = 0").fetchone() == (4,)
    assert len(rig.guard._added) <= 2


def test_a_damaged_memory_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "series.sqlite").write_bytes(b"no database" * 500)
    rig = Rig(tmp_path)
    with contextlib.closing(rig.guard):
        assert rig.devices(0, 3) == (6, set())
    assert rig.counters.get("series.lost_memories") == 1
    assert (tmp_path / "series.sqlite.damaged").is_file()


async def test_pain_20_at_the_wire_the_database_stays_small(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite"
    limits = {"CAMPUS_INGEST_SERIES__DEVICES_PER_HOUR": "20"}
    ingest = await make_ingest(mosquitto, url, **limits)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.stored(1)
        for number in range(2, 12):
            invented = [block([sample(NOW + number)], device=f"fake-{number}-{n}") for n in range(50)]
            await gateway.send(batch(number, [block([sample(NOW + number)]), *invented]))
        ack = await gateway.refused(11)
        refused = next(one for one in ack.refused if one.batch == 11)
        assert "raise series.devices_per_hour and replay" in refused.reason
        assert 0 not in refused.samples  # the device that is known went on
        await gateway.stored(11)
        ingest.kill()
        await ingest.start()
        await gateway.send(batch(12, [block([sample(NOW + 12)], device="one-more"), block([sample(NOW + 12)])]))
        assert (await gateway.refused(12)).refused[0].samples == [0]
    assert await ingest.stop() == 0
    rows = await rows_of(url)
    assert len({row["device"] for row in rows}) == 20
    assert sum(row["device"] == "r101-air" for row in rows) == 12
    assert counters_of(ingest)["series.refused_devices"] == 1
    assert len(letters_of(ingest)) == 11


async def test_pain_20_people_are_counted_by_pseudonym_and_nothing_else_is_a_tag(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    ingest = await make_ingest(mosquitto, influx2.url, CAMPUS_INGEST_SERIES__PEOPLE_PER_SITE="3")
    async with connected_gateway(mosquitto) as gateway:
        for number in range(1, 6):
            await gateway.send(attendance(number, f"{number:032x}"))
        for number in (4, 5):
            assert "series.people_per_site" in (await gateway.refused(number)).refused[0].reason
        await gateway.send(attendance(6, f"{1:032x}", NOW + 1))
        await gateway.stored(6)
    assert await ingest.stop() == 0
    tags = {pair.split("=")[0] for key, _ in influx2.points for pair in key.split(",")[1:]}
    assert tags == {"site", "room", "device", "subject"}
    assert len(influx2.points) == 4
    assert json.loads((ingest.data / "counters.json").read_text())["counters"]["series.refused_people"] == 2
