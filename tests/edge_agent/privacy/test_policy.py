"""The policy file: what it allows, until when, and that a changed, broken or missing one counts at once."""

import os
import tomllib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edge_agent.privacy import Policy, PolicyFile, load_policy
from telemetry.errors import ConfigError
from telemetry.sample import DataClass, WithheldReason
from tests.edge_agent.privacy.files import CARD, SITE, handle, policy_text

PERSONAL, GROUP = DataClass.PERSONAL, DataClass.GROUP
PUPIL = handle("attendance")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ns(moment: datetime) -> int:
    delta = moment - EPOCH
    return ((delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000


TERM = ns(datetime(2026, 10, 8, tzinfo=UTC))
FIRST = ns(datetime(2026, 8, 31, 16, tzinfo=UTC))
LAST = ns(datetime(2027, 7, 14, 16, tzinfo=UTC))


def policy(text: str | None = None, **changes) -> Policy:
    table = tomllib.loads(policy_text(PUPIL) if text is None else text) | changes
    return TypeAdapter(Policy).validate_python(table)


@pytest.mark.parametrize(
    ("data_class", "purpose", "who", "now_ns", "expected"),
    [
        (PERSONAL, "attendance", PUPIL, TERM, None),
        (PERSONAL, "attendance", PUPIL, FIRST, None),
        (PERSONAL, "attendance", PUPIL, FIRST - 1, WithheldReason.POLICY_NOT_YET_VALID),
        (PERSONAL, "attendance", PUPIL, 0, WithheldReason.POLICY_NOT_YET_VALID),
        (PERSONAL, "attendance", PUPIL, LAST - 1, None),
        (PERSONAL, "attendance", PUPIL, LAST, WithheldReason.POLICY_EXPIRED),
        (PERSONAL, "attendance", "0" * 32, TERM, WithheldReason.NO_CONSENT),
        (PERSONAL, "attendance", None, TERM, WithheldReason.NO_CONSENT),
        (PERSONAL, "library", PUPIL, TERM, WithheldReason.PURPOSE_NOT_ALLOWED),
        (DataClass.SENSITIVE, "attendance", PUPIL, TERM, WithheldReason.CLASS_NOT_ALLOWED),
        (GROUP, "occupancy", None, TERM, None),
        (GROUP, "attendance", PUPIL, TERM, WithheldReason.PURPOSE_NOT_ALLOWED),
    ],
)
def test_what_a_policy_refuses(data_class, purpose, who, now_ns, expected):
    assert policy().refusal(data_class, purpose, who, now_ns) is expected


moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments, st.timedeltas(timedelta(microseconds=1), timedelta(days=900)), st.integers(-2000, 2000))
def test_validity_is_exact_to_the_microsecond(start, length, offset_ns):
    end = start + length
    valid = policy(valid_from=start, valid_until=end)
    for edge in (start, end):
        now_ns = ns(edge) + offset_ns
        refusal = valid.refusal(PERSONAL, "attendance", PUPIL, now_ns)
        if now_ns < ns(start):
            assert refusal is WithheldReason.POLICY_NOT_YET_VALID
        elif now_ns >= ns(end):
            assert refusal is WithheldReason.POLICY_EXPIRED
        else:
            assert refusal is None


@pytest.mark.parametrize("order", [[True, False], [False, True]])
def test_of_two_rules_that_contradict_each_other_the_strictest_counts(order):
    rules = [{"class": "personal", "purpose": "attendance", "consent": consent} for consent in order]
    assert policy(allow=rules).refusal(PERSONAL, "attendance", "0" * 32, TERM) is WithheldReason.NO_CONSENT


def test_consent_is_needed_unless_the_rule_says_otherwise():
    rules = [{"class": "personal", "purpose": "attendance"}]
    assert policy(allow=rules, consents={}).refusal(PERSONAL, "attendance", PUPIL, TERM) is WithheldReason.NO_CONSENT


def test_a_policy_that_allows_nothing_allows_nothing():
    empty = policy(allow=[], consents={})
    assert {empty.refusal(kind, "attendance", PUPIL, TERM) for kind in DataClass} == {WithheldReason.CLASS_NOT_ALLOWED}


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_policy(path, site=SITE)
    assert all(problem.where.startswith(str(path)) and problem.mend for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("campus.policy/1", "campus.policy/2", "schema"),
        ("demo-school", "other-school", "is for site 'other-school', this gateway is of 'demo-school'"),
        ("version = 1", "version = 0", "version"),
        ("+08:00\nvalid_until", "\nvalid_until", "valid_from"),
        ("2027-07-15", "2026-07-15", "valid_from is not before valid_until"),
        ('class = "personal"', 'class = "secret"', "allow.0.class"),
        ("consent = true", "consnet = true", "allow.0.consnet"),
        ("[consents]", "[consent]", "consent"),
        ("[[allow]]", "[[allow", "line"),
    ],
)
def test_a_broken_policy_is_refused_and_named(tmp_path, old, new, text):
    path = tmp_path / "policy.toml"
    assert old in policy_text(PUPIL)
    path.write_text(policy_text(PUPIL).replace(old, new))
    assert text in refusal(path)


