from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from simulators.demo.camera_records import decode, read_looks
from simulators.demo.verdict import SECOND_NS, Conditions, Family, Look, Outage, Shown
from simulators.demo.verdict_occupancy import judge_occupancy
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import Path

T = 1_763_760_000 * SECOND_NS
PLAIN = Conditions(window_s=2.0)


def look(at_s: float, **change: Any) -> Look:
    said = Look(
        device="cam",
        room="r1",
        at_ns=int(T + at_s * SECOND_NS),
        values={"people": 8.0, "light": 0.5},
        bad={},
        picture=True,
    )
    return replace(said, **change)


def dark(at_s: float) -> Look:
    return look(at_s, values={"light": 0.02}, bad={"people": "dark"})


def failed(at_s: float, reason: str = "stale") -> Look:
    return look(at_s, values={}, bad={"people": reason, "light": reason}, picture=False)


def row(said: Look, **change: Any) -> dict[str, Any]:
    stored: dict[str, Any] = {"time_ns": said.at_ns, "site": "s", "room": said.room, "device": said.device}
    stored |= {"simulated": True} | dict(said.values) | {f"{point}_bad": reason for point, reason in said.bad.items()}
    return {name: value for name, value in (stored | change).items() if value is not ...}


def shown(people: int = 8, fault: str | None = None, from_s: float = 0, until_s: float = 60) -> Shown:
    return Shown(
        device="cam",
        people=people,
        fault=fault,
        from_ns=int(T + from_s * SECOND_NS),
        until_ns=int(T + until_s * SECOND_NS),
    )


def counts(family: Family) -> dict[str, Any]:
    assert sum(family.excused.values()) == family.unobserved
    return {name: count for name, count in family.counts().items() if count and name not in {"said", "excused"}}


def judged(
    looks: list[Look], rows: list[dict[str, Any]], *scenes: Shown, conditions: Conditions = PLAIN
) -> dict[str, Any]:
    return counts(judge_occupancy(looks, scenes or [shown()], rows, conditions))


LOOKS = [look(at_s) for at_s in (2, 4, 6)]
ROWS = [row(said) for said in LOOKS]


def test_everything_stored_is_everything_said() -> None:
    family = judge_occupancy(LOOKS, [shown()], ROWS, PLAIN)
    assert (family.said, counts(family)) == (6, {"stored": 6})


def test_the_two_classes_of_a_record_may_be_two_rows() -> None:
    rows = [part for said in LOOKS for part in (row(said, light=...), row(said, people=...))]
    assert judged(LOOKS, rows) == {"stored": 6}


def test_a_missing_row_or_value_is_lost() -> None:
    assert judged(LOOKS, ROWS[1:]) == {"stored": 4, "lost": 2}
    assert judged(LOOKS, [row(LOOKS[0], people=...), *ROWS[1:]]) == {"stored": 5, "lost": 1}


@pytest.mark.parametrize(
    ("change", "altered"),
    [({"people": 9.0}, 1), ({"room": "r2"}, 2), ({"simulated": ...}, 2), ({"faces": 3.0}, 1)],
    ids=["count", "room", "unmarked", "stranger"],
)
def test_another_value_room_or_mark_is_altered(change: dict[str, Any], altered: int) -> None:
    assert judged(LOOKS[:1], [row(LOOKS[0], **change)])["altered"] == altered


@pytest.mark.parametrize("change", [{"room": "r2"}, {"simulated": ...}], ids=["room", "unmarked"])
@pytest.mark.parametrize("part", ["people", "light"])
def test_the_right_row_of_a_time_does_not_speak_for_the_wrong_one(part: str, change: dict[str, Any]) -> None:
    parts = [row(LOOKS[0], **{point: ...}) for point in ("people", "light") if point != part]
    wrong = row(LOOKS[0], **{point: ... for point in ("people", "light") if point != part} | change)
    for rows in ([*parts, wrong], [wrong, *parts]):
        assert judge_occupancy(LOOKS[:1], [shown()], rows, PLAIN).broken > 0


