"""Limits of air, light and noise with their sources, and how a value stands to them.

The built-in limits are Chinese standards; `[console] limits_file` replaces them, quantity by quantity.
"""

from __future__ import annotations

import tomllib
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from cloud_ingest.console.model import Limit, LimitState, Words
from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID, Number
from telemetry.quantities import QUANTITIES, Kind
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

_SEE: Final = "cloud_ingest/console/README.md, Limits"
_ALL_MONTHS: Final = tuple(range(1, 13))
_SUMMER: Final = (6, 7, 8, 9)
_WINTER: Final = (11, 12, 1, 2, 3)
_ShortText = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Label:
    """A limit's name in both languages."""

    zh: _ShortText
    en: _ShortText


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Rule:
    """A limit, and when a single value may be judged by it. Bounds in the quantity's canonical unit, inclusive."""

    quantity: str
    low: Number | None = None
    high: Number | None = None
    label: Label | None = None
    source: _ShortText
    judged: bool = True
    """False: shown beside the value, which is not judged (a mean over a day, an empty room)."""
    months: Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(min_length=1)] = _ALL_MONTHS
    """When it applies; in other months it is not shown either."""
    hours: tuple[Annotated[int, Field(ge=0, le=24)], Annotated[int, Field(ge=0, le=24)]] = (0, 24)
    """Local hours, from and up to, in which it is judged."""
    weekdays: Annotated[tuple[Annotated[int, Field(ge=1, le=7)], ...], Field(min_length=1)] = (1, 2, 3, 4, 5, 6, 7)
    """Days on which it is judged; 1 is Monday."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        quantity = QUANTITIES.get(self.quantity)
        if quantity is None or quantity.kind is not Kind.FLOAT:
            known = ", ".join(sorted(name for name, one in QUANTITIES.items() if one.kind is Kind.FLOAT))
            raise ValueError(f"{self.quantity!r} is no quantity with a number; known: {known}")
        if self.low is None and self.high is None:
            raise ValueError("needs low, high or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.hours[0] >= self.hours[1]:
            raise ValueError(f"hours must run from earlier to later, not from {self.hours[0]} to {self.hours[1]}")
        return self

    @property
    def limit(self) -> Limit:
        """What is shown."""
        label = self.label or Label(zh=self.quantity, en=self.quantity)
        words = Words(zh=label.zh, en=label.en)
        return Limit(quantity=self.quantity, low=self.low, high=self.high, label=words, source=self.source)

    def judges_at(self, when: datetime) -> bool:
        """Tell whether a value of local time `when` may be judged."""
        return self.judged and when.isoweekday() in self.weekdays and self.hours[0] <= when.hour < self.hours[1]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class _File:
    limit: tuple[Rule, ...] = ()
    off: tuple[str, ...] = field(default=())
    """Quantities whose built-in limits are dropped."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := sorted(set(self.off) - set(QUANTITIES)):
            raise ValueError(f"off names no quantity: {', '.join(unknown)}; known: {', '.join(sorted(QUANTITIES))}")
        return self


def _built_in(quantity: str, zh: str, en: str, source: str, **given: Any) -> Rule:
    return Rule(quantity=quantity, label=Label(zh=zh, en=en), source=source, **given)


_AIR: Final = "GB/T 18883-2022"
BUILT_IN: Final = (
    _built_in("co2", "教室二氧化碳", "classroom CO2", "GB/T 17226-2017", high=1000.0),
    _built_in("temperature", "夏季室温", "room temperature in summer", _AIR, low=22.0, high=28.0, months=_SUMMER),
    _built_in("temperature", "冬季室温", "room temperature in winter", _AIR, low=16.0, high=24.0, months=_WINTER),
    _built_in("humidity", "夏季相对湿度", "humidity in summer", _AIR, low=40.0, high=80.0, months=_SUMMER),
    _built_in("humidity", "冬季相对湿度", "humidity in winter", _AIR, low=30.0, high=60.0, months=_WINTER),
    # Means over 24 hours: one reading above them breaks no limit.
    _built_in("pm2_5", "PM2.5 日平均", "PM2.5, mean of 24 h", _AIR, high=50.0, judged=False),
    _built_in("pm10", "PM10 日平均", "PM10, mean of 24 h", _AIR, high=100.0, judged=False),
    # Means a classroom in use: at night no lamp is on.
    _built_in(
        "illuminance",
        "课桌面照度",
        "light on the desk",
        "GB 7793-2010",
        low=300.0,
        hours=(8, 17),
        weekdays=(1, 2, 3, 4, 5),
    ),
    # Measured in an empty room with shut windows: a lesson is never silent.
    _built_in(
        "noise", "空教室关窗噪声", "noise in the empty room, windows shut", "GB 50118-2010", high=45.0, judged=False
    ),
)


class Limits:
    """Limits by quantity."""

    def __init__(self, rules: Iterable[Rule] = BUILT_IN) -> None:
        self._rules: dict[str, list[tuple[Rule, Limit]]] = {}
        for rule in rules:
            self._rules.setdefault(rule.quantity, []).append((rule, rule.limit))

    def shown(self, quantity: str, month: int) -> tuple[Limit, ...]:
        """Return the limits of a quantity that apply in `month`."""
        return tuple(limit for rule, limit in self._rules.get(quantity, ()) if month in rule.months)

    def judge(self, quantity: str, value: float, when: datetime) -> tuple[LimitState, Limit | None]:
        """Return how a value of local time `when` stands, and the limit that this speaks of: the first one broken."""
        state, shown = LimitState.UNJUDGED, None
        for rule, limit in self._rules.get(quantity, ()):
            if when.month not in rule.months:
                continue
            if rule.judges_at(when):
                if rule.high is not None and value > rule.high:
                    return LimitState.ABOVE, limit
                if rule.low is not None and value < rule.low:
                    return LimitState.BELOW, limit
                if state is LimitState.UNJUDGED:
                    state, shown = LimitState.WITHIN, limit
            shown = shown or limit
        return state, shown


def load_limits(path: Path | None) -> Limits:
    """Return the built-in limits, replaced by those of the file. Raises ConfigError that names every problem."""
    if path is None:
        return Limits()
    problems: list[Problem] = []
    given: _File | None = None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem(where=str(path), what=f"cannot be read: {error.strerror}", mend="give its path"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(where=str(path), what=f"is not TOML: {error}", mend="correct that line"))
    else:
        given = validated(_File, table, f"{path}:", problems, see=_SEE)
    if given is None:
        raise ConfigError(problems)
    replaced = {rule.quantity for rule in given.limit} | set(given.off)
    return Limits([*(rule for rule in BUILT_IN if rule.quantity not in replaced), *given.limit])
