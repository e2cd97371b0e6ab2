"""The fuzz itself: a decoder that is wrong in one place is found by the short run."""

import pytest

from drivers.ble_heart_rate import frame as band_frame
from drivers.camera_people import record
from drivers.camera_people.worker import multipart
from drivers.modbus import frame as modbus_frame
from drivers.rdm6300.frame import FrameDecoder
from tests.drivers.fuzz import test_drivers, test_streams
from tests.drivers.fuzz.watch import SHORT


def no_sum(_self, body):
    return body[:10].decode("ascii", "replace")


@pytest.mark.parametrize(
    ("where", "name", "wrong", "run"),
    [
        (modbus_frame, "crc16", lambda data: int.from_bytes(data[-2:], "little"), test_drivers.test_modbus_rtu),
        (modbus_frame, "tcp_transaction", lambda _header: 1, test_drivers.test_modbus_tcp),
        (FrameDecoder, "_card", no_sum, test_streams.test_rdm6300),
        (band_frame, "_RESERVED", 0, test_streams.test_heart_rate),
        (record, "FULL_BRIGHTNESS", 20_000, test_streams.test_camera_record),
        (multipart, "_BLANK", multipart.re.compile(rb"\r\n\r\n"), test_streams.test_multipart),
    ],
    ids=["crc", "transaction", "xor", "flags", "brightness", "blank"],
)
def test_a_wrong_decoder_is_found(monkeypatch, where, name, wrong, run):
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises(AssertionError):
        run(SHORT)
