"""Rules by example: distance, points, hours, lessons, bands; and what a look again (`still`) finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from edge_agent.privacy import Gate, InForce
from edge_agent.privacy.documents import Consents, DocumentKind, Policy, Roster
from edge_agent.privacy.reading import parse_document
from edge_agent.privacy.times import Timeline
from telemetry.counters import Counters
from telemetry.erasure import to_ns
from telemetry.sample import Admitted, DataClass, Reason, Sample, Subject, Withheld, WithheldReason
from tests.edge_agent.privacy.files import consent, consents_text, handle, head, lesson, roster_text
from tests.edge_agent.privacy.test_gate import keys_for, point, profile

LESSON = datetime(2026, 10, 8, 0, 10, tzinfo=UTC)  # Thursday, 08:10 at school
SECOND = timedelta(seconds=1)
BANDS = profile(point("heart_rate", "sensitive", "pe_lesson"), point("rr", "sensitive", "pe_lesson"))
BAND, OTHER_BAND = (Subject(kind="band", identifier=name) for name in ("C40000A1B2C3", "C40000A1B2C4"))
WORN, OTHER_WORN = (handle("pe_lesson", subject.identifier, "band") for subject in (BAND, OTHER_BAND))
PUPIL, OTHER = (handle("pe_lesson", name, "pupil") for name in ("1", "2"))
PURPOSE = '[[purpose]]\nname = "pe_lesson"\nbasis = "consent"\nzh = "体育"\nen = "sports"\n'
RULE = '[[rule]]\nclass = "sensitive"\npurpose = "pe_lesson"\ndistance = "school"\n'
BOUND = f'{RULE}binding = "roster"\n'
BOTH = consents_text(PUPIL, OTHER, WORN, purpose="pe_lesson", issued_at="2026-10-08T00:00:00Z")
ONE = lesson(on="2026-10-08", start="08:00:00", end="08:40:00", bindings={WORN: PUPIL})
ISSUED = "2026-10-01T00:00:00Z"


def policy(rules, more=""):
    valid = "valid_from = 2026-09-01T00:00:00Z\nvalid_until = 2027-07-15T00:00:00Z\n"
    made = parse_document(f"{head('policy/2', issued_at=ISSUED)}{valid}{more}{PURPOSE}{rules}".encode())
    assert isinstance(made, Policy)
    return made


def roster(*lessons, **keys):
    made = parse_document(roster_text(*lessons, issued_at=ISSUED, **keys).encode())
    assert isinstance(made, Roster)
    return made


def consents(text=BOTH):
    made = parse_document(text.encode())
    assert isinstance(made, Consents)
    return made


class World:
    def __init__(self, in_force, *, now=LESSON, room="gym"):
        self.in_force, self.now, self.counters = in_force, now, Counters()
        self.gate = Gate(
            {"bands": BANDS},
            rooms={"bands": room},
            keys=keys_for("pe_lesson"),
            in_force=lambda: self.in_force,
            now_ns=lambda: to_ns(self.now),
            counters=self.counters,
        )

    def split(self, subject=BAND, at=None, **values):
        sample = Sample(
            device="bands", acquired_at_ns=to_ns(at or self.now), values=values or {"heart_rate": 90.0}, subject=subject
        )
        return self.gate.split(sample)

    def one(self, *arguments, **keys):
        (answer,) = self.split(*arguments, **keys)
        return answer.handle if isinstance(answer, Admitted) else str(answer.reason)


def test_a_rule_about_some_points_lets_the_others_stay():
    world = World(InForce(policy(f'{RULE}points = ["heart_rate"]\n'), consents()))
    admitted, withheld = world.split(heart_rate=90.0, rr=0.7)
    assert admitted.values == {"heart_rate": 90.0}
    assert withheld == Withheld(device="bands", data_class=DataClass.SENSITIVE, reason=WithheldReason.POINT_NOT_ALLOWED)
    assert world.counters.snapshot() == {"gate.withheld.sensitive.point_not_allowed": 1}


def test_of_two_rules_the_strictest_counts_for_the_points_of_both():
    rules = f'{RULE}consent = false\n{RULE}points = ["rr"]\n'
    world = World(InForce(policy(rules), consents(consents_text(purpose="pe_lesson", issued_at=ISSUED))))
    answers = world.split(heart_rate=90.0, rr=0.7)
    assert [answer.values for answer in answers if isinstance(answer, Admitted)] == [{"heart_rate": 90.0}]
    assert [str(answer.reason) for answer in answers if isinstance(answer, Withheld)] == ["consents_too_old"]


@pytest.mark.parametrize(("distance", "answer"), [("room", "distance_room"), ("school", WORN), ("district", WORN)])
def test_what_may_go_as_far_as_the_room_does_not_leave_the_gateway(distance, answer):
    assert World(InForce(policy(RULE.replace("school", distance)), consents())).one() == answer


def test_vitals_stay_in_the_room_unless_the_rule_says_how_far():
    assert World(InForce(policy(RULE.replace('distance = "school"\n', "")), consents())).one() == "distance_room"
    widened = '[[class]]\nclass = "sensitive"\ndistance = "school"\n'
    without = RULE.replace('distance = "school"\n', "")
    assert World(InForce(policy(without + widened), consents())).one() == WORN


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-10-07T23:29:59.999999Z", False),
        ("2026-10-07T23:30:00Z", True),  # Thursday, 07:30 at school
        ("2026-10-08T09:29:59.999999Z", True),
        ("2026-10-08T09:30:00Z", False),
        ("2026-10-11T04:00:00Z", False),  # Sunday
        ("2026-10-01T04:00:00Z", False),  # holiday
        ("2026-10-10T04:00:00Z", True),  # Saturday, kept like a Thursday
        ("2027-02-01T04:00:00Z", False),  # between the terms
    ],
)
def test_hours_go_by_local_time_and_calendar(moment, open_):
    calendar = (
        "[calendar]\nterms = [[2026-09-01, 2027-01-22], [2027-02-15, 2027-07-10]]\nholidays = [2026-10-01]\n"
        'makeup = [{ on = 2026-10-10, like = "Thu" }]\n'
    )
    rules = policy(f'{RULE}consent = false\nhours = [["Mon-Fri", "07:30", "17:30"]]\n', calendar)
    world = World(InForce(rules), now=datetime.fromisoformat(moment))
    assert world.one() == (WORN if open_ else "outside_hours")


def test_hours_go_by_when_it_was_measured_not_by_when_it_is_sent():
    world = World(InForce(policy(f'{RULE}consent = false\nhours = [["Mon-Fri", "08:00", "09:00"]]\n')))
    world.now = LESSON + timedelta(hours=5)
    assert world.one(at=LESSON) == WORN
    assert world.one() == "outside_hours"


@pytest.mark.parametrize(
    ("lessons", "answer"),
    [
        ([], "outside_hours"),
        ([lesson(on='"Thu"', start="08:00:00", end="08:40:00")], WORN),
        ([lesson(on='"Thu"', start="08:00:00", end="08:40:00", purpose=None)], WORN),
        ([lesson(on='"Thu"', start="08:00:00", end="08:40:00", purpose="library")], "outside_hours"),
        ([lesson(on='"Thu"', start="08:00:00", end="08:40:00", room="r101")], "outside_hours"),
        ([lesson(on='"Fri"', start="08:00:00", end="08:40:00")], "outside_hours"),
        ([lesson(on="2026-10-08", start="08:10:00", end="08:10:01")], WORN),
        ([lesson(on="2026-10-08", start="08:00:00", end="08:10:00")], "outside_hours"),
    ],
)
def test_hours_of_lessons(lessons, answer):
    rules = policy(f'{RULE}consent = false\nhours = "lessons"\n')
    assert World(InForce(rules, roster=roster(*lessons))).one() == answer


def test_without_a_valid_roster_there_are_no_lessons_and_no_bands():
    for rules in (policy(f'{RULE}hours = "lessons"\n'), policy(BOUND)):
        assert World(InForce(rules, consents())).one() == "no_roster"
        forged = {DocumentKind.ROSTER: WithheldReason.DOCUMENT_FORGED}
        assert World(InForce(rules, consents(), lacking=forged)).one() == "document_forged"
        over = roster(ONE, last="2026-10-08T00:00:00Z")
        assert World(InForce(rules, consents(), over)).one() == "no_roster"


def test_a_band_is_its_wearer_in_the_lesson_and_nobody_from_the_bell_on():
    world = World(InForce(policy(BOUND), consents(), roster(ONE)))
    bell = LESSON.replace(minute=40)
    for moment, answer in (
        (LESSON.replace(minute=0) - SECOND, "unbound"),
        (LESSON.replace(minute=0), PUPIL),
        (bell - timedelta(microseconds=1), PUPIL),
        (bell, "unbound"),
        (bell + SECOND, "unbound"),
    ):
        world.now = moment
        assert world.one() == answer
    world.now = LESSON
    assert world.one(OTHER_BAND) == "unbound"
    elsewhere = World(InForce(policy(BOUND), consents(), roster(ONE)), room="r101")
    assert elsewhere.one() == "unbound"


def test_two_classes_in_one_gym_and_a_band_that_two_claim():
    second = lesson("c7-3", on="2026-10-08", start="08:05:00", end="08:45:00", bindings={OTHER_WORN: OTHER})
    world = World(InForce(policy(BOUND), consents(), roster(ONE, second)))
    assert (world.one(), world.one(OTHER_BAND)) == (PUPIL, OTHER)
    claimed = lesson("c7-3", on="2026-10-08", start="08:05:00", end="08:45:00", bindings={WORN: OTHER})
    world = World(InForce(policy(BOUND), consents(), roster(ONE, claimed)))
    assert world.one() == "unbound"
    world.now = LESSON.replace(minute=42)
    assert world.one() == OTHER
    assert world.one(at=LESSON.replace(minute=2)) == PUPIL


def test_it_is_the_wearer_who_must_consent_not_the_band():
    only_the_band = consents(consents_text(WORN, purpose="pe_lesson", issued_at="2026-10-08T00:00:00Z"))
    assert World(InForce(policy(BOUND), only_the_band, roster(ONE))).one() == "no_consent"
    # Where bands are their wearers' for good, the band itself stands in the list.
    assert World(InForce(policy(RULE), only_the_band, roster(ONE))).one() == WORN


def admitted(world):
    (answer,) = world.split()
    assert isinstance(answer, Admitted)
    return answer


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"policy": None}, "no_policy"),
        ({"policy": policy(RULE)}, "unbound"),
        ({"policy": policy(BOUND.replace("school", "room"))}, "distance_room"),
        ({"policy": policy(f'{BOUND}points = ["rr"]\n')}, "point_not_allowed"),
        ({"consents": consents(consents_text(OTHER, purpose="pe_lesson", issued_at=ISSUED))}, "consents_too_old"),
        (
            {"consents": consents(consents_text(OTHER, purpose="pe_lesson", issued_at="2026-10-08T00:00:00Z"))},
            "no_consent",
        ),
        (
            {
                "consents": consents(
                    consents_text(issued_at="2026-10-08T00:00:00Z")
                    + consent(PUPIL, purpose="pe_lesson", until="2026-10-08T00:09:00Z")
                )
            },
            "consent_expired",
        ),
        ({"roster": None}, "no_roster"),
        ({"roster": roster(ONE.replace(PUPIL, OTHER))}, "unbound"),
        ({"roster": roster(ONE.replace("08:40:00", "08:10:00"))}, "unbound"),
    ],
)
def test_what_was_admitted_is_looked_at_again(change, reason):
    parts = {"policy": policy(BOUND), "consents": consents(), "roster": roster(ONE)}
    world = World(InForce(**parts))
    passed = admitted(world)
    assert (passed.handle, passed.band) == (PUPIL, WORN)
    world.in_force = InForce(**(parts | change))
    assert world.gate.still(passed) is (reason is None)
    expected = {} if reason is None else {f"gate.withheld.sensitive.{reason}": 1}
    assert world.counters.snapshot() == expected


def test_a_band_that_was_somebody_elses_at_the_right_time_is_not_told():
    """The clock was an hour behind: by it the band was one pupil's, by the right time it was another's."""
    later = lesson(on="2026-10-08", start="09:00:00", end="09:40:00", bindings={WORN: OTHER})
    world = World(InForce(policy(BOUND), consents(), roster(ONE, later)))
    passed = admitted(world)
    stamped = msgspec.structs.replace(passed, acquired_at_ns=passed.acquired_at_ns + 3600 * 10**9)
    world.now += timedelta(hours=1)
    assert world.gate.still(passed)
    assert not world.gate.still(stamped)


def test_air_is_looked_at_again_and_needs_nothing():
    counters = Counters()
    air = profile(point("co2", "open"))
    gate = Gate({"d": air}, rooms={}, keys=None, in_force=InForce, now_ns=lambda: 0, counters=counters)
    (passed,) = gate.split(Sample(device="d", acquired_at_ns=-(10**30), values={"co2": 1.0}, bad={}))
    assert isinstance(passed, Admitted)
    assert gate.still(passed)
    assert gate.split(Sample(device="d", acquired_at_ns=0)) == []
    (flawed,) = gate.split(Sample(device="d", acquired_at_ns=0, bad={"co2": Reason.DECODE}))
    assert isinstance(flawed, Admitted)


@pytest.mark.parametrize("at_ns", [-1, 2**63, 10**30])
def test_a_time_that_no_calendar_has_is_in_no_hours(at_ns):
    assert Timeline(lambda _: [(0, 10**18, None)], offset_minutes=0).at(at_ns) == ()


def test_the_smallest_group_of_a_purpose():
    group = '[[rule]]\nclass = "group"\npurpose = "pe_lesson"\n'
    assert InForce(policy(group)).min_group("pe_lesson") == 5
    assert InForce(policy(f"{group}min_group = 8\n{group}")).min_group("pe_lesson") == 8
    assert InForce(policy(group)).min_group("library") is None
    assert InForce().min_group("pe_lesson") is None
