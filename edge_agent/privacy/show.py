"""`privacy show`: what leaves this gateway, for what, where to, how long; what is closed and why; on one page."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_agent.privacy.classes import class_table
from edge_agent.privacy.documents import Distance, DocumentKind, Text
from edge_agent.privacy.in_force import FREE
from edge_agent.privacy.standing import State, at, minute
from edge_agent.privacy.wording import BASES, CLASSES, DISTANCES, DOCUMENTS, REASONS, say, standing_in_words
from telemetry.sample import DataClass, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_agent.privacy.documents import Policy
    from edge_agent.privacy.in_force import InForce, Lane
    from edge_agent.privacy.keys import GatewayKeys
    from edge_agent.privacy.office import Documents
    from edge_agent.privacy.wording import Language
    from telemetry.profile import DeviceProfile

MAX_LINES: Final = 50
MAX_COLUMNS: Final = 100
_LABELS: Final = {
    "title": Text(zh="隐私一页", en="Privacy page"),
    "site": Text(zh="学校", en="site"),
    "gateway": Text(zh="网关", en="gateway"),
    "year": Text(zh="学年", en="school year"),
    "documents": Text(zh="文件", en="Documents"),
    "leaves": Text(zh="离开本网关的数据", en="What leaves this gateway"),
    "nothing": Text(zh="(没有)", en="(nothing)"),
    "stays": Text(zh="留在本地、不外传的数据及原因", en="What stays here, and why"),
    "basis": Text(zh="依据", en="basis"),
    "to": Text(zh="去向", en="to"),
    "topic": Text(zh="主题", en="topic"),
    "bucket": Text(zh="库", en="bucket"),
    "keep": Text(zh="保存", en="kept"),
    "days": Text(zh="天", en="days"),
    "seen": Text(zh="可看", en="seen by"),
    "consented": Text(zh="同意人数", en="consented"),
    "no_consent": Text(zh="无需同意", en="no consent needed"),
    "hours": Text(zh="时间", en="hours"),
    "lessons": Text(zh="上课时", en="in lessons"),
    "bound": Text(zh="按课表绑定的手环", en="bands bound for the lesson"),
    "group": Text(zh="至少人数", en="groups of at least"),
    "no_key": Text(zh="没有密钥文件", en="no key file"),
    "more": Text(zh="另有", en="and"),
    "more_end": Text(zh="项, 见 --json", en="more, see --json"),
    "foot": Text(
        zh="人只以代号(handle)出现; 代号按用途和学年不同。按地点和时间仍可能推断到人: 见 edge_agent/privacy/README.md",
        en="People appear as handles, new for each purpose and year. Place and time may still tell who: see README.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Points that share everything that the page says about them."""

    data_class: DataClass
    purpose: str
    points: tuple[str, ...]
    devices: int
    leaves: bool
    reason: WithheldReason | None
    grade: str
    distance: Distance
    topic: str
    bucket: str
    retention_days: int
    consent: bool
    consented: int | None
    """How many people's consent is valid; none where it is not asked."""
    bound: bool
    hours: tuple[str, ...]
    min_group: int | None