@pytest.mark.parametrize("consents", ['attendance = ["{card}"]', 'attendance = "{card}"', '"{card}" = "{card}"'])
def test_a_card_number_put_there_by_mistake_is_never_repeated(tmp_path, caplog, consents):
    """The problem goes to the log and to the health document: it must not carry the number along."""
    path = tmp_path / "policy.toml"
    text = policy_text().replace("attendance = []", consents.format(card=CARD))
    assert CARD in text
    path.write_text(text)
    assert CARD not in refusal(path)
    assert f"{path}: consents: something there is not a handle" in refusal(path)
    file = PolicyFile(path, site=SITE)
    assert file.current() is None
    assert CARD not in file.problem
    assert CARD not in caplog.text
    assert caplog.text


class Now:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def replace(path, text):
    """As an officer's tool does: a new file in place of the old."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)  # noqa: PTH105


def test_changes_are_picked_up_within_a_second_and_the_file_is_not_read_more_often(tmp_path):
    path, now = tmp_path / "policy.toml", Now()
    path.write_text(policy_text(version=1))
    file = PolicyFile(path, site=SITE, monotonic=now)
    assert file.current().version == 1
    first = file.current()
    replace(path, policy_text(PUPIL, version=2))
    now.seconds = 0.9
    assert file.current() is first
    now.seconds = 1.0
    assert (file.current().version, file.problem) == (2, None)
    second = file.current()
    now.seconds = 5.0
    assert file.current() is second  # unchanged: not read again


@pytest.mark.parametrize("broken", ["", "version = ", "other site", None])
def test_a_file_that_breaks_closes_the_gate_until_it_is_mended(tmp_path, caplog, broken):
    path, now = tmp_path / "policy.toml", Now()
    path.write_text(policy_text(PUPIL))
    file = PolicyFile(path, site=SITE, monotonic=now)
    assert file.current() is not None
    if broken is None:
        path.unlink()
    else:
        replace(path, policy_text().replace(SITE, "elsewhere") if broken == "other site" else broken)
    for _ in range(3):
        now.seconds += 1
        assert file.current() is None
        assert str(path) in file.problem
    assert caplog.text.count("the gate is closed") == 1
    replace(path, policy_text(PUPIL, version=3))
    now.seconds += 1
    assert (file.current().version, file.problem) == (3, None)


def test_a_file_that_comes_later_opens_the_gate(tmp_path):
    path, now = tmp_path / "policy.toml", Now()
    file = PolicyFile(path, site=SITE, monotonic=now)
    assert file.current() is None
    path.write_text(policy_text(PUPIL))
    now.seconds = 1
    assert file.current() is not None


def test_without_a_path_there_is_no_policy():
    file = PolicyFile(None, site=SITE)
    assert (file.current(), file.problem) == (None, "no policy_file is set")
