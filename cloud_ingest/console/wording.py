"""Records into words: numbers, units, states, reasons, durations. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cloud_ingest.console.model import DocumentState, LimitState
from cloud_ingest.console.texts import pick, text
from cloud_ingest.console.vocabulary import (
    CLASS_NAMES,
    COUNTER_WORDS,
    DECIMALS,
    DOCUMENT_NAMES,
    DOCUMENT_STATES,
    PEOPLE_UNIT,
    POINT_NAMES,
    QUANTITY_NAMES,
    REASON_WORDS,
    UNIT_SIGNS,
    WITHHELD_WORDS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.console.model import DocumentView, Drop, GatewayView, Limit, ValueView
    from cloud_ingest.console.texts import Lang

Tone = Literal["good", "plain", "beyond", "bad", "stale"]
"""How a state is coloured; its icon and its words say the same."""
Icon = Literal["ok", "up", "down", "bad", "clock", ""]
_LIMIT_SIGNS: Final[dict[LimitState, tuple[Icon, Tone]]] = {
    LimitState.WITHIN: ("ok", "good"),
    LimitState.ABOVE: ("up", "beyond"),
    LimitState.BELOW: ("down", "beyond"),
    LimitState.UNJUDGED: ("", "plain"),
}
_LENGTHS: Final = (86_400, 3600, 60, 1)
_LENGTH_NAMES: Final = {"zh": ("天", "小时", "分钟", "秒"), "en": ("d", "h", "min", "s")}
_MANY: Final = 10
_WITHHELD_LEVELS: Final = 4
OF_CLASSES: Final = frozenset({"heart_rate_mean", "pupils"})
_CLASS_PREFIX: Final = "lesson-"
AGE_PATTERNS: Final[dict[str, dict[str, str]]] = {
    "zh": {"s": "{n} 秒前", "m": "{n} 分钟前", "h": "{n} 小时前", "d": "{n} 天前", "now": "刚刚"},
    "en": {"s": "{n} s ago", "m": "{n} min ago", "h": "{n} h ago", "d": "{n} d ago", "now": "just now"},
}
"""For the browser, which lets ages grow by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A value as a page shows it."""

    name: str
    value: str
    """Empty where there is none."""
    unit: str
    state: str
    """In words; empty where nothing is to be said."""
    icon: Icon
    tone: Tone
    limit: str
    """Its range, such as `≤ 1,000 ppm`; may be empty."""
    note: str
    """More for those who want it, such as the limit with its source."""


def number(value: float, quantity: str) -> str:
    """Return `value` with as many digits as the quantity deserves; thousands are grouped."""
    digits = DECIMALS.get(quantity, 0)
    rounded = f"{value:,.{digits}f}"
    return rounded.removeprefix("-") if float(rounded.replace(",", "")) == 0 else rounded.replace("-", "\u2212")


def quantity_name(quantity: str, lang: Lang, *, point: str = "") -> str:
    """Return the name of a quantity, or of a point that has one of its own; as it is where we have no word for it."""
    words = POINT_NAMES.get(point) or QUANTITY_NAMES.get(quantity)
    return pick(words, lang) if words else quantity


def unit_sign(unit: str, quantity: str, lang: Lang) -> str:
    """Return the sign of a canonical unit."""
    if quantity == "people":
        return pick(PEOPLE_UNIT, lang)
    words = UNIT_SIGNS.get(unit)
    return pick(words, lang) if words else unit


def reason_words(reason: str, lang: Lang) -> str:
    """Return why a value is absent; an unknown reason is shown as it is."""
    words = REASON_WORDS.get(reason)
    return pick(words, lang) if words else reason


def limit_range(limit: Limit, lang: Lang) -> str:
    """Return `≤ 1,000 ppm`, `≥ 300 lx` or `18–28 °C`."""
    sign = unit_sign(_unit_of(limit.quantity), limit.quantity, lang)
    low = None if limit.low is None else number(limit.low, limit.quantity).removesuffix(".0")
    high = None if limit.high is None else number(limit.high, limit.quantity).removesuffix(".0")
    if low is not None and high is not None:
        told = text("between", lang, low=low, high=high)
    elif high is not None:
        told = text("at_most", lang, high=high)
    else:
        told = text("at_least", lang, low=low)
    return f"{told} {sign}".strip()


def _unit_of(quantity: str) -> str:
    from telemetry.quantities import QUANTITIES  # noqa: PLC0415 - a leaf

    known = QUANTITIES.get(quantity)
    return known.unit if known else ""


def limit_words(limit: Limit, lang: Lang) -> str:
    """Return a limit with its label and source."""
    return text("limit", lang, limit=limit_range(limit, lang), label=pick(limit.label, lang), source=limit.source)


def tell(view: ValueView, lang: Lang, *, with_device: bool = False) -> Told:
    """Return `view` in words. With `with_device` the name says which device or class, for rooms that have two alike."""
    name = quantity_name(view.quantity, lang, point=view.point)
    if with_device:
        name = f"{name} · {device_name(view.point, view.device)}"
    value, unit = _value(view, lang)
    state, icon, tone = _state(view, lang)
    notes = [limit_words(view.limit, lang)] if view.limit else []
    if view.quality in ("suspect", "clock_uncertain"):
        notes.append(text(view.quality, lang))
        if tone in ("good", "plain"):
            state = text(view.quality, lang)
    return Told(
        name=name,
        value=value,
        unit=unit,
        state=state,
        icon=icon,
        tone=tone,
        limit=limit_range(view.limit, lang) if view.limit else "",
        note="; ".join(notes),
    )


def _value(view: ValueView, lang: Lang) -> tuple[str, str]:
    if view.value is None:
        return "", ""
    if isinstance(view.value, bool):
        return text("yes" if view.value else "no", lang), ""
    if isinstance(view.value, str):
        return view.value, ""
    shown = number(view.value, view.quantity)
    if view.range_from is not None:
        shown = f"{number(view.range_from, view.quantity)}–{shown}"
    return shown, unit_sign(view.unit, view.quantity, lang)


def _state(view: ValueView, lang: Lang) -> tuple[str, Icon, Tone]:
    if view.bad is not None:
        return text("bad_because", lang, why=reason_words(view.bad, lang)), "bad", "bad"
    if view.stale:
        return text("stale", lang), "clock", "stale"
    icon, tone = _LIMIT_SIGNS[view.state]
    return text(view.state.value, lang), icon, tone


def twins(values: Sequence[ValueView]) -> frozenset[str]:
    """Return the names (see `called`) that more than one value of a room has."""
    seen: set[str] = set()
    return frozenset(name for name in map(called, values) if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def device_name(point: str, device: str) -> str:
    """Return what a device is called; a class that a mean is of goes by the roster's name."""
    return device.removeprefix(_CLASS_PREFIX) if point in OF_CLASSES else device


