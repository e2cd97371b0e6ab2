"""The audit's chain and file: what was altered, left out or put elsewhere is named."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.audit import AuditLog, Fault, Head, lines, verify
from edge_agent.audit import log as audit_log
from telemetry.counters import Counters

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, count: int) -> tuple[AuditLog, list[Head]]:
    log = AuditLog(folder, counters=Counters(), now_ns=iter(range(10**6)).__next__)
    heads = []
    for number in range(count):
        log.append("document_accepted", {"kind": "policy", "serial": number, "名": "政策"})
        heads.append(log.head)
    return log, heads


def independent_hash(line: bytes) -> str:
    """The chain as the README describes it, written again."""
    entry: dict[str, Any] = json.loads(line)
    prev = entry.pop("prev")
    entry.pop("hash")
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(bytes.fromhex(prev) + hashlib.sha256(text.encode()).digest()).hexdigest()


@pytest.fixture
def chain(tmp_path: Path) -> tuple[list[bytes], list[Head]]:
    _, heads = write(tmp_path / "a", 12)
    return list(lines(tmp_path / "a")), heads


def test_a_sound_chain_has_no_findings_and_is_anchored_to_the_last_head_of_the_cloud(
    chain: tuple[list[bytes], list[Head]],
) -> None:
    written, heads = chain
    verdict = verify(written, [heads[3], heads[8]])
    assert verdict.findings == ()
    assert (verdict.first, verdict.last, verdict.anchored_to) == (1, 12, 9)
    assert [entry.n for entry in verdict.unanchored] == [10, 11, 12]


def test_the_hash_is_what_the_readme_says(chain: tuple[list[bytes], list[Head]]) -> None:
    written, heads = chain
    assert [independent_hash(line) for line in written] == [head.hash for head in heads]


def test_without_a_head_everything_is_unanchored(chain: tuple[list[bytes], list[Head]]) -> None:
    assert len(verify(chain[0]).unanchored) == 12


@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_flipped_bit_before_the_last_head_is_named(seed: int, data: st.DataObject) -> None:
    written, heads = _chain(8)
    at = data.draw(st.integers(0, 5))
    line = bytearray(written[at])
    place = seed % (len(line) * 8)
    line[place // 8] ^= 1 << place % 8
    changed = [*written[:at], bytes(line), *written[at + 1 :]]
    verdict = verify(changed, [heads[6]])
    assert verdict.findings
    # A flipped digit of a number moves the blame to the number that is read; the entry itself is not vouched for.
    assert verdict.anchored_to <= at + 1
    assert min(finding.n for finding in verdict.findings) <= at + 2


@given(at=st.integers(0, 5))
def test_a_dropped_entry_is_missing(at: int) -> None:
    written, heads = _chain(8)
    verdict = verify([*written[:at], *written[at + 1 :]], [heads[6]])
    assert [(finding.fault, finding.n) for finding in verdict.findings] == [(Fault.MISSING, at + 1)]


@given(at=st.integers(0, 5))
def test_swapped_entries_are_reordered(at: int) -> None:
    written, heads = _chain(8)
    swapped = [*written[:at], written[at + 1], written[at], *written[at + 2 :]]
    verdict = verify(swapped, [heads[6]])
    assert Fault.REORDERED in {finding.fault for finding in verdict.findings}
    assert {finding.n for finding in verdict.findings} & {at + 1, at + 2}


def test_entries_that_the_cloud_saw_cannot_be_cut_off() -> None:
    written, heads = _chain(8)
    verdict = verify(written[:5], [heads[6]])
    assert [(finding.fault, finding.n) for finding in verdict.findings] == [(Fault.MISSING, 6)]


def test_a_cut_after_the_last_head_cannot_be_seen_and_nothing_claims_it_could() -> None:
    written, heads = _chain(8)
    verdict = verify(written[:7], [heads[6]])
    assert verdict.findings == ()
    assert verdict.unanchored == ()


def test_a_chain_made_anew_is_rewritten() -> None:
    written, heads = _chain(8)
    forged, _ = _chain(8, event="something_else")
    verdict = verify(forged, [heads[6]])
    assert [finding.fault for finding in verdict.findings] == [Fault.REWRITTEN]
    assert verdict.anchored_to < 7
    assert len(written) == 8


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_is_named_and_never_raises(garbage: list[bytes]) -> None:
    verdict = verify(garbage, [Head(n=3, hash="0" * 64)])
    assert verdict.findings


def test_after_a_power_cut_the_torn_line_goes_and_the_chain_goes_on(tmp_path: Path) -> None:
    _, heads = write(tmp_path, 3)
    with (tmp_path / audit_log.FILE_NAME).open("ab") as file:
        file.write(b'{"n":4,"at')
    again = AuditLog(tmp_path, counters=Counters())
    assert again.head.n == 4
    verdict = verify(lines(tmp_path), [*heads, again.head])
    assert verdict.findings == ()
    assert list(lines(tmp_path))[-1].count(b"torn_bytes") == 1


def test_rotation_keeps_the_chain_and_lets_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MAX_FILE_BYTES", 2000)
    monkeypatch.setattr(audit_log, "KEPT_FILES", 3)
    log, heads = write(tmp_path, 100)
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 4
    verdict = verify(lines(tmp_path), [heads[-2]])
    assert verdict.findings == ()
    assert 1 < verdict.first < verdict.last == heads[-1].n
    assert verdict.anchored_to == heads[-2].n
    assert AuditLog(tmp_path, counters=Counters()).head == log.head


def test_a_full_disk_is_counted_and_the_chain_stays_whole(tmp_path: Path) -> None:
    counters = Counters()
    log = AuditLog(tmp_path / "a", counters=counters)
    log.append("started", {})
    (tmp_path / "a" / audit_log.FILE_NAME).rename(tmp_path / "kept")
    (tmp_path / "a" / audit_log.FILE_NAME).mkdir()
    log.append("lost", {})
    (tmp_path / "a" / audit_log.FILE_NAME).rmdir()
    (tmp_path / "kept").rename(tmp_path / "a" / audit_log.FILE_NAME)
    log.append("stopped", {})
    assert counters.snapshot()["audit.unwritten"] == 1
    assert verify(lines(tmp_path / "a"), [log.head]).findings == ()
    assert log.head.n == 2


def test_old_files_that_cannot_be_deleted_are_counted_and_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_FILE_BYTES", 500)
    monkeypatch.setattr(audit_log, "KEPT_FILES", 1)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    counters = Counters()
    log = AuditLog(tmp_path, counters=counters)
    with monkeypatch.context() as broken:
        broken.setattr(type(tmp_path), "unlink", refuse)
        for number in range(20):
            log.append("document_accepted", {"serial": number})
    assert counters.get("audit.undeleted") > 0
    assert counters.get("audit.unwritten") == 0
    for number in range(10):
        log.append("document_accepted", {"serial": number})
    assert len(list(tmp_path.glob("audit-*.jsonl"))) == 1
    assert verify(lines(tmp_path), [log.head]).findings == ()


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "a", 1)
    assert (tmp_path / "a" / audit_log.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_the_head_travels_with_the_digests_that_lead_to_it(tmp_path: Path) -> None:
    log, heads = write(tmp_path, 12)
    told = log.document()
    reached = heads[12 - len(told["digests"]) - 1].hash
    for digest in told["digests"]:
        reached = hashlib.sha256(bytes.fromhex(reached) + bytes.fromhex(digest)).hexdigest()
    assert (told["n"], told["hash"]) == (12, reached)


_CHAINS: dict[tuple[int, str], tuple[list[bytes], list[Head]]] = {}


def _chain(count: int, event: str = "document_refused") -> tuple[list[bytes], list[Head]]:
    from edge_agent.audit.chain import GENESIS, make

    if (count, event) not in _CHAINS:
        head, written, heads = Head(n=0, hash=GENESIS), [], []
        for number in range(count):
            line, entry = make(prev=head, at_ns=number, event=event, detail={"reason": "expired", "serial": number})
            head = Head(n=entry.n, hash=entry.hash)
            written.append(line.rstrip(b"\n"))
            heads.append(head)
        _CHAINS[count, event] = (written, heads)
    return _CHAINS[count, event]


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    agent, _ = write(tmp_path, 3)
    command = AuditLog(tmp_path, counters=Counters())
    for number in range(4):
        command.append("camera_aim_opened", {"number": number})
        agent.append("document_refused", {"number": number})
    assert agent.head == command.head
    assert agent.head.n == 11
    assert verify(lines(tmp_path), [agent.head]).findings == ()
    told = agent.document()
    assert [entry.digest for entry in verify(lines(tmp_path)).unanchored][-8:] == told["digests"]


def test_it_follows_another_process_through_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MAX_FILE_BYTES", 1000)
    agent, _ = write(tmp_path, 3)
    command, heads = write(tmp_path, 25)
    assert len(list(tmp_path.glob("audit-*.jsonl"))) > 3
    assert agent.head == heads[-1] == command.head
    agent.append("stopped", {})
    assert verify(lines(tmp_path), [*heads, agent.head]).findings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_first_is_the_agents_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "privacy"
    folder.mkdir()
    os.chown(folder, 1234, 1234)
    write(folder, 1)
    assert {(path.name, path.stat().st_uid) for path in folder.iterdir()} == {("audit.jsonl", 1234), ("lock", 1234)}


def test_files_of_others_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "audit-notes.jsonl").write_text("x")
    log, _ = write(tmp_path, 2)
    assert log.head.n == 2
    assert verify(lines(tmp_path), [log.head]).findings == ()
