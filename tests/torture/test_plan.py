"""The plan: from the seed alone, in rounds that stand for themselves, and never with two troubles for one part."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from simulators.demo.stage import AGENT, BROKER, DATABASE, INGEST, WORKERS
from simulators.faults import CORRUPTION, DRIFT, DROP, FAULTS
from simulators.scenario import SCENARIOS
from simulators.torture.plan import CYCLES_A_ROUND, RECOVERY_S, Action, Kind, deck, plan
from simulators.torture.round import unobserved_share

SEEDS = range(25)


def actions(seed: int, *, scenario: str = "classroom", cycles: int = 40) -> list[list[Action]]:
    return plan(SCENARIOS[scenario], seed=seed, cycles=cycles)


def test_the_same_seed_gives_the_same_plan_in_another_process_too() -> None:
    command = [sys.executable, "-m", "simulators", "torture", "--dry-run", "--seed", "7", "--cycles", "12"]
    first, second = (subprocess.run(command, capture_output=True, check=True, timeout=30).stdout for _ in range(2))
    assert first == second
    planned = [action for round_ in actions(7, cycles=12) for action in round_]
    assert len(first.splitlines()) == len(planned)
    assert actions(7) == actions(7) != actions(8)


def test_a_plan_that_is_known_stays_as_it_is() -> None:
    """A report's replay command is of use only as long as nobody changes what a seed means."""
    first = actions(1)[0][:2]
    assert [(action.kind, action.target, action.at_s, action.hold_s) for action in first] == [
        (Kind.SLOW, "ingest-network", 0.0, 1.295),
        (Kind.HALF_OPEN, "agent-network", 0.622, 2.756),
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_longer_plan_begins_like_a_shorter_one(scenario: str) -> None:
    for seed in SEEDS:
        assert actions(seed, scenario=scenario)[:2] == actions(seed, scenario=scenario, cycles=20)


def test_each_cycle_has_one_or_two_troubles_for_different_parts_and_ends_before_the_next() -> None:
    for seed in SEEDS:
        rounds = actions(seed, scenario="school", cycles=35)
        assert [len({action.cycle for action in round_}) for round_ in rounds] == [10, 10, 10, 5]
        for number, round_ in enumerate(rounds):
            cycles = {action.cycle: [one for one in round_ if one.cycle == action.cycle] for action in round_}
            assert sorted(cycles) == [*range(number * CYCLES_A_ROUND + 1, number * CYCLES_A_ROUND + len(cycles) + 1)]
            for troubles in cycles.values():
                assert len(troubles) in {1, 2}
                if len(troubles) == 2:
                    assert not troubles[0].needs & troubles[1].needs
            for earlier, later in pairwise(cycles[key] for key in sorted(cycles)):
                ends = max(action.at_s + action.hold_s + action.recovery_s for action in earlier)
                assert min(action.at_s for action in later) > ends


def test_the_agent_is_not_killed_before_w_has_passed_since_it_was_frozen_or_its_disk_full() -> None:
    for seed in SEEDS:
        for round_ in actions(seed):
            for one in round_:
                if AGENT not in one.needs or not one.recovery_s:
                    continue
                mended = one.at_s + one.hold_s
                others = [other for other in round_ if other is not one and other.target == AGENT]
                assert not any(one.at_s <= other.at_s < mended + RECOVERY_S for other in others)


def test_forty_cycles_hit_every_part_in_every_way() -> None:
    for seed in SEEDS:
        dealt = {(action.kind, action.target) for round_ in actions(seed) for action in round_}
        wanted = {card for card in deck(SCENARIOS["classroom"]) if card[1]}
        assert wanted <= dealt
        assert any(kind is Kind.KILL and target.startswith("device:") for kind, target in dealt)
    assert {(Kind.KILL, AGENT), (Kind.KILL, INGEST), (Kind.KILL, BROKER)} <= dealt


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_database_and_workers_are_killed_where_there_are_some(scenario: str) -> None:
    for database in (False, True):
        cards = set(deck(SCENARIOS[scenario], database=database))
        assert ((Kind.KILL, DATABASE) in cards) is ((Kind.FREEZE, DATABASE) in cards) is database
        assert ((Kind.LOCK, "store") in cards) is not database
        assert ((Kind.KILL, WORKERS) in cards) is ((Kind.FREEZE, WORKERS) in cards) is (scenario == "school")
    assert plan(SCENARIOS[scenario], seed=1, cycles=40, database=True) != actions(1, scenario=scenario)


def test_no_two_clocks_are_wrong_at_a_time_and_the_agent_is_not_killed_before_it_knows_the_time() -> None:
    wrong = [action for seed in SEEDS for round_ in actions(seed) for action in round_ if action.kind is Kind.CLOCK]
    assert {action.target for action in wrong} == {AGENT, INGEST}
    assert all("clocks" in action.needs for action in wrong)
    assert all(action.recovery_s == RECOVERY_S for action in wrong if action.target == AGENT)
    assert {(action.detail, action.amount is None) for action in wrong if action.target == AGENT} == {
        ("1970", True),
        ("", False),
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_devices_have_faults_that_they_know(scenario: str) -> None:
    links = SCENARIOS[scenario].links
    for seed in SEEDS:
        for action in (one for round_ in actions(seed, scenario=scenario) for one in round_):
            if action.kind is Kind.FAULT:
                assert links[action.target.removeprefix("device:")][0].kind in FAULTS[action.detail].kinds
                assert action.detail != DRIFT
                assert (action.amount is not None) == (action.detail in {CORRUPTION, DROP})


def test_what_may_be_unobserved_is_bounded_by_the_time_of_sickness() -> None:
    def action(kind: Kind, target: str) -> Action:
        return Action(cycle=1, at_s=0.0, kind=kind, target=target, hold_s=18.0)

    assert unobserved_share([action(Kind.CUT, "agent-network")]) == 0.1
    assert unobserved_share([action(Kind.KILL, "device:bus-1"), action(Kind.KILL, BROKER)]) == 0.9
    short = Action(cycle=1, at_s=3.0, kind=Kind.FAULT, target="device:bus-1", hold_s=1.0)
    assert unobserved_share([action(Kind.CUT, "agent-network"), short]) == 0.25