def called(view: ValueView) -> str:
    """Return what a value goes by: its point, where that has a name of its own, else its quantity."""
    return view.point if view.point in POINT_NAMES else view.quantity


def duration(seconds: float, lang: Lang) -> str:
    """Return a length of time in its greatest unit, and the next one where that matters."""
    total = max(0, round(seconds))
    place = next(place for place, length in enumerate(_LENGTHS) if total >= length or length == 1)
    first, rest = divmod(total, _LENGTHS[place])
    told = f"{first} {_LENGTH_NAMES[lang][place]}"
    second = rest // _LENGTHS[place + 1] if place + 1 < len(_LENGTHS) else 0
    # Hours beside many days, or seconds beside many minutes, would be noise.
    return f"{told} {second} {_LENGTH_NAMES[lang][place + 1]}" if second and first < _MANY else told


def size(count: int) -> str:
    """Return bytes in a unit that people read."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:  # noqa: PLR2004
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def document_words(document: DocumentView, lang: Lang) -> str:
    """Return how a document stands, with what is worth knowing of it."""
    parts = [pick(DOCUMENT_STATES[document.state], lang)]
    if document.serial is not None:
        parts.append(text("serial", lang, n=document.serial))
    left_s = document.valid_for_s
    if document.state is DocumentState.IN_FORCE and left_s is not None:
        parts.append(text("valid_for", lang, time=duration(left_s, lang)))
    elif document.state in (DocumentState.EXPIRED, DocumentState.TOO_OLD) and left_s is not None:
        parts.append(text("over_since", lang, time=duration(-left_s, lang)))
    elif document.issued_age_s is not None:
        parts.append(text("issued_ago", lang, time=duration(document.issued_age_s, lang)))
    return ("，" if lang == "zh" else ", ").join(parts)


def gate_words(gateway: GatewayView, lang: Lang) -> str:
    """Return why the gate is closed for people: the policy's state, else the gateway's own words."""
    policy = next((one for one in gateway.documents if one.kind == "policy"), None)
    if policy is None or policy.state in (DocumentState.IN_FORCE, DocumentState.UNKNOWN):
        return gateway.gate_problem or ""
    state = pick(DOCUMENT_STATES[policy.state], lang)
    return text("gate_document", lang, document=pick(DOCUMENT_NAMES[policy.kind], lang), state=state)


def drop_words(drop: Drop, lang: Lang) -> str:
    """Return what a counter counts; its own name where we have no words."""
    levels = drop.counter.split(".")
    if levels[:2] == ["gate", "withheld"] and len(levels) == _WITHHELD_LEVELS:
        kind, reason = CLASS_NAMES.get(levels[2]), WITHHELD_WORDS.get(levels[3])
        if kind and reason:
            return text("withheld_because", lang, what=pick(kind, lang), why=pick(reason, lang))
    for length in (len(levels), 2):
        words = COUNTER_WORDS.get(".".join(levels[:length]))
        if words:
            detail = ".".join(levels[length:])
            return f"{pick(words, lang)} ({detail})" if detail else pick(words, lang)
    words = COUNTER_WORDS.get(levels[-1])
    return f"{pick(words, lang)} ({'.'.join(levels[:-1])})" if words else drop.counter
