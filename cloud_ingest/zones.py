"""Local days: the school's time zone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

CHINA: Final = "Asia/Shanghai"


def zone(name: str) -> tzinfo:
    """Return the time zone `name`, such as `Asia/Shanghai`. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        if name == CHINA:
            # A small system may lack the zones' data; China has kept no summer time since 1991.
            return timezone(timedelta(hours=8), name)
        raise ValueError(
            f"{name!r} is no time zone that this system knows: write one such as Asia/Shanghai, or install tzdata"
        ) from error


def day_bounds_ns(day: date, where: tzinfo) -> tuple[int, int]:
    """Return the first nanosecond of a local day and of the next, in UTC. Raises OverflowError at the ends of time."""
    start = datetime.combine(day, time(), where)
    end = datetime.combine(day + timedelta(days=1), time(), where)
    return int(start.timestamp()) * 10**9, int(end.timestamp()) * 10**9
