"""Random schools, thousands of samples: nothing leaves that a naive reading of the documents does not allow."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta

from hypothesis import event, given, settings
from hypothesis import strategies as st

from edge_agent.privacy import DocumentKind, Documents, Gate
from telemetry.counters import Counters
from telemetry.erasure import to_ns
from telemetry.sample import Admitted, DataClass, Reason, Sample, Subject, Withheld
from telemetry.signed import read_public_key
from tests.edge_agent.privacy import oracle
from tests.edge_agent.privacy.files import OFFICER, SITE, STRANGER, handle, public_line, signed
from tests.edge_agent.privacy.test_gate import keys_for, point, profile

KEY = read_public_key(public_line())
PURPOSES = ["pe_lesson", "attendance"]
ROOMS = {"d": "gym", "e": "r101"}
NAMES = ["a", "b", "c"]
WHO = [("card", "0A0012ABCD"), ("band", "C40000A1B2C3"), ("band", "C40000A1B2C4")]
PUPILS = ["pupil-1", "pupil-2"]
NOWS = [
    datetime(2026, 10, 8, 0, 10, tzinfo=UTC),  # Thursday, 08:10 at school
    datetime(2026, 10, 8, 0, 40, tzinfo=UTC),  # the bell
    datetime(2026, 10, 8, 15, 59, tzinfo=UTC),
    datetime(2026, 10, 10, 0, 10, tzinfo=UTC),  # a Saturday that is kept like a Thursday
    datetime(2026, 10, 1, 0, 10, tzinfo=UTC),  # a Thursday, but a holiday
    datetime(2026, 10, 11, 0, 10, tzinfo=UTC),  # Sunday
    datetime(1970, 1, 1, 1, tzinfo=UTC),
    datetime(2028, 1, 1, tzinfo=UTC),
]
NEAR = [timedelta(), timedelta(microseconds=-1), timedelta(seconds=-1), timedelta(minutes=-15), timedelta(hours=-1)]
TIMES = [time(8), time(8, 10), time(8, 40), time(9), time(23, 59, 59, 999999)]
BAD = ["document_forged", "document_refused", "missing"]
"""Refused: its serial is lower than one that was accepted before."""
OFFICERS = {"document_forged": STRANGER}

classes = st.sampled_from([str(data_class) for data_class in DataClass])
person_classes = st.sampled_from(["group", "personal", "personal", "sensitive", "sensitive"])
purposes = st.sampled_from(PURPOSES)


def maybe(strategy, name):
    return st.none() | strategy.map(lambda value: {name: value})


def merged(parts):
    return {key: value for part in parts if part for key, value in part.items()}


EDGES = ["00:00", "08:00", "08:10", "08:40", "17:00", "24:00"]
WINDOWS = [[days, start, end] for days in oracle.WEEKDAYS for start in EDGES for end in EDGES if start < end]
hours = st.sampled_from(["always", "always", "lessons"]) | st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=2)


@st.composite
def rules(draw, points):
    """A rule, mostly about points that there are."""
    groups = [told for told in points.values() if told[0] not in {"open", "ops"}]
    about = st.tuples(person_classes, purposes)
    data_class, purpose = draw(st.one_of(*[st.sampled_from(groups)] * 4, about) if groups else about)
    optional = [
        st.none() | maybe(st.sets(st.sampled_from([*NAMES, "x"]), min_size=1).map(sorted), "points"),
        st.sampled_from([{"distance": "school"}] * 6 + [{"distance": "district"}, {"distance": "room"}, None]),
        st.none() | maybe(hours, "hours"),
    ]
    if data_class != "group":
        optional += [maybe(st.booleans(), "consent"), maybe(st.sampled_from(["none", "roster", "roster"]), "binding")]
    return {"class": data_class, "purpose": purpose, **merged([draw(part) for part in optional])}


@st.composite
def lessons(draw):
    on = draw(st.sampled_from([*oracle.WEEKDAYS, date(2026, 10, 8), date(2026, 10, 8), date(2026, 10, 10)]))
    start, end = sorted(draw(st.lists(st.sampled_from(TIMES), min_size=2, max_size=2, unique=True)))
    purpose = draw(st.none() | purposes)
    made = {"class": "c7-2", "room": draw(st.sampled_from(list(ROOMS.values()))), "on": on, "start": start, "end": end}
    if purpose is not None:
        made["purpose"] = purpose
        pairs = st.dictionaries(st.sampled_from(WHO), st.sampled_from(PUPILS), max_size=3)
        worn = draw(pairs) if isinstance(on, date) else {}
        if worn:
            made["bindings"] = {
                handle(purpose, who, kind): handle(purpose, pupil, "pupil") for (kind, who), pupil in worn.items()
            }
    return made


@st.composite
def consents(draw):
    everybody = [(kind, who) for kind, who in WHO] + [("pupil", pupil) for pupil in PUPILS]
    given = []
    for purpose in PURPOSES:
        for kind, who in draw(st.sets(st.sampled_from(everybody), min_size=draw(st.sampled_from([0, 3, 4])))):
            given.append(
                {
                    "handle": handle(purpose, who, kind),
                    "purpose": purpose,
                    "given_by": draw(st.sampled_from(["guardian", "guardian", "self"])),
                    "under_14": draw(st.booleans()),
                    "valid_until": draw(st.sampled_from([NOWS[0], NOWS[-1], NOWS[-1], NOWS[-1]])),
                }
            )
    return given


@st.composite
def worlds(draw):
    points = draw(
        st.dictionaries(
            st.sampled_from(NAMES), st.tuples(st.one_of(*[person_classes] * 4, classes), purposes), min_size=2
        )
    )
    now = draw(st.sampled_from([*NOWS[:1] * 9, *NOWS]))
    first, last = datetime(2026, 9, 1, tzinfo=UTC), datetime(2027, 7, 15, tzinfo=UTC)
    valid = {"valid_from": first, "valid_until": draw(st.sampled_from([last] * 9 + [NOWS[0]]))}
    head = {"site": SITE, "serial": 2}
    issued = min(now, datetime(2026, 10, 11, tzinfo=UTC))
    age = draw(st.sampled_from([timedelta()] * 6 + [timedelta(hours=23), timedelta(hours=24), timedelta(days=3)]))
    calendar = {
        "terms": [[date(2026, 9, 1), date(2027, 1, 22)]],
        "holidays": [date(2026, 10, 1)],
        "makeup": [{"on": date(2026, 10, 10), "like": "Thu"}],
    }
    policy = {
        "schema": "campus.policy/2",
        **head,
        "issued_at": issued,
        **valid,
        **({"calendar": calendar} if draw(st.booleans()) else {}),
        "purpose": [{"name": name, "basis": "consent", "zh": "用", "en": "use"} for name in PURPOSES],
        "rule": draw(st.lists(rules(points), min_size=draw(st.sampled_from([0, 1, 1, 2, 2, 2, 2])), max_size=4)),
        "class": draw(
            st.just([])
            | st.fixed_dictionaries(
                {"class": st.just("sensitive"), "distance": st.just("school"), "consent": st.booleans()}
            ).map(lambda change: [change])
        ),
    }
    roster_valid = {"valid_from": first, "valid_until": draw(st.sampled_from([last, last, NOWS[1]]))}
    roster = {
        "schema": "campus.roster/1",
        **head,
        "issued_at": issued,
        **roster_valid,
        "lesson": draw(st.lists(lessons(), max_size=3)),
    }
    listed = {"schema": "campus.consents/1", **head, "issued_at": issued - age, "consent": draw(consents())}
    bad = draw(st.sampled_from([{}] * 12 + [{name: bad} for name in ("policy", "consents", "roster") for bad in BAD]))
    return {
        "now": now,
        "points": points,
        "keys": draw(st.just(set(PURPOSES)) | st.sets(purposes)),
        "policy": policy,
        "roster": roster,
        "consents": listed,
        "bad": bad,
    }


readings = st.lists(
    st.tuples(
        st.sampled_from(["d"] * 6 + ["e"] * 3 + ["stranger"]),
        st.sets(st.sampled_from(NAMES * 2 + ["x"]), min_size=1),
        st.sets(st.sampled_from(NAMES * 2 + ["x"]), max_size=1),
        st.sampled_from([None, *WHO * 3]),
        st.sampled_from(NEAR),
    ),
    min_size=4,
    max_size=9,
)


def toml(table: dict) -> str:
    """Documents as text; arrays of tables are written inline, which TOML takes as the same."""

    def value(item) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(part)}" for key, part in item.items()) + " }"
        if isinstance(item, (list, tuple)):
            return "[" + ", ".join(map(value, item)) + "]"
        if isinstance(item, (datetime, date, time)):
            return item.isoformat()
        return json.dumps(item, ensure_ascii=False)

    return "".join(f"{key} = {value(item)}\n" for key, item in table.items())


def put(folder, name: str, table: dict, bad: str | None) -> None:
    path = folder / f"{name}.toml"
    if bad == "missing":
        path.unlink()
        return
    text = signed(toml({**table, "serial": 1} if bad == "document_refused" else table), OFFICERS.get(bad, OFFICER))
    fresh = folder / "fresh"
    fresh.write_bytes(text)
    os.replace(fresh, path)  # noqa: PTH105 - as an officer's tool does


def gate_of(world: dict, folder, counters: Counters) -> Gate:
    """The gate over documents that were read from files, verified and remembered, as in the agent."""
    names = [str(kind) for kind in DocumentKind]
    documents = Documents(
        site=SITE,
        trusted={KEY.key_id: KEY},
        paths={kind: folder / f"{kind}.toml" for kind in DocumentKind},
        state_file=None,
        now_ns=lambda: to_ns(world["now"]),
        counters=Counters(),
    )
    for name in names:
        put(folder, name, world[name], None)
    documents.look()
    assert all(standing.accepted for standing in documents.standings.values())
    for name, bad in world["bad"].items():
        put(folder, name, world[name], bad)
    documents.look()
    return Gate(
        {device: profile(*(point(name, *told) for name, told in world["points"].items())) for device in ROOMS},
        rooms=ROOMS,
        keys=keys_for(*world["keys"]) if world["keys"] else None,
        in_force=lambda: documents.in_force,
        now_ns=lambda: to_ns(world["now"]),
        counters=counters,
    )


MISSING = {"policy": "no_policy", "consents": "no_consent", "roster": "no_roster"}


@settings(max_examples=max(400, settings.default.max_examples))
@given(world=worlds(), given_readings=readings)
def test_nothing_leaves_that_the_oracle_does_not_allow_and_all_that_stays_is_counted(
    world, given_readings, tmp_path_factory
):
    folder = tmp_path_factory.getbasetemp()
    counters = Counters()
    gate = gate_of(world, folder, counters)
    world["bad"] = {name: MISSING[name] if bad == "missing" else bad for name, bad in world["bad"].items()}
    counted: Counter[str] = Counter()
    for device, good, flawed, who, ago in given_readings:
        at = world["now"] + ago
        sample = Sample(
            device=device,
            acquired_at_ns=to_ns(at),
            values=dict.fromkeys(sorted(good), 1.0),
            bad=dict.fromkeys(sorted(flawed - good), Reason.DECODE),
            subject=None if who is None else Subject(kind=who[0], identifier=who[1]),
        )
        expected = {
            name: "unknown_point"
            if device not in ROOMS
            else oracle.reason(world, name, who, room=ROOMS[device], at=at, now=world["now"])
            for name in good | flawed
        }
        answers = gate.split(sample)
        left = [name for answer in answers if isinstance(answer, Admitted) for name in (*answer.values, *answer.bad)]
        assert sorted(left) == sorted(name for name, reason in expected.items() if reason is None)
        told = Counter()
        for answer in answers:
            if isinstance(answer, Withheld):
                told[f"gate.withheld.{answer.data_class}.{answer.reason}"] += 1
                continue
            check_admitted(world, answer, who, ROOMS[device], at)
            assert gate.still(answer)
        # One answer for each set of points that share class, purpose and rules; every reason is there, none is made up.
        reasons = {
            f"gate.withheld.{world['points'].get(name, ('sensitive',))[0] if device in ROOMS else 'sensitive'}.{reason}"
            for name, reason in expected.items()
            if reason is not None
        }
        assert set(told) == reasons
        counted += told
        for reason in {reason.rsplit(".")[-1] for reason in reasons} | ({"left"} if left else set()):
            event(reason)
    assert counters.snapshot() == dict(counted)


def check_admitted(world, answer, who, room, at):
    """Every part is of one class and purpose, and bears the handle of the right person for it, or none."""
    names = [*answer.values, *answer.bad]
    assert {world["points"][name] for name in names} == {(str(answer.data_class), answer.purpose)}
    assert not any(identifier in repr(answer) for _, identifier in WHO)
    if answer.data_class not in (DataClass.PERSONAL, DataClass.SENSITIVE):
        assert (answer.handle, answer.band) == (None, None)
        return
    own = oracle.whose(world, answer.purpose, who)
    if answer.band is None:
        assert answer.handle == own
    else:
        assert answer.band == own
        assert {answer.handle} == oracle.bound(world, answer.purpose, own, room, at)