def rows(
    profiles: Mapping[str, DeviceProfile], in_force: InForce, keys: GatewayKeys | None, *, now_ns: int
) -> list[Row]:
    """Return what the page is made of, what leaves first; `profiles` by device."""
    table = class_table(in_force.policy)
    consented = in_force.consented(now_ns)
    shared: dict[tuple[Any, ...], list[tuple[str, Lane]]] = defaultdict(list)
    for device, profile in profiles.items():
        for lane in in_force.lanes(profile.points):
            reason = _closed(lane, in_force, keys, now_ns=now_ns)
            hours = _hours(lane, in_force)
            key = (lane.data_class, lane.purpose, reason, lane.distance, lane.retention_days, lane.consent, lane.bound)
            shared[*key, hours, lane.min_group].append((device, lane))
    found = []
    for (data_class, purpose, reason, distance, days, consent, bound, hours, least), members in shared.items():
        terms = table[data_class]
        found.append(
            Row(
                data_class=data_class,
                purpose=purpose,
                points=tuple(sorted({name for _, lane in members for name in lane.points})),
                devices=len({device for device, _ in members}),
                leaves=reason is None,
                reason=reason,
                grade=terms.grade,
                distance=distance,
                topic=terms.topic,
                bucket=terms.bucket,
                retention_days=days or terms.retention_days,
                consent=consent,
                consented=len(consented.get(purpose, ())) if consent else None,
                bound=bound,
                hours=hours,
                min_group=least if data_class is DataClass.GROUP else None,
            )
        )
    order = list(DataClass)
    return sorted(found, key=lambda row: (not row.leaves, order.index(row.data_class), row.purpose, row.points))


def _closed(lane: Lane, in_force: InForce, keys: GatewayKeys | None, *, now_ns: int) -> WithheldReason | None:
    """Return why nothing of the lane leaves, whoever it is about and whatever the hour; none if something may."""
    if lane.free:
        return None
    never = in_force.never(lane, now_ns=now_ns)
    if never is None and lane.person and (keys is None or lane.purpose not in keys.keys):
        never = WithheldReason.NO_KEY
    if never is None and lane.bound:
        never = in_force.no_roster(now_ns)
    if never is None and lane.consent:
        never = in_force.nobody(lane.purpose, now_ns=now_ns)
    return never


def _hours(lane: Lane, in_force: InForce) -> tuple[str, ...]:
    told = ["lessons"] if lane.in_lessons else []
    for rule in in_force.rules_for(lane.data_class, lane.purpose):
        if isinstance(rule.hours, list) and (rule.points is None or rule.points & lane.points):
            told += [f"{days} {start}-{end}" for days, start, end in rule.hours]
    return tuple(told)


def document(site: str, gateway: str, documents: Documents, found: Iterable[Row], *, now_ns: int) -> dict[str, Any]:
    """Return the page for programs."""
    return {
        "schema": "campus.privacy-page/1",
        "site": site,
        "gateway": gateway,
        "at_ns": now_ns,
        "documents": documents.report(),
        "rows": [{**asdict(row), "points": list(row.points), "hours": list(row.hours)} for row in found],
    }


