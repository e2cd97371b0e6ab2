"""Known bytes of the Heart Rate Service and of the Mi Band's broadcast; garbage never becomes a wrong value."""

import pytest
from bumble.core import BaseBumbleError
from bumble.profiles.heart_rate_service import HeartRateService
from hypothesis import given
from hypothesis import strategies as st

from drivers.ble_heart_rate.frame import (
    Reading,
    decode_battery,
    decode_measurement,
    decode_mi_band,
    decode_with_id,
)
from telemetry.errors import ProtocolError
from telemetry.sample import Reason

Measurement = HeartRateService.HeartRateMeasurement
MI_ID = "C40000A1B2C3"


def mi_payload(rate: int) -> bytes:
    # Rate and id stand where published decoders read them; the bytes between are made up.
    return bytes.fromhex(f"02010d{rate:02x}ffffffffffffffffffffffffffff") + bytes.fromhex(MI_ID)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("0048", {"heart_rate": 72}),
        ("014800", {"heart_rate": 72}),
        ("012c01", {"heart_rate": 300}),
        ("0648", {"heart_rate": 72}),
        ("0848e803", {"heart_rate": 72, "energy": 1000 / 3600}),
        ("10480004", {"heart_rate": 72, "rr_interval": 1.0}),
        ("104800040003", {"heart_rate": 72, "rr_interval": 0.75}),
        ("1f9600640000040002", {"heart_rate": 150, "energy": 100 / 3600, "rr_interval": 0.5}),
    ],
)
def test_golden_measurements(data, values):
    assert decode_measurement(bytes.fromhex(data)) == Reading(values=values)


@pytest.mark.parametrize("data", ["0448", "04480000"[:4], "0400"])
def test_without_skin_contact_there_is_no_rate(data):
    assert decode_measurement(bytes.fromhex(data)) == Reading(bad={"heart_rate": Reason.SENSOR_FAULT})


def test_without_contact_the_interval_is_bad_too_and_the_energy_is_not():
    reading = decode_measurement(bytes.fromhex("1c48e8030004"))
    assert reading.bad == {"heart_rate": Reason.SENSOR_FAULT, "rr_interval": Reason.SENSOR_FAULT}
    assert reading.values == {"energy": 1000 / 3600}


@pytest.mark.parametrize(
    "data", ["", "00", "01", "0148", "0048ff", "0848e8", "1048", "104800", "2048", "804800", "ff48"]
)
def test_what_is_not_as_long_as_its_flags_say_is_no_measurement(data):
    with pytest.raises(ProtocolError):
        decode_measurement(bytes.fromhex(data))


@given(st.binary(max_size=24))
def test_whatever_comes_is_refused_or_read_as_a_second_implementation_reads_it(data):
    try:
        reading = decode_measurement(data)
    except ProtocolError:
        return
    try:
        other = Measurement.from_bytes(data)
    except BaseBumbleError:  # refuses intervals that are all right
        pytest.fail("the other decoder refuses it")
    assert not reading.values.keys() & reading.bad.keys()
    if other.sensor_contact_detected is not False and other.heart_rate:
        assert reading.values["heart_rate"] == other.heart_rate
    else:
        assert "heart_rate" not in reading.values
    if other.energy_expended is not None:
        assert round(reading.values["energy"] * 3600) == other.energy_expended
    if "rr_interval" in reading.values:
        assert reading.values["rr_interval"] == other.rr_intervals[-1]


@given(
    st.integers(1, 0xFFFF),
    st.none() | st.booleans(),
    st.none() | st.integers(0, 0xFFFF),
    st.none() | st.lists(st.integers(0, 0xFFFF).map(lambda raw: raw / 1024), min_size=1, max_size=4),
    st.binary(min_size=6, max_size=6).filter(lambda text: len(set(text)) > 1),
)
def test_what_a_second_implementation_sends_is_read(rate, contact, energy, intervals, band):
    sent = bytes(Measurement(rate, contact, energy, intervals))
    name, reading = decode_with_id(sent + band, id_bytes=6)
    assert name == band.hex().upper()
    assert reading == decode_measurement(sent)
    assert reading.values.get("heart_rate") == (None if contact is False else rate)


def test_golden_mi_band():
    assert len(mi_payload(96)) == 24
    assert decode_mi_band(mi_payload(96)) == (MI_ID, Reading(values={"heart_rate": 96.0}))


@pytest.mark.parametrize("rate", [0x00, 0xFF])
def test_a_mi_band_that_measures_nothing_has_no_rate(rate):
    assert decode_mi_band(mi_payload(rate)) == (MI_ID, Reading(bad={"heart_rate": Reason.SENSOR_FAULT}))


@given(st.binary(max_size=40))
def test_other_data_of_the_same_company_is_refused(data):
    try:
        band, reading = decode_mi_band(data)
    except ProtocolError:
        assert len(data) != 24 or data[-6:] in (bytes(6), b"\xff" * 6)
        return
    assert band == data[18:].hex().upper()
    assert reading.values.get("heart_rate", data[3]) == data[3]
    assert reading.values or data[3] in (0, 0xFF)


@pytest.mark.parametrize("band", [bytes(6), b"\xff" * 6])
def test_an_empty_id_is_nobodys(band):
    with pytest.raises(ProtocolError):
        decode_with_id(b"\x00\x48" + band, id_bytes=6)


@given(st.binary(max_size=3))
def test_battery(data):
    if len(data) == 1 and data[0] <= 100:
        assert decode_battery(data) == Reading(values={"battery": data[0]})
    else:
        with pytest.raises(ProtocolError):
            decode_battery(data)