def test_a_row_of_no_record_is_altered_unless_all_of_it_is_bad() -> None:
    assert judged(LOOKS, [*ROWS, row(look(9))]) == {"stored": 6, "altered": 2}
    assert judged(LOOKS, [*ROWS, row(failed(9, "sensor_fault"))]) == {"stored": 6}


def test_in_the_dark_there_is_light_and_no_count() -> None:
    assert judged([dark(2)], [row(dark(2))], shown(fault="dark")) == {"stored": 1, "bad": 1}
    assert judged([dark(2)], [row(dark(2), people_bad="stale")], shown(fault="dark")) == {"stored": 1, "altered": 1}
    zero = row(dark(2), people=0.0, people_bad=...)
    assert judged([dark(2)], [zero], shown(fault="dark")) == {"stored": 1, "altered": 1}


def test_a_failed_reading_is_bad_with_its_reason_and_one_row_stands_for_a_period() -> None:
    bad = row(failed(2.1))
    assert judged([failed(2), failed(2.9)], [bad], shown(fault="stall")) == {"bad": 4}
    assert judged([failed(2, "decode")], [bad], shown(fault="garbage")) == {"lost": 2}
    assert judged([failed(2), failed(6)], [bad], shown(fault="stall")) == {"bad": 2, "lost": 2}
    assert judged([failed(2, "refused")], []) == {"unobserved": 2}


def test_how_long_a_camera_fails_after_its_end_says_nothing() -> None:
    ended = Conditions(window_s=2.0, ends={"cam": [T, T + 5 * SECOND_NS]})
    after = [failed(at_s) for at_s in range(5, 60, 2)]
    assert judged([*LOOKS[:2], *after], [*ROWS[:2], *map(row, after[1:])], conditions=ended) == {"stored": 4}
    assert judged([failed(4)], [], conditions=ended) == {"lost": 2}


@pytest.mark.parametrize(("people", "told"), [(0, 0.0), (1, 4.0), (4, 4.0), (5, 5.0), (12, 12.0)])
def test_a_count_must_be_what_was_there(people: int, told: float) -> None:
    for count in (0.0, 4.0, 5.0, 12.0):
        said = look(5, values={"people": count, "light": 0.5})
        right = judged([said], [row(said)], shown(people))
        assert right == ({"stored": 2} if count == told else {"stored": 2, "altered": 1})


def test_around_a_change_either_count_is_right_but_not_long_after_it() -> None:
    scenes = (shown(8, until_s=10), shown(5, from_s=10))
    for at_s, right in ((9.9, True), (10.1, True), (11.4, True), (11.6, False)):
        said = look(at_s)
        assert (judged([said], [row(said)], *scenes) == {"stored": 2}) is right


def test_a_number_where_nothing_can_be_seen_is_altered() -> None:
    said = look(5)
    for fault in ("dark", "garbage", "stall", "unplug"):
        assert judged([said], [row(said)], shown(8, fault)) == {"stored": 2, "altered": 1}


def test_what_is_young_at_the_agents_death_is_excused() -> None:
    down = Outage(from_ns=T + 5 * SECOND_NS, until_ns=T + 7 * SECOND_NS, killed=True)
    conditions = Conditions(window_s=2.0, outages=[down])
    assert judged(LOOKS[1:2], [row(LOOKS[1], people=...)], conditions=conditions) == {"stored": 1, "younger_than_w": 1}
    assert judged(LOOKS, [], conditions=conditions) == {"lost": 2, "younger_than_w": 2, "unobserved": 2}


def test_a_wrong_clock_excuses_nothing() -> None:
    wrong = Conditions(window_s=2.0, wrong_clock=[(T, T + 9 * SECOND_NS)])
    assert judged(LOOKS[:1], [], conditions=wrong) == {"lost": 2}


