"""A naive reading of the documents' text, written apart from the gate: one point, one person, one moment at a time.

It knows the documents as what an officer wrote (plain tables), local time by the datetime module, and no cache.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone

from tests.edge_agent.privacy.files import handle

EAST = timezone(timedelta(hours=8))
WEEKDAYS = {"Mon-Fri": {0, 1, 2, 3, 4}, "Sat,Sun": {5, 6}, "Thu": {3}, "Fri-Mon": {4, 5, 6, 0}}
DEFAULT_DISTANCE = {"group": "school", "personal": "school", "sensitive": "room"}
DEFAULT_CONSENT = {"group": False, "personal": True, "sensitive": True}


def school_weekday(policy: dict, day: date) -> int | None:
    calendar = policy.get("calendar", {})
    for makeup in calendar.get("makeup", []):
        if makeup["on"] == day:
            return {"Mon": 0, "Thu": 3}[makeup["like"]]
    if day in calendar.get("holidays", []):
        return None
    terms = calendar.get("terms", [])
    if terms and not any(first <= day <= last for first, last in terms):
        return None
    return day.weekday()


def lessons_on(world: dict, room: str, at: datetime) -> list[dict]:
    local = at.astimezone(EAST)
    weekday = school_weekday(world["policy"], local.date())
    found = []
    for lesson in world["roster"]["lesson"]:
        today = weekday in WEEKDAYS[lesson["on"]] if isinstance(lesson["on"], str) else lesson["on"] == local.date()
        if lesson["room"] == room and today and lesson["start"] <= local.time() < lesson["end"]:
            found.append(lesson)
    return found


def in_window(policy: dict, window: list[str], at: datetime) -> bool:
    local = at.astimezone(EAST)
    days, start, end = window
    after = local.time() >= time.fromisoformat(start)
    before = end == "24:00" or local.time() < time.fromisoformat(end)
    return school_weekday(policy, local.date()) in WEEKDAYS[days] and after and before


def roster_flaw(world: dict, now: datetime) -> str | None:
    if "roster" in world["bad"]:
        return world["bad"]["roster"]
    valid = world["roster"]["valid_from"] <= now < world["roster"]["valid_until"]
    return None if valid else "no_roster"


def reason(  # noqa: C901, PLR0911, PLR0912 - a list of questions, in the order of the documents
    world: dict, point: str, who: tuple[str, str] | None, *, room: str, at: datetime, now: datetime
) -> str | None:
    """Why the value of `point` about `who` (kind, identifier) must stay; none if it may leave."""
    if point not in world["points"]:
        return "unknown_point"
    data_class, purpose = world["points"][point]
    if data_class in ("open", "ops"):
        return None
    policy = world["policy"]
    if "policy" in world["bad"]:
        return world["bad"]["policy"]
    if now < policy["valid_from"]:
        return "policy_not_yet_valid"
    if now >= policy["valid_until"]:
        return "policy_expired"
    of_class = [rule for rule in policy["rule"] if rule["class"] == data_class]
    if not of_class:
        return "class_not_allowed"
    of_purpose = [rule for rule in of_class if rule["purpose"] == purpose]
    if not of_purpose:
        return "purpose_not_allowed"
    rules = [rule for rule in of_purpose if "points" not in rule or point in rule["points"]]
    if not rules:
        return "point_not_allowed"
    changes = {change["class"]: change for change in policy.get("class", [])}.get(data_class, {})
    if any(rule.get("distance", changes.get("distance", DEFAULT_DISTANCE[data_class])) == "room" for rule in rules):
        return "distance_room"
    if any(rule.get("hours") == "lessons" for rule in rules):
        flaw = roster_flaw(world, now)
        if flaw is not None:
            return flaw
        if not any(lesson.get("purpose", purpose) == purpose for lesson in lessons_on(world, room, at)):
            return "outside_hours"
    for rule in rules:
        windows = rule.get("hours", "always")
        if isinstance(windows, list) and not any(in_window(policy, window, at) for window in windows):
            return "outside_hours"
    if data_class == "group":
        return None
    if who is None:
        return "no_subject"
    if purpose not in world["keys"]:
        return "no_key"
    subject = whose(world, purpose, who)
    if any(rule.get("binding") == "roster" for rule in rules):
        flaw = roster_flaw(world, now)
        if flaw is not None:
            return flaw
        pupils = bound(world, purpose, subject, room, at)
        if len(pupils) != 1:
            return "unbound"
        (subject,) = pupils
    if any(rule.get("consent", changes.get("consent", DEFAULT_CONSENT[data_class])) for rule in rules):
        return consent_flaw(world, purpose, subject, now)
    return None


def whose(world: dict, purpose: str, who: tuple[str, str]) -> str:
    return handle(purpose, who[1], who[0])


def bound(world: dict, purpose: str, band: str, room: str, at: datetime) -> set[str]:
    lessons = [lesson for lesson in lessons_on(world, room, at) if lesson.get("purpose") == purpose]
    return {lesson["bindings"][band] for lesson in lessons if band in lesson.get("bindings", {})}


def consent_flaw(world: dict, purpose: str, subject: str, now: datetime) -> str | None:
    if "consents" in world["bad"]:
        return world["bad"]["consents"]
    if now >= world["consents"]["issued_at"] + timedelta(hours=24):
        return "consents_too_old"
    given = [
        consent
        for consent in world["consents"]["consent"]
        if (consent["purpose"], consent["handle"]) == (purpose, subject)
        and not (consent["under_14"] and consent["given_by"] == "self")
    ]
    if not given:
        return "no_consent"
    return "consent_expired" if now >= given[0]["valid_until"] else None
