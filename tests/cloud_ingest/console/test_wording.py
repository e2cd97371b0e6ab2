"""Numbers, states and times in words."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from cloud_ingest.console.chart_options import figures, options, summary
from cloud_ingest.console.documents import DOCUMENT_KINDS
from cloud_ingest.console.model import (
    ChartSeries,
    DayChart,
    DocumentState,
    DocumentView,
    Drop,
    DropKind,
    GatewayView,
    LimitState,
)
from cloud_ingest.console.texts import LANGS, TEXTS, preferred, text
from cloud_ingest.console.vocabulary import (
    DOCUMENT_NAMES,
    DOCUMENT_STATES,
    QUANTITY_NAMES,
    REASON_WORDS,
    WITHHELD_WORDS,
)
from cloud_ingest.console.wording import (
    called,
    document_words,
    drop_words,
    duration,
    gate_words,
    limit_words,
    number,
    size,
    tell,
    twins,
)
from telemetry.quantities import QUANTITIES
from telemetry.sample import Reason, WithheldReason
from tests.cloud_ingest.console.scenes import CO2, LIGHT, WARM, ZONE, chart_of, lesson, people, value


def test_every_text_has_both_languages_and_the_same_blanks() -> None:
    for key, words in TEXTS.items():
        blanks = [{name for _, name, _, _ in string.Formatter().parse(told) if name} for told in (words.zh, words.en)]
        assert blanks[0] == blanks[1] or key.endswith("_1"), key
        assert bool(words.zh) == bool(words.en) or key == "taps", key


def test_everything_that_can_be_said_has_words() -> None:
    assert set(QUANTITIES) <= set(QUANTITY_NAMES)
    assert set(Reason) <= set(REASON_WORDS)
    assert set(WithheldReason) <= set(WITHHELD_WORDS)
    assert set(DocumentState) == set(DOCUMENT_STATES)
    assert tuple(DOCUMENT_NAMES) == DOCUMENT_KINDS
    for lang in LANGS:
        assert all(text(state.value, lang) for state in LimitState if state is not LimitState.UNJUDGED)


@pytest.mark.parametrize(
    ("amount", "quantity", "told"),
    [
        (1234.56, "co2", "1,235"),
        (22.04, "temperature", "22.0"),
        (-3.25, "temperature", "−3.2"),
        (-0.04, "temperature", "0.0"),
        (0.0, "people", "0"),
    ],
)
def test_numbers_have_as_many_digits_as_they_deserve(amount: float, quantity: str, told: str) -> None:
    assert number(amount, quantity) == told


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0, "0 秒", "0 s"),
        (59.6, "1 分钟", "1 min"),
        (75, "1 分钟 15 秒", "1 min 15 s"),
        (700, "11 分钟", "11 min"),
        (3600, "1 小时", "1 h"),
        (277_000, "3 天 4 小时", "3 d 4 h"),
        (2_584_800, "29 天", "29 d"),
    ],
)
def test_lengths_of_time(seconds: float, zh: str, en: str) -> None:
    assert duration(seconds, "zh") == zh
    assert duration(seconds, "en") == en


def test_one_to_four_people_are_told_as_a_range() -> None:
    told = tell(people("cam", 4.0), "zh")
    assert (told.value, told.unit) == ("1–4", "人")
    assert tell(people("cam", 5.0), "en").value == "5"
    assert tell(people("cam", 0.0), "en").value == "0"


def test_a_state_is_said_in_words_icon_and_colour() -> None:
    view = value("co2", 1240.0, "ppm", limit=CO2, state=LimitState.ABOVE)
    told = tell(view, "en")
    assert (told.state, told.icon, told.tone) == ("above limit", "up", "beyond")
    assert told.note == "Limit ≤ 1,000 ppm (classroom CO2, GB/T 17226-2017)"
    assert tell(replace(view, stale=True), "zh").state == "已旧"
    bad = tell(replace(view, value=None, bad=Reason.TIMEOUT), "zh")
    assert (bad.value, bad.state, bad.icon) == ("", "无读数：设备没有应答", "bad")
    assert "new_reason" in tell(replace(view, value=None, bad="new_reason"), "en").state
    assert tell(replace(view, quality="clock_uncertain", state=LimitState.WITHIN), "en").state == "time uncertain"
    assert limit_words(WARM, "zh") == "限值 16–24 °C（冬季室温，GB/T 18883-2022）"
    assert limit_words(LIGHT, "en").startswith("Limit ≥ 300 lx")


def test_two_classes_in_a_room_are_told_by_their_names() -> None:
    values = (*lesson("5a", 138.0, 40), *lesson("5b", 121.0, 25), people("gym-camera", 71.0))
    twice = twins(values)
    assert twice == {"heart_rate_mean", "pupils"}
    told = [tell(view, "zh", with_device=called(view) in twice) for view in values]
    assert [(one.name, one.value, one.unit) for one in told] == [
        ("班级平均心率 · 5a", "138", "次/分"),
        ("参与平均的人数 · 5a", "40–44", "人"),
        ("班级平均心率 · 5b", "121", "次/分"),
        ("参与平均的人数 · 5b", "25–29", "人"),
        ("室内人数", "71", "人"),
    ]
    chart = chart_of("g1", date(2026, 3, 2))
    drawn = [options(figure, chart, "en", ZONE)["series"] for figure in figures(chart)]
    assert [[line["name"] for line in lines] for lines in drawn] == [["5a", "5b"], ["5a", "5b"]]
    pupils = summary(figures(chart)[1], "en")
    assert all(int(number) % 5 == 0 for number in re.findall(r"\d+", pupils)), pupils


def told_document(state: str, kind: str = "policy", **more: Any) -> DocumentView:
    return DocumentView(kind=kind, state=DocumentState(state), **more)


@pytest.mark.parametrize(
    ("document", "zh", "en"),
    [
        (
            told_document("in_force", serial=7, issued_age_s=60.0, valid_for_s=7200.0),
            "生效，序号 7，还有 2 小时",
            "in force, serial 7, 2 h left",
        ),
        (
            told_document("too_old", serial=7, issued_age_s=90.0, valid_for_s=-60.0),
            "太旧，不再采信，序号 7，1 分钟前失效",
            "too old to be believed, serial 7, ended 1 min ago",
        ),
        (
            told_document("refused", serial=2, issued_age_s=60.0),
            "已拒绝，序号 2，1 分钟前签发",
            "refused, serial 2, issued 1 min ago",
        ),
        (told_document("none"), "未设置", "not set"),
        (told_document("unknown"), "状态未知", "unknown"),
        (told_document("in_force"), "生效", "in force"),
    ],
)
def test_how_a_document_stands(document: DocumentView, zh: str, en: str) -> None:
    assert (document_words(document, "zh"), document_words(document, "en")) == (zh, en)


@pytest.mark.parametrize(
    ("documents", "zh"),
    [
        ((), "no key"),
        ((told_document("in_force"),), "no key"),
        ((told_document("unknown"),), "no key"),
        ((told_document("in_force", "consents"), told_document("expired")), "策略已过期"),
        ((told_document("none"),), "策略未设置"),
    ],
)
def test_why_the_gate_is_closed_for_people(documents: tuple[DocumentView, ...], zh: str) -> None:
    view = GatewayView(
        site="s", gateway="g", online=True, last_contact_age_s=1.0, gate_problem="no key", documents=documents
    )
    assert gate_words(view, "zh") == zh


def test_values_alike_are_told_with_their_device() -> None:
    values = (value("co2", 1.0, "ppm"), value("co2", 2.0, "ppm", device="b"), value("noise", 3.0, "dB"))
    assert twins(values) == {"co2"}
    assert tell(values[1], "en", with_device=True).name == "CO₂ · b"


@pytest.mark.parametrize(
    ("counter", "told"),
    [
        ("gate.withheld.personal.no_consent", "attendance: there is no consent"),
        ("gate.withheld.novel.reason", "gate.withheld.novel.reason"),
        ("buffer.dropped_values.live", "values dropped because the buffer was full (live)"),
        ("device.r101-air.failed_readings", "failed readings (device.r101-air)"),
        ("quite.unknown", "quite.unknown"),
    ],
)
def test_counters_are_told_in_words(counter: str, told: str) -> None:
    assert drop_words(Drop(counter=counter, kind=DropKind.DROPPED, count=1), "en") == told


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 4096, 2_310_000, 81_000_000_000)] == [
        "0 B",
        "999 B",
        "4 kB",
        "2 MB",
        "81.0 GB",
    ]


@pytest.mark.parametrize(
    ("cookie", "accept", "lang"),
    [
        (None, "", "zh"),
        (None, "en-GB,en;q=0.9,zh;q=0.8", "en"),
        (None, "de, zh-CN;q=0.5, en;q=0.4", "zh"),
        ("en", "zh-CN", "en"),
        ("xx", "en", "en"),
    ],
)
def test_the_language_of_a_visitor(cookie: str | None, accept: str, lang: str) -> None:
    assert preferred(cookie, accept) == lang


def test_charts_keep_gaps_and_make_room_for_limits() -> None:
    chart = chart_of("r101", date(2026, 3, 2))
    figure = figures(chart)[0]
    drawn = options(figure, chart, "en", ZONE)
    points = drawn["series"][0]["data"]
    assert points[0] == [1_772_409_600_000, 430.0]
    assert sum(amount is None for _, amount in points) == 12
    assert drawn["series"][0]["connectNulls"] is False
    assert drawn["yAxis"]["max"] > 1310
    assert [line["yAxis"] for line in drawn["series"][0]["markLine"]["data"]] == [1000.0]
    assert [len(one.series) for one in figures(chart)] == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("amounts", [(), (None,), (5.0,), (0.0, 0.0), (-4.0, -4.0), (1e-9, 2e-9), (4e9, 5e9)])
def test_a_chart_of_any_values_has_an_axis(amounts: tuple[float | None, ...]) -> None:
    series = ChartSeries(
        device="d",
        point="p",
        quantity="temperature",
        unit="Cel",
        points=tuple((place * 10**9, amount) for place, amount in enumerate(amounts)),
    )
    chart = DayChart(site="s", room="r", day=date(1970, 1, 1), start_ns=0, end_ns=86_400 * 10**9, series=(series,))
    figure = figures(chart)[0]
    axis = options(figure, chart, "zh", ZONE)["yAxis"]
    assert axis["min"] < axis["max"]
    assert axis["interval"] > 0
    shown = [amount for amount in amounts if amount is not None]
    assert all(axis["min"] <= amount <= axis["max"] for amount in shown)
    assert summary(figure, "en")


def test_a_chart_never_counts_few_people_exactly() -> None:
    start = 1_772_409_600 * 10**9
    points = tuple((start + minute * 60 * 10**9, amount) for minute, amount in enumerate((0.0, 4.0, 4.0, 9.0)))
    series = ChartSeries(device="c", point="people", quantity="people", unit="count", points=points)
    day = date(2026, 3, 2)
    chart = DayChart(site="s", room="r", day=day, start_ns=start, end_ns=start + 86_400 * 10**9, series=(series,))
    figure = figures(chart)[0]
    assert summary(figure, "en") == "lowest 0 people · mean 4 people · highest 9 people"
    few = figures(replace(chart, series=(replace(series, points=points[1:3]),)))[0]
    assert summary(few, "zh") == "最低 1–4 人，平均 1–4 人，最高 1–4 人"
    assert ":valueFormatter" in options(figure, chart, "en", ZONE)["tooltip"]