def page(
    site: str,
    gateway: str,
    documents: Documents,
    keys: GatewayKeys | None,
    found: list[Row],
    *,
    now_ns: int,
    language: Language,
) -> list[str]:
    """Return the page's lines: at most 50, none wider than 100 columns (a Chinese character takes two)."""
    writer = _Writer(documents.in_force.policy if _in_force(documents, now_ns) else None, language)
    label = writer.label
    year = keys.school_year if keys is not None else label("no_key")
    title = f"{label('title')} · {label('site')} {site} · {label('gateway')} {gateway} · {label('year')} {year}"
    head = [f"{title} · {minute(at(now_ns))}", "", label("documents")]
    for kind, standing in documents.standings.items():
        told = standing_in_words(standing, now_ns, language)
        head += _wrapped(f"  {say(DOCUMENTS[kind], language)}: {told}", lines=2)
    foot = ["", *_wrapped(label("foot"), lines=2)]
    leaving = [line for row in found if row.leaves for line in writer.leaving(row)] or [f"  {label('nothing')}"]
    staying = [line for row in found if not row.leaves for line in writer.staying(row)] or [f"  {label('nothing')}"]
    room = MAX_LINES - len(head) - len(foot) - 4
    if len(leaving) + len(staying) > room:
        more = f"  {label('more')} {{}} {label('more_end')}"
        staying = _cut(staying, max(2, min(len(staying), room // 3, room - len(leaving))), more)
        leaving = _cut(leaving, room - len(staying), more)
    return [_fitted(line) for line in (*head, "", label("leaves"), *leaving, "", label("stays"), *staying, *foot)]


class _Writer:
    """Turns rows into lines of one language."""

    def __init__(self, policy: Policy | None, language: Language) -> None:
        self._table = class_table(policy)
        self._purposes = {purpose.name: purpose for purpose in policy.purposes} if policy is not None else {}
        self._language = language

    def label(self, name: str) -> str:
        return say(_LABELS[name], self._language)

    def leaving(self, row: Row) -> list[str]:
        purpose = self._purposes.get(row.purpose)
        basis = f" ({self.label('basis')}: {say(BASES[purpose.basis], self._language)})" if purpose is not None else ""
        parts = [
            f"{self.label('to')} {say(DISTANCES[row.distance], self._language)}",
            f"{self.label('topic')} {row.topic}",
            f"{self.label('bucket')} {row.bucket}",
            f"{self.label('keep')} {row.retention_days} {self.label('days')}",
            f"{self.label('seen')} {say(self._table[row.data_class].seen_by, self._language)}",
            *self._people(row),
        ]
        return [
            *_wrapped(f"  + {self._named(row)}{basis} · {_points(row)}", lines=2),
            *_wrapped(f"      {' · '.join(parts)}", lines=3),
        ]

    def staying(self, row: Row) -> list[str]:
        why = say(REASONS[row.reason], self._language) if row.reason is not None else ""
        return _wrapped(f"  - {self._named(row)} · {_points(row)}: {why}", lines=2)

    def _named(self, row: Row) -> str:
        purpose = self._purposes.get(row.purpose)
        text = f" {say(Text(zh=purpose.zh, en=purpose.en), self._language)}" if purpose is not None else ""
        name = say(CLASSES[row.data_class], self._language)
        return f"{name} ({row.data_class}, {row.grade}) · {row.purpose}{text}"

    def _people(self, row: Row) -> list[str]:
        if row.data_class in FREE:
            return []
        told = [self.label("bound")] if row.bound else []
        if row.consented is not None:
            told.append(f"{self.label('consented')} {row.consented}")
        else:
            told.append(self.label("no_consent") if row.min_group is None else f"{self.label('group')} {row.min_group}")
        if row.hours:
            hours = [self.label("lessons") if text == "lessons" else text for text in row.hours]
            told.append(f"{self.label('hours')} {', '.join(hours)}")
        return told


def _points(row: Row) -> str:
    return f"{', '.join(row.points)} ({row.devices})"


def _in_force(documents: Documents, now_ns: int) -> bool:
    return documents.standings[DocumentKind.POLICY].state(now_ns) is State.IN_FORCE


def _cut(lines: list[str], keep: int, more: str) -> list[str]:
    if len(lines) <= keep:
        return lines
    dropped = sum(line.startswith(("  + ", "  - ")) for line in lines[keep - 1 :])
    return [*lines[: keep - 1], more.format(dropped)]


def columns(text: str) -> int:
    """Return how many columns a terminal needs for `text`."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _wrapped(text: str, *, lines: int) -> list[str]:
    """Return `text` on at most so many lines, broken at spaces where it can be; what is left over is cut."""
    made: list[str] = []
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    while columns(text) > MAX_COLUMNS and len(made) < lines - 1:
        fits = _prefix(text, MAX_COLUMNS)
        space = text.rfind(" ", len(indent), fits)
        split = space if space > fits // 2 else fits
        made.append(text[:split].rstrip())
        text = indent + text[split:].lstrip()
    return [*made, _fitted(text)]


def _prefix(text: str, limit: int) -> int:
    used = 0
    for index, character in enumerate(text):
        used += columns(character)
        if used > limit:
            return index
    return len(text)


def _fitted(text: str) -> str:
    return text if columns(text) <= MAX_COLUMNS else text[: _prefix(text, MAX_COLUMNS - 1)] + "…"
