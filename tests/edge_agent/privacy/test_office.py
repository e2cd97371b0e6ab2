"""The officer's files on a gateway: watched, remembered, and whatever is wrong with one closes the gate for people."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from datetime import UTC, datetime

import pytest

from edge_agent.privacy import DocumentKind, Documents
from edge_agent.privacy import office as office_module
from edge_agent.privacy.accepted import NAME, StateDamaged, load
from edge_agent.privacy.standing import State
from telemetry.counters import Counters
from telemetry.sample import WithheldReason
from telemetry.signed import MAX_BYTES, read_public_key
from tests.drivers.helpers import running
from tests.edge_agent.privacy.files import (
    CARD,
    SITE,
    STRANGER,
    ago,
    consent,
    consents_text,
    handle,
    policy_text,
    public_line,
    roster_text,
    signed,
)
from tests.waiting import until

PUPIL, OTHER = handle("attendance"), handle("attendance", "0A0012ABCE")
POLICY, CONSENTS, ROSTER = DocumentKind
KEY = read_public_key(public_line())


class School:
    """A gateway's folder, and a clock that can be wrong."""

    def __init__(self, folder):
        self.folder = folder
        self.paths = {kind: folder / f"{kind}.toml" for kind in DocumentKind}
        self.state_file = folder / "privacy" / NAME
        self.wrong_by_ns = 0
        self.synced = True
        self.counters = Counters()

    def put(self, kind, text):
        """As an officer's tool does: a new file in place of the old."""
        fresh = self.folder / "fresh"
        fresh.write_bytes(text if isinstance(text, bytes) else signed(text))
        os.replace(fresh, self.paths[kind])  # noqa: PTH105

    def documents(self, **changes):
        fields = {
            "site": SITE,
            "trusted": {KEY.key_id: KEY},
            "paths": self.paths,
            "state_file": self.state_file,
            "now_ns": lambda: time.time_ns() + self.wrong_by_ns,
            "clock_synced": lambda: self.synced,
            "counters": self.counters,
        }
        documents = Documents(**(fields | changes))
        documents.look()
        return documents

    def states(self, documents):
        now_ns = time.time_ns() + self.wrong_by_ns
        return [str(standing.state(now_ns)) for standing in documents.standings.values()]


@pytest.fixture
def school(tmp_path):
    made = School(tmp_path)
    made.put(POLICY, policy_text())
    made.put(CONSENTS, consents_text(PUPIL))
    made.put(ROSTER, roster_text())
    return made


