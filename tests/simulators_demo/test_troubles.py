"""What was done on purpose, as the verdict is told: who was away, whose plug was pulled, who was sick."""

from __future__ import annotations

from simulators.demo.troubles import Down, Fault, ends, outages, sick
from simulators.demo.verdict import Conditions, Outage, silent

S = 1_000_000_000
PLACED = {"bus-1": ["a", "b"], "box": ["c"]}


def test_a_frozen_agent_is_there_but_for_what_it_had_in_hand() -> None:
    downs = [
        Down(name="agent", from_ns=5 * S, killed=False, until_ns=7 * S, frozen=True),
        Down(name="agent", from_ns=9 * S, killed=True, until_ns=11 * S),
        Down(name="ingest", from_ns=9 * S, killed=True, until_ns=11 * S),
    ]
    told = [(outage.from_ns, outage.until_ns, outage.killed, outage.frozen) for outage in outages(downs, "agent")]
    assert told == [(5 * S - 300_000_000, 7 * S, False, True), (9 * S, 11 * S, True, False)]


def test_a_plug_is_pulled_by_the_end_of_a_process_and_by_a_fault_and_by_no_other() -> None:
    downs = [
        Down(name="device:bus-1", from_ns=1 * S, killed=True, until_ns=2 * S),
        Down(name="agent", from_ns=3 * S, killed=True),
    ]
    faults = [
        Fault(name="unplug", link="box", from_ns=4 * S, seconds=1.0),
        Fault(name="silence", link="bus-1", from_ns=5 * S, seconds=1.0),
    ]
    assert dict(ends(downs, faults, PLACED)) == {"a": [1 * S], "b": [1 * S], "c": [4 * S]}


def test_a_device_is_sick_for_the_time_of_its_fault_and_a_second() -> None:
    faults = [
        Fault(name="silence", link="bus-1", from_ns=5 * S, seconds=2.0),
        Fault(name="stall", link="box", from_ns=1 * S, seconds=None),
    ]
    told = sick(faults, PLACED)
    assert told["a"] == told["b"] == [(5 * S, 8 * S)]
    assert told["c"][0][1] > 10**8 * S


def test_a_device_that_the_agent_has_given_up_is_told() -> None:
    def told(last_ns: dict[str, int], *, away_until_ns: int | None = None) -> list[str]:
        outages = [Outage(from_ns=40 * S, until_ns=away_until_ns, killed=True)] if away_until_ns else []
        conditions = Conditions(window_s=2.0, ends={"air": [1 * S, 60 * S], "cam": [60 * S]}, outages=outages)
        return silent(last_ns, conditions)

    last_ns = {"air": 41 * S, "cam": 39 * S}
    assert told(last_ns) == ["cam"]
    assert told({"air": 0, "cam": 60 * S}) == ["air"]
    # An agent that was away until just now may not have got round to it; one that was away before has no such excuse.
    assert told(last_ns, away_until_ns=51 * S) == []
    assert told(last_ns, away_until_ns=49 * S) == ["cam"]