def record(state: int, people: int = 0xFFFF, brightness: int = 0xFFFF, version: int = 2, captured_ns: int = 5) -> bytes:
    seen = state in {1, 2, 7, 9, 10}
    body = struct.pack(
        "<HHIHHHHQIIIIIHHHH",
        *(version, state, 1, people, brightness, 640 * seen, 480 * seen, captured_ns * seen, 9, 1, 0, 0, 30_000),
        *(0xFFFF, 0xFFFF, 0xFFFF, state == 1),
    )
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (record(1, people=8, brightness=5000), ({"people": 8.0, "light": 0.5}, {}, True)),
        (record(1, people=0, brightness=10_000), ({"people": 0.0, "light": 1.0}, {}, True)),
        (record(2, brightness=200), ({"light": 0.02}, {"people": "dark"}, True)),
        (record(7, brightness=200), ({"light": 0.02}, {"people": "sensor_fault"}, True)),
        (record(9, brightness=4000), ({"light": 0.4}, {"people": "covered"}, True)),
        (record(10, brightness=4000), ({"light": 0.4}, {"people": "warming_up"}, True)),
        (record(3), ({}, {"people": "stale", "light": "stale"}, False)),
        (record(4), ({}, {"people": "decode", "light": "decode"}, False)),
        (record(5), ({}, {"people": "timeout", "light": "timeout"}, False)),
        (record(6), ({}, {"people": "refused", "light": "refused"}, False)),
        (record(8), ({}, {"people": "timeout", "light": "timeout"}, False)),
    ],
)
def test_a_record_is_read_from_its_bytes(data: bytes, told: object) -> None:
    assert decode(data) == told


@pytest.mark.parametrize(
    "data",
    [b"", record(3)[:-1], record(3)[:-1] + b"\0", record(11), record(3, version=1), record(1, brightness=5)],
    ids=["empty", "short", "sum", "state", "version", "no number"],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_the_records_file_and_the_full_one_before_it_are_read(tmp_path: Path) -> None:
    for name, at_ns, more in (("cam.jsonl.1", 1, ""), ("cam.jsonl", 2, '{"at_ns": 3, "rec')):
        line = json.dumps({"at_ns": at_ns, "record": record(1, people=8, brightness=5000).hex()})
        (tmp_path / name).write_text(f"{line}\n{more}")
    looks = read_looks(tmp_path / "cam.jsonl", device="cam", room="r1", offset_ns=T)
    assert [(item.at_ns, item.values["people"]) for item in looks] == [(T + 5, 8.0), (T + 5, 8.0)]


def records(folder: Path, *lines: tuple[float, int, float]) -> list[int]:
    """Return when looks were made, in s; lines are (at_s as the agent tells it, state, the picture's own time in s)."""
    with (folder / "cam.jsonl").open("w") as file:
        for at_s, state, picture_s in lines:
            data = record(state, people=8, brightness=5000, captured_ns=int(picture_s * SECOND_NS))
            file.write(json.dumps({"at_ns": int(at_s * SECOND_NS), "record": data.hex()}) + "\n")
    looks = read_looks(folder / "cam.jsonl", device="cam", room="r1", offset_ns=1000 * SECOND_NS)
    return [round(item.at_ns / SECOND_NS) for item in looks]


def test_a_wrong_clock_of_the_agent_moves_no_record(tmp_path: Path) -> None:
    right = [(1004.0, 3, 0.0), (1006.0, 1, 6.0), (1008.0, 4, 0.0)]
    assert records(tmp_path, *right) == [1004, 1006, 1008]
    # It boots in the year 2, and goes on by that: its first record, without a picture, is told by the next one.
    early = [(21.0, 8, 0.0), (22.0, 1, 12.0), (24.0, 4, 0.0), (26.0, 1, 16.0), (28.0, 5, 0.0)]
    assert records(tmp_path, *right, *early) == [1004, 1006, 1008, 1011, 1012, 1014, 1016, 1018]
    later = [(1030.0, 3, 0.0), (1032.0, 1, 32.0)]
    assert records(tmp_path, *right, *early, *later)[-2:] == [1030, 1032]
    assert records(tmp_path, (1004.0, 3, 0.0)) == [1004]


def test_a_records_file_says_nothing_but_numbers(tmp_path: Path) -> None:
    line = {"at_ns": 1, "record": record(3).hex(), "picture": "…"}
    (tmp_path / "cam.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ProtocolError, match="picture"):
        read_looks(tmp_path / "cam.jsonl", device="cam", room="r1", offset_ns=0)
