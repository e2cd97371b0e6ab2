"""A day's series into ECharts options: limits as lines, gaps as gaps. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cloud_ingest.console.people import PUPILS, SMALL, in_fives
from cloud_ingest.console.texts import text
from cloud_ingest.console.vocabulary import DECIMALS
from cloud_ingest.console.wording import (
    OF_CLASSES,
    device_name,
    duration,
    limit_range,
    number,
    quantity_name,
    unit_sign,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from cloud_ingest.console.model import ChartSeries, DayChart, Limit
    from cloud_ingest.console.texts import Lang

NS: Final = 1_000_000_000
_MS: Final = 1_000_000
# Okabe and Ito's colours, told apart by the colour-blind; each series has its own dash too.
_COLOURS: Final = ("#0072B2", "#A8487A", "#00735A", "#5B4B9E")
_DASHES: Final = ("solid", "dashed", "dotted", "solid")
_LIMIT: Final = "#A33F00"
_INK: Final = "#3A4753"
_TICKS: Final = 5
_FEW: Final = f"1–{SMALL}"
_FEW_IN_WORDS: Final = f"(value) => (value > 0 && value <= {SMALL} ? '{_FEW}' : value ?? '-')"
_GRID: Final = "#E3E8EC"
_FONT: Final = "system-ui, 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', 'WenQuanYi Micro Hei', sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """All series of one quantity in a room."""

    quantity: str
    unit: str
    series: tuple[ChartSeries, ...]

    @property
    def point(self) -> str:
        """The point that all series are of; empty where they differ."""
        points = {one.point for one in self.series}
        return points.pop() if len(points) == 1 else ""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Each limit once."""
        return tuple(dict.fromkeys(limit for one in self.series for limit in one.limits))


def figures(chart: DayChart) -> list[Figure]:
    """Return a figure for each quantity, in the order in which they first come; classes have figures of their own."""
    grouped: dict[tuple[str, bool], list[ChartSeries]] = {}
    for series in chart.series:
        grouped.setdefault((series.quantity, series.point in OF_CLASSES), []).append(series)
    return [Figure(quantity=key[0], unit=some[0].unit, series=tuple(some)) for key, some in grouped.items()]


def _wall_ms(time_ns: int, zone: tzinfo) -> int:
    """Return the school's wall clock as if it were UTC: what the axis is to show wherever the browser is."""
    offset = datetime.fromtimestamp(time_ns / NS, tz=zone).utcoffset()
    return time_ns // _MS + (round(offset.total_seconds() * 1000) if offset else 0)


def options(figure: Figure, chart: DayChart, lang: Lang, zone: tzinfo) -> dict[str, Any]:
    """Return what ECharts draws."""
    low, high, step = _axis(figure)
    sign = unit_sign(figure.unit, figure.quantity, lang)
    many = len(figure.series) > 1
    return {
        "animation": False,
        "useUTC": True,
        "textStyle": {"fontFamily": _FONT, "color": _INK},
        "grid": {"left": 52, "right": 18, "top": 40 if many else 26, "bottom": 28},
        "legend": {"show": many, "top": 0, "right": 0, "itemHeight": 8, "textStyle": {"color": _INK}},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "axisPointer": {"type": "line"},
            # A leading colon: NiceGUI makes a function of the text.
            **({":valueFormatter": _FEW_IN_WORDS} if figure.quantity == "people" else {}),
        },
        "xAxis": {
            "type": "time",
            "min": _wall_ms(chart.start_ns, zone),
            "max": _wall_ms(chart.end_ns, zone),
            "minInterval": 3_600_000,
            "axisLabel": {"formatter": "{HH}:{mm}", "color": _INK, "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": "#8A97A3"}},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "name": sign,
            "nameTextStyle": {"color": _INK, "align": "right", "padding": [0, 6, 0, 0]},
            "min": low,
            "max": high,
            "interval": step,
            "axisLabel": {"color": _INK},
            "splitLine": {"lineStyle": {"color": _GRID}},
        },
        "series": [
            _line(one, place, zone, _limit_lines(figure.limits, figure.unit, lang) if place == 0 else [])
            for place, one in enumerate(figure.series)
        ],
    }


