"""The cloud follows each gateway's audit chain and flags one that was rewritten or shortened."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.audit_heads import AuditHeads, Step, Told
from telemetry.counters import Counters

if TYPE_CHECKING:
    from pathlib import Path


class Chain:
    """A gateway's chain, made as edge_agent/audit/README.md says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hashes = ["0" * 64]
        self.digests: list[str] = []

    def grow(self, count: int) -> None:
        for _ in range(count):
            digest = hashlib.sha256(f"{self.name}/{len(self.digests)}".encode()).hexdigest()
            self.digests.append(digest)
            self.hashes.append(hashlib.sha256(bytes.fromhex(self.hashes[-1]) + bytes.fromhex(digest)).hexdigest())

    def told(self, shown: int = 8) -> Told:
        return Told(n=len(self.digests), hash=self.hashes[-1], digests=self.digests[-shown:])


@pytest.fixture
def heads(tmp_path: Path) -> AuditHeads:
    return AuditHeads(tmp_path / "audit.sqlite", counters=Counters())


def test_a_growing_chain_is_followed(heads: AuditHeads) -> None:
    chain = Chain("a")
    steps = []
    for count in (3, 0, 5, 8):
        chain.grow(count)
        steps.append(heads.note("s", "gw", chain.told()))
    assert steps == [Step.FIRST, Step.SAME, Step.CONTINUED, Step.CONTINUED]
    assert [head.n for head in heads.heads("s", "gw")] == [3, 8, 16]
    assert heads.flags() == []


def test_more_entries_than_digests_are_a_gap_and_no_flag(heads: AuditHeads) -> None:
    chain = Chain("a")
    chain.grow(2)
    heads.note("s", "gw", chain.told())
    chain.grow(9)
    assert heads.note("s", "gw", chain.told()) is Step.GAP
    assert heads.flags() == []


@pytest.mark.parametrize("grown", [0, 1, 5])
def test_a_rewritten_chain_is_flagged_also_when_it_has_grown(heads: AuditHeads, grown: int) -> None:
    chain, forged = Chain("a"), Chain("forged")
    chain.grow(4)
    heads.note("s", "gw", chain.told())
    forged.grow(4 + grown)
    assert heads.note("s", "gw", forged.told()) is Step.REWRITTEN
    assert [(flag.gateway, flag.step) for flag in heads.flags()] == [("gw", Step.REWRITTEN)]


def test_a_shortened_chain_is_flagged(heads: AuditHeads) -> None:
    chain = Chain("a")
    chain.grow(4)
    heads.note("s", "gw", chain.told())
    again = Chain("a")
    again.grow(2)
    assert heads.note("s", "gw", again.told()) is Step.SHORTENED


def test_heads_outlive_a_restart_and_gateways_do_not_mix(tmp_path: Path) -> None:
    counters = Counters()
    first = AuditHeads(tmp_path / "audit.sqlite", counters=counters)
    chain, other = Chain("a"), Chain("b")
    chain.grow(4)
    other.grow(2)
    first.note("s", "gw-1", chain.told())
    first.note("s", "gw-2", other.told())
    first.close()
    again = AuditHeads(tmp_path / "audit.sqlite", counters=counters)
    chain.grow(1)
    assert again.note("s", "gw-1", chain.told()) is Step.CONTINUED
    assert again.note("s", "gw-2", other.told()) is Step.SAME
    assert counters.snapshot()["audit.first"] == 2
    assert (tmp_path / "audit.sqlite").stat().st_mode & 0o777 == 0o600


def test_old_heads_go_but_flags_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.audit_heads._KEPT_HEADS", 5)
    heads = AuditHeads(tmp_path / "audit.sqlite", counters=Counters())
    chain, forged = Chain("a"), Chain("f")
    chain.grow(3)
    forged.grow(3)
    heads.note("s", "gw", chain.told(), at_ns=1)
    heads.note("s", "gw", forged.told(), at_ns=2)
    for at_ns in range(3, 30):
        forged.grow(1)
        heads.note("s", "gw", forged.told(), at_ns=at_ns)
    assert len(heads.heads("s", "gw")) <= 7
    assert len(heads.flags()) == 1


def test_flags_are_bounded_too_and_the_first_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that tells another chain each second must not fill the disk with its flags."""
    monkeypatch.setattr("cloud_ingest.audit_heads._KEPT_FLAGS", 5)
    heads = AuditHeads(tmp_path / "audit.sqlite", counters=Counters())
    for at_ns in range(1, 40):
        forged = Chain(f"forged {at_ns}")
        forged.grow(3)
        heads.note("s", "gw", forged.told(), at_ns=at_ns)
    assert [flag.at_ns for flag in heads.flags()] == [2, 3, 4, 5, 6]
    heads.close()
