"""Write the data map in docs/privacy.md and docs/privacy.zh-CN.md: what there is of whom, by profiles and class table.

Usage: python -m tools.data_map [--check]     (--check writes nothing and fails if a page is out of date)
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_profiles import load_profile, profile_ids
from edge_agent.privacy.classes import CLASS_TABLE
from edge_agent.privacy.wording import CLASSES, DISTANCES, say
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.privacy.wording import Language
    from telemetry.profile import DeviceProfile

ROOT = Path(__file__).parent.parent
PAGES: Final[dict[Path, Language]] = {
    ROOT / "docs" / "privacy.md": "en",
    ROOT / "docs" / "privacy.zh-CN.md": "zh",
}
BEGIN: Final = "<!-- data map: made by python -m tools.data_map -->\n"
END: Final = "<!-- data map: end -->\n"
_ORDER: Final = (DataClass.SENSITIVE, DataClass.PERSONAL, DataClass.GROUP, DataClass.OPEN, DataClass.OPS)
"""Those first for which people look at the map."""
_HEAD: Final = {
    "en": ("class (grade)", "purpose", "points", "from", "seen by", "goes as far as", "days kept", "consent", "topic"),
    "zh": ("类别(级别)", "用途", "数据项", "来源设备", "谁可看", "最远到", "保存天数", "需同意", "MQTT 主题"),
}
_YES: Final = {"en": ("yes", "no"), "zh": ("是", "否")}
_EACH: Final = {"en": "yes: each who counts", "zh": "是, 只计已同意者"}
"""A class mean is nobody's, but making it needs the consent of each pupil in it (edge_agent/lessons.py)."""
_AND: Final = {"en": ", ", "zh": "、"}
_BRACKETS: Final = {"en": " ({})", "zh": "({})"}
_QUANTITIES: Final = {
    "battery": "电量",
    "co2": "二氧化碳",
    "counter": "计数",
    "duration": "时长",
    "energy": "能量",
    "heart_rate": "心率",
    "humidity": "湿度",
    "illuminance": "照度",
    "memory": "内存",
    "noise": "噪声",
    "people": "人数",
    "pm2_5": "PM2.5",
    "presence": "到场",
    "temperature": "温度",
}
"""What a quantity is called in Chinese; others stand under their own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Points of one class, purpose and measurement, and the profiles that give them."""

    data_class: DataClass
    purpose: str
    measurement: str
    points: tuple[tuple[str, str], ...]
    """Name and quantity."""
    profiles: tuple[str, ...]


def entries(profiles: Iterable[DeviceProfile]) -> list[Entry]:
    """Return everything that the profiles say there is, by class; every point is in exactly one entry."""
    points: dict[tuple[DataClass, str, str], dict[str, str]] = {}
    givers: dict[tuple[DataClass, str, str], set[str]] = {}
    for profile in profiles:
        for point in profile.points:
            key = (point.data_class, point.purpose, profile.measurement)
            points.setdefault(key, {}).setdefault(point.name, point.quantity)
            givers.setdefault(key, set()).add(profile.id)
    return [
        Entry(
            data_class=key[0],
            purpose=key[1],
            measurement=key[2],
            points=tuple(sorted(points[key].items())),
            profiles=tuple(sorted(givers[key])),
        )
        for key in sorted(points, key=lambda key: (_ORDER.index(key[0]), *key[1:]))
    ]


def table(found: Iterable[Entry], language: Language) -> str:
    """Return the map as a Markdown table."""
    head = _HEAD[language]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines.extend(f"| {' | '.join(_cells(entry, language))} |" for entry in found)
    return "\n".join(lines) + "\n"


def _cells(entry: Entry, language: Language) -> list[str]:
    terms, bracket, comma = CLASS_TABLE[entry.data_class], _BRACKETS[language], _AND[language]
    return [
        say(CLASSES[entry.data_class], language) + bracket.format(f"`{entry.data_class}`{comma}{terms.grade}"),
        f"`{entry.purpose}`",
        comma.join(_point(name, quantity, language) for name, quantity in entry.points),
        comma.join(f"`{profile}`" for profile in entry.profiles),
        say(terms.seen_by, language),
        say(DISTANCES[terms.distance], language),
        str(terms.retention_days),
        _EACH[language] if entry.measurement == "lesson" else _YES[language][0 if terms.consent else 1],
        f"`{terms.topic}`",
    ]


def _point(name: str, quantity: str, language: Language) -> str:
    known = _QUANTITIES.get(quantity) if language == "zh" else None
    return f"`{name}`" + (_BRACKETS["zh"].format(known) if known is not None else "")


def renewed(text: str, language: Language) -> str:
    """Return a page's text with the map of today. Raises ValueError if the page has no place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the data map: write {BEGIN.strip()} and {END.strip()} on lines of their own")
    found = entries(load_profile(profile_id) for profile_id in profile_ids())
    return f"{before}{BEGIN}\n{table(found, language)}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check compare them; return 1 if one is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.data_map", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args(arguments).check
    stale = 0
    for path, language in PAGES.items():
        text = path.read_text(encoding="utf-8")
        expected = renewed(text, language)
        if check and text != expected:
            stale += 1
            print(f"{path.relative_to(ROOT)}: the data map is not that of the profiles → python -m tools.data_map")
        elif not check:
            path.write_text(expected, encoding="utf-8")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
