"""What the three documents may hold, and that whatever is wrong with one is said without quoting anybody."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edge_agent.privacy.documents import Calendar, days_of, minutes_of, offset_minutes
from edge_agent.privacy.reading import DocumentRefused, parse_document, read_document
from telemetry.erasure import to_ns
from telemetry.sample import WithheldReason
from telemetry.signed import read_public_key
from tests.edge_agent.privacy.files import (
    CARD,
    SITE,
    STRANGER,
    consent,
    consents_text,
    handle,
    lesson,
    policy_text,
    public_line,
    roster_text,
    signed,
)

PUPIL, BAND = handle("pe_lesson"), handle("pe_lesson", "C40000A1B2C3", "band")
KEY = read_public_key(public_line())
TRUSTED = {KEY.key_id: KEY}
TEXTS = {
    "policy": policy_text(more="[calendar]\nterms = [[2026-09-01, 2027-01-22]]\nholidays = [2026-10-01]\n"),
    "consents": consents_text(handle("attendance")),
    "roster": roster_text(lesson(on="2026-10-08", bindings={BAND: PUPIL})),
}


def refusal(text: str | bytes) -> str:
    with pytest.raises(DocumentRefused) as caught:
        parse_document(text.encode() if isinstance(text, str) else text)
    assert caught.value.reason is WithheldReason.DOCUMENT_REFUSED
    assert CARD not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_sound_document_is_read(kind):
    read = read_document(signed(TEXTS[kind]), site=SITE, trusted=TRUSTED)
    assert (read.kind, read.key, read.document.serial) == (kind, KEY, 1)


@pytest.mark.parametrize(
    ("kind", "old", "new", "told"),
    [
        ("policy", "campus.policy/2", "campus.policy/1", "its schema is none of campus.policy/2"),
        ("policy", '"campus.policy/2"', "2", "its schema is none of"),
        ("policy", 'site = "demo-school"\n', "", "site: "),
        ("policy", "serial = 1", "serial = 0", "serial: "),
        ("policy", "serial = 1", 'serial = "1"', "serial: "),
        ("policy", "2100-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "valid_from is not before valid_until"),
        ("policy", "2100-01-01T00:00:00Z", "2100-01-01T00:00:00", "valid_until: "),
        ("policy", 'class = "personal"', 'class = "secret"', "rule.0.class: "),
        ("policy", 'class = "personal"', 'class = "open"', "class open concerns nobody"),
        ("policy", "consent = true", "consnet = true", "rule.0.consnet: "),
        ("policy", "consent = true", 'consent = "no"', "rule.0.consent: "),
        ("policy", "consent = true", "points = []", "rule.0.points: "),
        ("policy", "consent = true", 'hours = "sometimes"', "rule.0.hours"),
        ("policy", "consent = true", 'hours = [["Mon-Fri", "17:30", "07:30"]]', "17:30 is not before 07:30"),
        ("policy", "consent = true", 'hours = [["Mo", "07:30", "17:30"]]', "no weekdays"),
        ("policy", "consent = true", "min_group = 1", "rule.0.min_group: "),
        ("policy", 'distance = "school"\nconsent', 'distance = "world"\nconsent', "rule.0.distance: "),
        ("policy", 'name = "pe_lesson"', 'name = "attendance"', "purpose named twice: attendance"),
        ("policy", 'name = "occupancy"', 'name = "other"', "no [[purpose]] explains: occupancy"),
        ("policy", 'basis = "legal_duty"', 'basis = "useful"', "purpose.1.basis: "),
        ("policy", "[[rule]]", '[[class]]\nclass = "group"\ngrade = "L6"\n[[rule]]', "class.0.grade: "),
        ("policy", 'class = "group"\n', 'class = "group"\nconsent = true\n', "a group is nobody"),
        ("policy", 'class = "group"\n', 'class = "group"\nbinding = "roster"\n', "a group is nobody"),
        ("policy", "terms = [[2026-09-01, ", "terms = [[2027-09-01, ", "a term ends before it begins"),
        ("consents", 'given_by = "guardian"', 'given_by = "teacher"', "consent.0.given_by: "),
        ("consents", "under_14 = true", 'under_14 = "false"', "consent.0.under_14: "),
        ("consents", "under_14 = true\n", "", "consent.0.under_14: "),
        ("consents", handle("attendance"), CARD, "consent.0.handle: is not a handle"),
        ("consents", "given_by", f'"{CARD}" = 1\ngiven_by', "consent.0.…: "),
        ("consents", "[[consent]]", f"[[consent]]\n{CARD}", "is not TOML (at line"),
        ("roster", f'{BAND} = "{PUPIL}"', f'{BAND} = "{CARD}"', "lesson.0.bindings.…: is not a handle"),
        ("roster", f'{BAND} = "{PUPIL}"', f'{CARD} = "{PUPIL}"', "lesson.0.bindings.…: is not a handle"),
        ("roster", "on = 2026-10-08", f'on = "{CARD}"', "no weekdays"),
        ("roster", "on = 2026-10-08", 'on = "Mon-Fri"', "bindings are for one lesson"),
        ("roster", 'purpose = "pe_lesson"\n', "", "bindings are for one lesson"),
        ("roster", "end = 23:59:59", "end = 00:00:00", "start must be before end"),
        ("roster", 'room = "gym"', 'room = "a/b"', "lesson.0.room: "),
    ],
)
def test_a_broken_document_is_refused_and_its_flaw_is_named(kind, old, new, told):
    assert old in TEXTS[kind]
    assert told in refusal(TEXTS[kind].replace(old, new))


def test_who_stands_there_twice_is_refused_and_not_told():
    text = consents_text(handle("attendance"), handle("attendance"))
    assert "1 subjects stand there twice" in refusal(text)
    parse_document(consents_text(handle("attendance")).encode() + consent(handle("x"), purpose="x").encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise_anything_else(body):
    refusal(body)


def test_deep_nesting_is_refused():
    refusal('schema = "campus.policy/2"\na = ' + "[" * 100_000)


@given(st.sampled_from(sorted(TEXTS)), st.data())
def test_a_damaged_document_never_raises_anything_else(kind, data):
    text = TEXTS[kind]
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.text(max_size=4)) + text[at + data.draw(st.integers(0, 4)) :]
    try:
        parse_document(changed.encode("utf-8", "replace"))
    except DocumentRefused as error:
        assert str(error)  # noqa: PT017 - it may also be sound


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        (TEXTS["policy"].encode(), WithheldReason.DOCUMENT_FORGED, "is not signed"),
        (signed(TEXTS["policy"], STRANGER), WithheldReason.DOCUMENT_FORGED, "not trusted here"),
        (signed(TEXTS["policy"].replace(SITE, "other")), WithheldReason.DOCUMENT_REFUSED, "is for site 'other'"),
        (signed(TEXTS["roster"]), WithheldReason.DOCUMENT_REFUSED, "is the roster, not the policy"),
        (signed(b"\xff"), WithheldReason.DOCUMENT_REFUSED, "is not TOML"),
    ],
)
def test_what_is_not_the_officers_document_for_us_is_refused(text, reason, told):
    from edge_agent.privacy import DocumentKind

    with pytest.raises(DocumentRefused, match=told) as caught:
        read_document(text, site=SITE, trusted=TRUSTED, kind=DocumentKind.POLICY)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("text", "days"),
    [("Mon", {0}), ("Mon-Fri", {0, 1, 2, 3, 4}), ("Mon,Wed, Fri", {0, 2, 4}), ("Sat-Mon", {5, 6, 0}), ("Sun-Sun", {6})],
)
def test_weekdays(text, days):
    assert days_of(text) == days


@pytest.mark.parametrize("text", ["", "Mo", "Mon-", "Mon-Fri-Sat", "mon", "0", "Mon;Tue"])
def test_what_are_no_weekdays(text):
    with pytest.raises(ValueError, match="no weekdays"):
        days_of(text)


def test_times_and_offsets():
    assert (minutes_of("00:00"), minutes_of("07:30"), minutes_of("24:00")) == (0, 450, 1440)
    assert (offset_minutes("+08:00"), offset_minutes("-03:30"), offset_minutes("+00:00")) == (480, -210, 0)
    for text in ("7:30", "07:60", "24:01", "0730", "", "\u0660\u0667:\u0663\u0660"):
        with pytest.raises(ValueError, match="time"):
            minutes_of(text)
    with pytest.raises(ValueError, match="offset"):
        offset_minutes("08:00")


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_nanoseconds_are_exact(moment):
    assert to_ns(moment) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def test_the_calendar_knows_terms_holidays_and_makeup_days():
    text = "terms = [[2026-09-01, 2027-01-22]]\nholidays = [2026-10-01]\nmakeup = [{ on = 2026-10-10, like = 'Thu' }]"
    calendar = TypeAdapter(Calendar).validate_python(tomllib.loads(text))
    found = {str(day): calendar.weekday(day) for day in map(date.fromisoformat, ("2026-09-01", "2026-08-31"))}
    assert found == {"2026-09-01": 1, "2026-08-31": None}
    assert calendar.weekday(date(2026, 10, 1)) is None
    assert calendar.weekday(date(2026, 10, 10)) == 3
    assert Calendar().weekday(date(2026, 10, 11)) == 6