def test_documents_that_are_in_order_are_in_force_and_remembered(school):
    documents = school.documents()
    assert school.states(documents) == ["in_force"] * 3
    assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is None
    assert documents.closed(keys=True) is None
    assert "no key_file" in documents.closed(keys=False)
    assert stat.S_IMODE(school.state_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(school.state_file.parent.stat().st_mode) == 0o700
    assert {
        name: entry["serial"] for name, entry in json.loads(school.state_file.read_bytes())["documents"].items()
    } == {
        "policy": 1,
        "consents": 1,
        "roster": 1,
    }
    report = json.loads(json.dumps(documents.report()))
    assert report["policy"]["text"].startswith("in force: serial 1, issued 1 min ago, valid until 2100-01-01 00:00")
    assert PUPIL not in str(report)


FORGED, REFUSED = WithheldReason.DOCUMENT_FORGED, WithheldReason.DOCUMENT_REFUSED
TEXT = signed(consents_text(PUPIL, serial=5))
BAD = {
    "not signed": (consents_text(PUPIL, serial=5).encode(), FORGED, "is not signed"),
    "cut short": (TEXT[:-9], FORGED, "cut short"),
    "empty": (b"", FORGED, "is not signed"),
    "altered": (TEXT.replace(b"guardian", b"guardiaN"), FORGED, "was altered"),
    "of a stranger": (signed(consents_text(PUPIL, serial=5), STRANGER), FORGED, "not trusted here"),
    "converted": (TEXT.replace(b"\n", b"\r\n"), FORGED, "line ends were converted"),
    "appended to": (TEXT + b"# x\n", FORGED, "something follows the signature"),
    "signed twice": (signed(TEXT), FORGED, "two signatures"),
    "huge": (b"#" * (MAX_BYTES + 1), FORGED, "is longer than"),
    "of another site": (signed(consents_text(PUPIL, serial=5, site="x")), REFUSED, "is for site 'x'"),
    "of the future": (signed(consents_text(PUPIL, serial=5, issued_at=ago(hours=-7))), REFUSED, "ahead of this"),
    "older": (
        signed(consents_text(PUPIL, serial=3, issued_at=ago(minutes=1))),
        REFUSED,
        "serial 4 was accepted before",
    ),
    "another of the same serial": (signed(consents_text(OTHER, serial=4)), REFUSED, "another text was accepted"),
    "broken": (signed("schema = "), REFUSED, "is not TOML"),
    "holding a card": (signed(consents_text(CARD, serial=5)), REFUSED, "is not a handle"),
    "the policy": (signed(policy_text(serial=9)), REFUSED, "is the policy, not the consents"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_list_of_consents_closes_the_gate_for_those_who_must_consent(school, caplog, what):
    school.put(CONSENTS, consents_text(PUPIL, serial=4))
    documents = school.documents()
    text, reason, told = BAD[what]
    school.put(CONSENTS, text)
    documents.look()
    standing = documents.standings[CONSENTS]
    assert (standing.state(time.time_ns()), standing.reason) == (State.REFUSED, reason)
    assert told in standing.why
    assert str(school.paths[CONSENTS]) in standing.why
    assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is reason
    assert documents.in_force.policy is not None
    assert school.counters.get("privacy.document_refused.consents") == 1
    assert CARD not in caplog.text + str(documents.report())
    # It is said once, and mended by the next one in order.
    documents.look()
    assert caplog.text.count("what needs the consents is withheld") == 1
    school.put(CONSENTS, consents_text(PUPIL, serial=6))
    documents.look()
    assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is None


def test_a_bad_policy_closes_the_gate_for_everybody(school):
    documents = school.documents()
    school.put(POLICY, signed(policy_text(serial=2), STRANGER))
    documents.look()
    assert documents.in_force.policy is None
    assert documents.in_force.lacking[POLICY] is FORGED
    assert "policy refused: " in documents.closed(keys=True)


def test_an_older_document_is_refused_after_a_restart_too(school):
    first = consents_text(PUPIL, OTHER, serial=1)
    school.put(CONSENTS, first)
    school.documents()
    school.put(CONSENTS, consents_text(PUPIL, serial=2))
    school.documents()
    school.put(CONSENTS, first)
    documents = school.documents()
    assert documents.standings[CONSENTS].reason is REFUSED
    assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is REFUSED
    school.put(CONSENTS, consents_text(PUPIL, serial=3))
    assert school.states(school.documents()) == ["in_force"] * 3


def test_five_minutes_ahead_are_taken(school):
    school.put(CONSENTS, consents_text(PUPIL, issued_at=ago(minutes=-4)))
    assert school.states(school.documents()) == ["in_force"] * 3


def test_in_1970_nothing_is_believed_and_with_the_right_time_it_is(school):
    school.wrong_by_ns = 3600 * 10**9 - time.time_ns()
    documents = school.documents()
    assert school.states(documents) == ["refused"] * 3
    assert "ahead of this gateway's clock (1970-01-01 01:" in documents.standings[POLICY].why
    assert not school.state_file.exists()
    school.wrong_by_ns = 0
    documents.look()
    assert school.states(documents) == ["in_force"] * 3


def test_a_list_becomes_too_old_by_itself(school):
    school.put(CONSENTS, consents_text(PUPIL, issued_at=ago(hours=23.9)))
    documents = school.documents()
    assert school.states(documents)[1] == "in_force"
    later = time.time_ns() + 3600 * 10**9
    assert documents.in_force.consent("attendance", PUPIL, now_ns=later) is WithheldReason.CONSENTS_TOO_OLD
    assert documents.standings[CONSENTS].words(later).startswith("too old: serial 1, issued 25 h ago, believed until ")
    assert school.documents(consents_max_age_h=48).in_force.consent("attendance", PUPIL, now_ns=later) is None


@pytest.mark.parametrize(
    ("given_by", "under_14", "until", "reason"),
    [
        ("guardian", True, "2100-01-01T00:00:00Z", None),
        ("guardian", False, "2100-01-01T00:00:00Z", None),
        ("self", False, "2100-01-01T00:00:00Z", None),
        ("self", True, "2100-01-01T00:00:00Z", WithheldReason.NO_CONSENT),
        ("guardian", True, "2020-01-01T00:00:00Z", WithheldReason.CONSENT_EXPIRED),
    ],
)
def test_who_can_consent(school, given_by, under_14, until, reason):
    given = consent(PUPIL, given_by=given_by, under_14=under_14, until=until)
    school.put(CONSENTS, consents_text() + given)
    in_force = school.documents().in_force
    assert in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is reason
    assert in_force.consent("library", PUPIL, now_ns=time.time_ns()) is WithheldReason.NO_CONSENT


def test_who_is_on_a_list_no_more_has_withdrawn_until_it_is_purged(school):
    school.put(CONSENTS, consents_text(PUPIL, OTHER, serial=1))
    assert school.documents().withdrawn == {}
    school.put(CONSENTS, consents_text(OTHER, serial=2))  # while the agent was away
    documents = school.documents()
    assert documents.withdrawn == {"attendance": {PUPIL}}
    assert school.documents().withdrawn == {"attendance": {PUPIL}}
    school.put(CONSENTS, consents_text(serial=3))
    documents.look()
    assert documents.withdrawn == {"attendance": {PUPIL, OTHER}}
    asyncio.run(documents.purged({"attendance": frozenset({PUPIL}), "library": frozenset({OTHER})}))
    assert school.documents().withdrawn == {"attendance": {OTHER}}
    school.put(CONSENTS, consents_text(OTHER, serial=4))
    assert school.documents().withdrawn == {}


def test_a_consent_that_ended_before_the_list_was_issued_is_a_withdrawal_and_a_wrong_clock_makes_none(school):
    given = consents_text(PUPIL, serial=1) + consent(OTHER, until=ago(days=-30))
    school.put(CONSENTS, given)
    school.documents()
    school.wrong_by_ns = 3650 * 86400 * 10**9
    school.put(CONSENTS, given.replace("serial = 1", "serial = 2"))
    documents = school.documents(consents_max_age_h=24 * 365 * 20)
    assert documents.standings[CONSENTS].accepted is not None
    assert documents.withdrawn == {}
    school.put(CONSENTS, consents_text(PUPIL, serial=3) + consent(OTHER, until=ago(days=1)))
    documents.look()
    assert documents.withdrawn == {"attendance": {OTHER}}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema":"campus.accepted/9","site":"demo-school"}', b"\xff" * 9])
def test_a_damaged_memory_closes_the_gate_and_says_how_to_mend_it(school, damage):
    school.documents()
    school.state_file.write_bytes(damage)
    documents = school.documents()
    assert school.states(documents) == ["refused"] * 3
    assert str(school.state_file) in documents.standings[POLICY].why
    with pytest.raises(StateDamaged):
        load(school.state_file, site=SITE)
    school.state_file.unlink()
    assert school.states(school.documents()) == ["in_force"] * 3


def test_the_memory_of_another_site_counts_for_nothing(school):
    school.put(POLICY, policy_text(serial=9))
    school.documents()
    elsewhere = School(school.folder)
    elsewhere.put(POLICY, policy_text(serial=1, site="other"))
    assert elsewhere.states(elsewhere.documents(site="other"))[0] == "in_force"


def test_a_memory_that_cannot_be_written_keeps_nobody_from_withdrawing(school, monkeypatch, caplog):
    documents = school.documents()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(office_module.memory, "save", full)
        school.put(CONSENTS, consents_text(OTHER, serial=2))
        documents.look()
        documents.look()
        assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is WithheldReason.NO_CONSENT
        assert school.counters.get("privacy.state_unwritable") == 2
        assert caplog.text.count("cannot be written: No space left") == 1
    documents.look()
    assert load(school.state_file, site=SITE).documents["consents"].serial == 2


def test_peeking_writes_nothing(school):
    documents = school.documents(peek=True)
    assert school.states(documents) == ["in_force"] * 3
    assert not school.state_file.parent.exists()


def test_nothing_is_set(tmp_path):
    documents = Documents(
        site=SITE, trusted={}, paths={}, state_file=None, now_ns=time.time_ns, counters=(counters := Counters())
    )
    documents.look()
    assert [str(standing.state(0)) for standing in documents.standings.values()] == ["none"] * 3
    assert documents.closed(keys=True) == "policy none: no policy_file is set"
    assert counters.snapshot() == {}


def test_without_a_trusted_key_nothing_is_believed(school):
    documents = school.documents(trusted={})
    assert school.states(documents) == ["refused"] * 3
    assert "no key is trusted here" in documents.standings[POLICY].why


async def test_a_change_of_a_file_counts_within_a_second(school, monkeypatch):
    monkeypatch.setattr(office_module, "LOOK_EVERY_S", 0.02)
    documents, told = school.documents(), []
    documents.on_change.append(lambda: told.append(documents.withdrawn))
    async with running(documents.watch()):
        school.put(CONSENTS, consents_text(serial=2))
        await until(lambda: told == [{"attendance": {PUPIL}}])
        assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is WithheldReason.NO_CONSENT
        school.paths[CONSENTS].unlink()
        await until(lambda: school.states(documents)[1] == "none")
        school.wrong_by_ns = -400 * 86400 * 10**9
        await until(lambda: school.states(documents) == ["refused", "none", "refused"])
        reads = documents.in_force
        await asyncio.sleep(0.1)
        assert documents.in_force is reads  # unchanged: nothing is made anew


async def test_a_document_over_mqtt_is_verified_then_kept_and_in_force(school):
    documents, told = school.documents(), []
    documents.on_change.append(lambda: told.append(1))
    text = signed(consents_text(OTHER, serial=2))
    receipt = await documents.receive(text)
    assert (receipt.ok, receipt.kind, receipt.serial) == (True, CONSENTS, 2)
    assert receipt.text.startswith("in force: serial 2")
    assert school.paths[CONSENTS].read_bytes() == text
    assert stat.S_IMODE(school.paths[CONSENTS].stat().st_mode) == 0o600
    assert documents.in_force.consent("attendance", OTHER, now_ns=time.time_ns()) is None
    assert told == [1]
    again = await documents.receive(text)
    assert (again, told) == (receipt, [1])
    assert school.counters.get("privacy.documents_received") == 1


@pytest.mark.parametrize("what", [name for name in BAD if name != "the policy"])
async def test_a_bad_document_over_mqtt_changes_nothing(school, what):
    school.put(CONSENTS, consents_text(PUPIL, serial=4))
    documents = school.documents()
    before = (school.paths[CONSENTS].read_bytes(), school.state_file.read_bytes())
    text, _, told = BAD[what]
    receipt = await documents.receive(text)
    assert not receipt.ok
    assert told in receipt.text
    assert CARD not in receipt.text
    assert (school.paths[CONSENTS].read_bytes(), school.state_file.read_bytes()) == before
    assert documents.in_force.consent("attendance", PUPIL, now_ns=time.time_ns()) is None
    assert school.counters.get("privacy.commands_refused") == 1


async def test_a_document_for_which_there_is_no_place_is_refused_with_the_mend(school):
    documents = school.documents(paths=school.paths | {ROSTER: None, POLICY: school.folder / "privacy" / NAME / "x"})
    receipt = await documents.receive(signed(roster_text(serial=2)))
    assert (receipt.ok, receipt.kind) == (False, ROSTER)
    assert "no roster_file is set here → add it to [privacy]" in receipt.text
    receipt = await documents.receive(signed(policy_text(serial=2)))
    assert not receipt.ok
    assert "cannot be written" in receipt.text


async def test_with_a_clock_that_nobody_set_a_document_is_kept_for_later(school):
    school.wrong_by_ns, school.synced = -86400 * 10**9, False
    documents = school.documents()
    receipt = await documents.receive(signed(consents_text(OTHER, serial=2)))
    assert receipt.ok
    assert receipt.text.startswith("kept, to come into force when the clock is right; now refused: ")
    school.wrong_by_ns, school.synced = 0, True
    documents.look()
    assert documents.in_force.consent("attendance", OTHER, now_ns=time.time_ns()) is None


def test_words_say_the_age_as_people_do(school):
    now_ns = int(datetime.now(UTC).timestamp()) * 10**9
    for span, words in (({"minutes": 90}, "90 min"), ({"hours": 30}, "30 h"), ({"days": 10}, "10 days")):
        school.put(POLICY, policy_text(issued_at=ago(**span), serial=int(sum(span.values())) * 100))
        school.state_file.unlink(missing_ok=True)
        assert f"issued {words} ago" in school.documents().standings[POLICY].words(now_ns)
