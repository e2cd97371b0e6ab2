from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console

from simulators.demo.compare import Comparison
from simulators.demo.leaks import Leak
from simulators.demo.report import CATEGORIES, ProcessReport, Report, judge, tables, withheld, withheld_by_agent
from simulators.demo.verdict import Family


def report(**change: Any) -> Report:
    fields: dict[str, Any] = {
        "families": {"environment": Family(said=9, stored=9).counts()},
        "withheld": {},
        "withheld_by_agent": {},
        "first_stored_s": 1.5,
        "first_stored_by_family_s": {"environment": 1.5, "attendance": None},
        "seconds": 20.0,
        "processes": {"agent": ProcessReport(rss_mb=40.0, cpu_s=1.0)},
        "outages": [],
        "store": "sqlite:///x",
        "mqtt": "embedded",
        "site": "demo-1",
        "seed": 1,
        "sabotaged_batches": None,
    }
    return Report(**(fields | change))


def reasons(
    environment: Family,
    *,
    leaks: tuple[Leak, ...] = (),
    share: float = 0.1,
    uncertain: dict[str, int] | None = None,
    vitals: Family | None = None,
    silent: tuple[str, ...] = (),
    **change: Any,
) -> str:
    made = report(**change)
    judge(
        made,
        Comparison(
            families={
                "environment": environment,
                "attendance": Family(said=3, stored=3, uncertain=uncertain or {}),
                "vitals": vitals or Family(said=3, stored=3),
            },
            silent=silent,
        ),
        leaks,
        unobserved_share=share,
    )
    return " | ".join(made.reasons)


def printed(made: Report) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as shown:
        console.print(tables(made))
    return shown.get()


def test_nothing_wrong_gives_no_reason() -> None:
    assert reasons(Family(said=100, stored=90, suppressed=5, unobserved=5)) == ""


def test_each_broken_promise_is_a_reason() -> None:
    for category in ("lost", "duplicated", "altered", "leaked"):
        assert f"environment: 1 {category}" in reasons(Family(said=10, stored=9, **{category: 1}))


def test_silence_is_no_success() -> None:
    assert "said nothing" in reasons(Family())
    assert "nothing is stored" in reasons(Family(said=5, bad=5))


def test_too_much_unobserved_is_a_reason() -> None:
    assert "unobserved" in reasons(Family(said=200, stored=100, unobserved=100))
    assert reasons(Family(said=200, stored=100, unobserved=100), share=0.6) == ""


def test_too_much_bad_is_a_reason() -> None:
    """What is stored as bad is not lost; but an agent that calls everything bad would lose all."""
    assert "100 of 200 bad, more than 20" in reasons(Family(said=200, stored=100, bad=100))
    assert reasons(Family(said=200, stored=180, bad=20)) == reasons(Family(said=20, stored=8, bad=12)) == ""
    assert reasons(Family(said=200, stored=100, bad=100), share=0.6) == ""


def test_a_device_that_is_not_read_any_more_is_a_reason() -> None:
    assert reasons(Family(said=1, stored=1), silent=("r102-air",)) == (
        "r102-air: was not read any more before it was stopped"
    )


def test_the_agents_own_count_of_the_withheld_must_agree() -> None:
    good = Family(said=1, stored=1)
    both = {"withheld": {"personal.no_consent": 2}}
    assert reasons(good, **both, withheld_by_agent={"personal.no_consent": 2}) == ""
    assert reasons(good, **both, withheld_by_agent=None) == ""
    assert "{'personal.no_consent': 2}, but the agent counted nothing" in reasons(good, **both, withheld_by_agent={})


def test_what_a_reader_said_while_it_was_unplugged_may_or_may_not_have_been_withheld() -> None:
    good, unsure = Family(said=1, stored=1), {"no_consent": 1}
    for counted, fits in ((0, False), (1, True), (2, True), (3, False)):
        both = {"withheld": {"personal.no_consent": 1}, "withheld_by_agent": {"personal.no_consent": counted}}
        assert (reasons(good, uncertain=unsure, **both) == "") is fits


def test_withheld_counts_are_told_by_class_and_those_of_no_person_apart() -> None:
    families = {
        "attendance": Family(withheld={"no_consent": 2}),
        "environment": Family(),
        "vitals": Family(withheld={"no_consent": 3, "unbound": 4}),
        "occupancy": Family(),
    }
    counted = {
        "gate.withheld.personal.no_consent": 2,
        "gate.withheld.sensitive.no_consent": 3,
        "gate.withheld.group.no_policy": 9,
        "device.gym-bands.unbound_readings": 4,
        "buffer.values": 7,
    }
    truth = withheld(Comparison(families=families), lambda family: family.withheld)
    assert truth == withheld_by_agent(counted)
    assert truth == {"personal.no_consent": 2, "sensitive.no_consent": 3, "unbound": 4}


def test_a_family_stored_late_is_a_reason() -> None:
    times = {"environment": 1.0, "vitals": 20.5}
    text = reasons(Family(said=1, stored=1), first_stored_by_family_s=times)
    assert text == "vitals: first stored after 20.5 s, later than 20 s"


def test_a_family_without_a_rule_must_be_withheld_and_not_stored() -> None:
    good = Family(said=1, stored=1)
    closed = Family(said=3, closed=True, withheld={"class_not_allowed": 3})
    assert reasons(good, vitals=closed) == ""
    assert "nothing was withheld" in reasons(good, vitals=Family(said=3, closed=True))
    leaked = Family(said=3, closed=True, withheld={"class_not_allowed": 3}, leaked=2)
    assert "vitals: 2 leaked" in reasons(good, vitals=leaked)


def test_a_leak_is_a_reason_that_names_no_number() -> None:
    leak = Leak(who="card 3", how="card hex", where="mqtt.tap")
    text = reasons(Family(said=1, stored=1), leaks=(leak,))
    assert "card 3 as card hex in mqtt.tap" in text


def test_the_report_is_json_and_a_table() -> None:
    made = report(reasons=["because"], withheld={"no_consent": 2})
    decoded = msgspec.json.decode(made.encode())
    assert decoded["families"]["environment"]["said"] == 9
    assert set(CATEGORIES) <= set(decoded["families"]["environment"])
    shown = printed(made)
    for word in ("environment", "agent", "because", "no_consent", "red"):
        assert word in shown


def test_at_80_columns_nothing_of_the_table_is_cut() -> None:
    family = Family(said=123_456, stored=123_455, lost=1, withheld={"no_consent": 2, "no_key": 3}).counts()
    names = ("environment", "attendance", "vitals", "occupancy")
    shown = printed(report(families=dict.fromkeys(names, family)))
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    rows = {cells[1]: cells[2:6] for line in shown.splitlines() if len(cells := line.split("│")) == 7}
    rows = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert rows["said"] == ["123456"] * 4
    assert rows["withheld"] == ["5"] * 4
    assert set(rows) == {category.replace("younger_than_w", "younger than W") for category in CATEGORIES}
