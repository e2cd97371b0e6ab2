from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console

from simulators.demo.compare import Comparison
from simulators.demo.leaks import Leak
from simulators.demo.report import CATEGORIES, ProcessReport, Report, judge, tables
from simulators.demo.verdict import Family


def report(**change: Any) -> Report:
    fields: dict[str, Any] = {
        "families": {"environment": Family(said=9, stored=9).counts()},
        "withheld": {},
        "withheld_by_agent": {},
        "first_stored_s": 1.5,
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
    **change: Any,
) -> str:
    made = report(**change)
    judge(
        made,
        Comparison(environment=environment, attendance=Family(said=3, stored=3, uncertain=uncertain or {})),
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


def test_the_agents_own_count_of_the_withheld_must_agree() -> None:
    good = Family(said=1, stored=1)
    both = {"withheld": {"no_consent": 2}}
    assert reasons(good, **both, withheld_by_agent={"no_consent": 2}) == ""
    assert reasons(good, **both, withheld_by_agent=None) == ""
    assert "{'no_consent': 2}, but the agent counted nothing" in reasons(good, **both, withheld_by_agent={})


def test_what_a_reader_said_while_it_was_unplugged_may_or_may_not_have_been_withheld() -> None:
    good, unsure = Family(said=1, stored=1), {"no_consent": 1}
    for counted, fits in ((0, False), (1, True), (2, True), (3, False)):
        both = {"withheld": {"no_consent": 1}, "withheld_by_agent": {"no_consent": counted}}
        assert (reasons(good, uncertain=unsure, **both) == "") is fits


def test_a_leak_is_a_reason_that_names_no_number() -> None:
    leak = Leak(card=3, how="card hex", where="mqtt.tap")
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
    shown = printed(report(families={"environment": family, "attendance": family, "occupancy": family}))
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    rows = {cells[1]: cells[2:5] for line in shown.splitlines() if len(cells := line.split("│")) == 6}
    rows = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert rows["said"] == ["123456"] * 3
    assert rows["withheld"] == ["5"] * 3
    assert set(rows) == {category.replace("younger_than_w", "younger than W") for category in CATEGORIES}
