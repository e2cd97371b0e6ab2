"""A Subject never prints its identifier, whoever prints it; quantities and reasons are one table each."""

import logging
import pickle
import pprint
import traceback

import msgspec
import pytest
from rich.pretty import pretty_repr

from telemetry.quantities import QUANTITIES, Kind
from telemetry.sample import PERSON_CLASSES, Admitted, Durability, Quality, Sample, Subject, WithheldReason

CARD = "0A0012ABCD"
SUBJECT = Subject(kind="card", identifier=CARD)
SAMPLE = Sample(device="gate", acquired_at_ns=1, values={"presence": True}, subject=SUBJECT)


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r:>80}".format, "%s".__mod__, "%r".__mod__, pprint.pformat, pretty_repr],
    ids=["repr", "str", "format", "format-r", "percent-s", "percent-r", "pprint", "rich"],
)
def test_a_subject_never_prints_its_identifier(show):
    for shown in (show(SUBJECT), show(SAMPLE), show([SAMPLE]), show({"sample": SAMPLE})):
        assert CARD not in shown
        assert "card" in shown


def test_nor_does_an_error_about_it_or_a_log_line(caplog):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"kind": "card", "identifier": CARD, "device": 1}, Sample)
    assert CARD not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(AttributeError) as refused:
        SUBJECT.identifier = "other"
    assert CARD not in "".join(traceback.format_exception(refused.value))
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("seen: %s %r", SUBJECT, SAMPLE)
    assert CARD not in caplog.text
    assert "<hidden>" in caplog.text


def test_an_admitted_sample_has_no_place_for_a_subject():
    assert "subject" not in Admitted.__struct_fields__
    assert b"0A0012ABCD" in pickle.dumps(SUBJECT)  # it hides in print only; what must not leave is the gate's business


def test_quantities_are_keyed_by_their_name_and_numbers_have_a_unit():
    for name, quantity in QUANTITIES.items():
        assert quantity.name == name
        assert (quantity.kind is Kind.FLOAT) == bool(quantity.unit)


def test_what_is_about_persons_is_what_needs_a_subject():
    assert {str(data_class) for data_class in PERSON_CLASSES} == {"personal", "sensitive"}
    assert len({str(reason) for reason in WithheldReason}) == len(WithheldReason)
    assert (str(Quality.GOOD), str(Durability.EVENT)) == ("good", "event")
