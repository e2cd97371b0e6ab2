"""Dead letters without somebody: his rows go, everybody else's stay to the letter, and no byte tells of him."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.erasure.cleaning import handles_in, without
from telemetry.batch import decode_batch, encode_batch, unpack
from telemetry.counters import Counters
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import NOW, attendance, batch, block, payload_of, sample
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from pathlib import Path

HIM = "ee" * 16
OTHERS = [f"{number:032x}" for number in range(1, 5)]


def him(handle: str) -> bool:
    return handle == HIM


def of(subjects: list[str | None], device: str = "r101-door"):
    samples = [sample(NOW + n, {"presence": True}, subject=subject) for n, subject in enumerate(subjects)]
    return block(samples, device=device, measurement="attendance", quantities={"presence": "presence"})


@given(st.lists(st.lists(st.sampled_from([HIM, None, *OTHERS]), max_size=8), min_size=1, max_size=4), st.booleans())
def test_everybody_else_stays(blocks: list[list[str | None]], long: bool) -> None:
    blocks = [subjects * 5 for subjects in blocks] if long else blocks
    devices = [of(list(subjects), f"d{n}") for n, subjects in enumerate(blocks)]
    one = batch(7, devices, data_class=DataClass.PERSONAL)
    payload = payload_of(one)
    left = without(payload, him)
    if all(HIM not in subjects for subjects in blocks):
        assert left is payload
        return
    kept = [block_ for block_ in devices if any(sample_.subject != HIM for sample_ in block_.samples)]
    if not kept:
        assert left is None
        return
    assert left is not None
    found = decode_batch(unpack(left))
    assert [b.device for b in found.devices] == [b.device for b in kept]
    assert [b.samples for b in found.devices] == [[s for s in b.samples if s.subject != HIM] for b in kept]
    assert HIM.encode() not in encode_batch(found)


@given(st.binary(max_size=300))
def test_hostile_payloads_are_left_alone_or_removed_as_a_whole(noise: bytes) -> None:
    for payload in (noise, gzip.compress(noise), gzip.compress(noise)[:-3], b"\x1f\x8b" + noise):
        assert without(payload, him) in {payload, None}
    for payload in (noise + b"!" + HIM.encode(), gzip.compress(b"!" + HIM.encode() + b"!" + noise)[:-3]):
        assert without(payload, him) is None


def test_handles_are_told_from_longer_hex() -> None:
    assert list(handles_in(f"{HIM} {HIM}0 x{HIM}x {OTHERS[0]}".encode())) == [HIM, OTHERS[0]]


def test_letters_are_rewritten_and_the_file_forgets(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "dead.sqlite", max_bytes=10_000_000, counters=Counters())
    both = batch(1, [of([HIM, OTHERS[0]] * 40)], data_class=DataClass.PERSONAL)
    letters = [
        Letter(topic="t/1", payload=payload_of(both), reason="r"),
        Letter(topic="t/2", payload=payload_of(attendance(2, HIM)), reason="r"),
        Letter(topic="t/3", payload=payload_of(attendance(3, OTHERS[1])), reason="r"),
        Letter(topic="t/4", payload=b'{"cut short": "' + HIM.encode(), reason="r"),
    ]
    for letter in letters:
        dead.add([letter])
    assert traces(tmp_path, HIM)
    assert dead.rewrite(lambda payload: without(payload, him)) == 3
    assert not traces(tmp_path, HIM)
    entries = dead.entries()
    assert [entry.topic for entry in entries] == ["t/1", "t/3"]
    found = dead.get(entries[0].id)
    assert found is not None
    assert len(decode_batch(unpack(found[1])).devices[0].samples) == 40
    assert found[0].size == len(found[1])
    assert dead.rewrite(lambda payload: without(payload, him)) == 0
    # What comes later is cleaned on its way.
    dead.close()
    dead = DeadLetters(
        tmp_path / "dead.sqlite", max_bytes=10_000_000, counters=Counters(), clean=lambda p: without(p, him)
    )
    dead.add(letters)
    assert not traces(tmp_path, HIM)
    emptied = [entry for entry in dead.entries() if entry.topic == "t/2"]
    assert [(entry.size, entry.times) for entry in emptied] == [(0, 2)]
    dead.close()