def _line(series: ChartSeries, place: int, zone: tzinfo, limits: list[dict[str, Any]]) -> dict[str, Any]:
    digits = DECIMALS.get(series.quantity, 0)
    colour = _COLOURS[place % len(_COLOURS)]
    return {
        "type": "line",
        "name": device_name(series.point, series.device),
        "data": [
            [_wall_ms(time_ns, zone), None if value is None else round(value, digits)]
            for time_ns, value in series.points
        ],
        "connectNulls": False,
        # A reading between two gaps has no line to be seen by.
        "showSymbol": True,
        "symbol": "circle",
        "symbolSize": 2,
        "step": "end" if series.quantity in ("people", "counter") else False,
        "lineStyle": {"width": 1.8, "color": colour, "type": _DASHES[place % len(_DASHES)]},
        "itemStyle": {"color": colour},
        "markLine": {"silent": True, "symbol": "none", "animation": False, "data": limits},
    }


def _limit_lines(limits: Sequence[Limit], unit: str, lang: Lang) -> list[dict[str, Any]]:
    lines = []
    for limit in limits:
        for value, sign in ((limit.high, "≤"), (limit.low, "≥")):
            if value is None:
                continue
            amount = number(value, limit.quantity).removesuffix(".0")
            amount = f"{amount} {unit_sign(unit, limit.quantity, lang)}".strip()
            lines.append(
                {
                    "yAxis": value,
                    "lineStyle": {"color": _LIMIT, "type": [6, 4], "width": 1.4},
                    "label": {
                        "formatter": f"{sign} {amount} · {limit.source}",
                        # At night, where days begin, there is room beside the line.
                        "position": "insideStartTop",
                        "color": _LIMIT,
                        "fontSize": 11,
                        "backgroundColor": "rgba(255,255,255,0.85)",
                        "padding": [1, 3],
                    },
                }
            )
    return lines


def _axis(figure: Figure) -> tuple[float, float, float]:
    """Return the axis' ends and step, round numbers all: data and limits both fit, with air for a limit's label."""
    values = [value for one in figure.series for _, value in one.points if value is not None]
    values += [value for limit in figure.limits for value in (limit.low, limit.high) if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    # People and light begin at nothing; a day's temperatures do not.
    if low >= 0 and (low < high / 2 or figure.quantity == "people"):
        low = 0.0
    high += ((high - low) or abs(high) or 1.0) * 0.1
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def summary(figure: Figure, lang: Lang) -> str:
    """Return what the day was like, for those who do not see the line and those who have no time."""
    values = [value for one in figure.series for _, value in one.points if value is not None]
    if not values:
        return text("no_chart", lang)
    sign = unit_sign(figure.unit, figure.quantity, lang)

    def shown(value: float) -> str:
        value = in_fives(value) if figure.point == PUPILS else value
        few = figure.quantity == "people" and 0 < value <= SMALL
        return f"{_FEW if few else number(value, figure.quantity)} {sign}".strip()

    parts = [
        f"{text('lowest', lang)} {shown(min(values))}",
        f"{text('mean', lang)} {shown(math.fsum(values) / len(values))}",
        f"{text('highest', lang)} {shown(max(values))}",
    ]
    judged = [one.beyond_s for one in figure.series if one.beyond_s is not None]
    if judged:
        beyond_s = max(judged)
        beyond = text("beyond_for", lang, time=duration(beyond_s, lang)) if beyond_s else text("never_beyond", lang)
        parts.append(beyond)
    return ("，" if lang == "zh" else " · ").join(parts)


def aria_label(figure: Figure, chart: DayChart, lang: Lang) -> str:
    """Return the chart's accessible name."""
    limits = "".join(f" {limit_range(limit, lang)}" for limit in figure.limits)
    return text(
        "chart_aria",
        lang,
        quantity=quantity_name(figure.quantity, lang, point=figure.point) + limits,
        day=chart.day.isoformat(),
        summary=summary(figure, lang),
    )
