from __future__ import annotations

import gzip
import zlib

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud_ingest.decode import Accepted, Identity, Rejected, decode
from cloud_ingest.rows import RowMaker, TimeWindow
from telemetry.batch import MAX_PLAIN_BYTES, encode_batch
from telemetry.counters import Counters
from telemetry.sample import DataClass, Quality, Reason
from tests.cloud_ingest.gateway import (
    EPOCH,
    GATEWAY,
    HANDLE,
    NOW,
    SITE,
    attendance,
    batch,
    block,
    payload_of,
    sample,
    topic_of,
)

DAY = 86_400 * 10**9
IDENTITY = Identity(site=SITE, gateway=GATEWAY, epoch=EPOCH, number=1)


def maker() -> RowMaker:
    return RowMaker(window=TimeWindow(), now_ns=lambda: NOW)


def accepted(one) -> Accepted:
    decoded = decode(topic_of(one), payload_of(one), maker())
    assert isinstance(decoded, Accepted)
    return decoded


def reason_of(one) -> str:
    decoded = accepted(one)
    assert not decoded.rows
    return decoded.refused[0]


def test_a_good_sample_becomes_one_row() -> None:
    decoded = accepted(batch())
    assert decoded.identity == IDENTITY
    assert not decoded.refused
    (row,) = decoded.rows
    assert row.series.measurement == "environment"
    assert row.series.tags == (("device", "r101-air"), ("room", "r101"), ("site", SITE))
    assert row.fields == {"temperature": 21.5, "humidity": 40.25, "co2": 612.0}


def test_bad_points_quality_and_simulation_are_fields() -> None:
    one = sample(values={"temperature": 5}, bad={"co2": Reason.TIMEOUT}, quality=Quality.SUSPECT)
    (row,) = accepted(batch(blocks=[block([one])], simulated=True)).rows
    assert row.fields == {"temperature": 5.0, "co2_bad": "timeout", "quality": "suspect", "simulated": True}
    assert type(row.fields["temperature"]) is float
    (plain,) = accepted(batch(simulated=True)).rows
    assert plain.fields["simulated"] is True


def test_pain_20_person_data_carry_the_handle_and_no_other_name_as_a_tag() -> None:
    (row,) = accepted(attendance()).rows
    assert dict(row.series.tags) == {"site": SITE, "room": "r101", "device": "r101-door", "subject": HANDLE}
    assert row.fields == {"presence": True}


def test_gateway_rows_carry_the_gateway_instead_of_a_room() -> None:
    own = block(
        [sample(values={"memory": 1.0})], device=GATEWAY, measurement="gateway", quantities={"memory": "memory"}
    )
    (row,) = accepted(batch(blocks=[own], data_class=DataClass.OPS)).rows
    assert dict(row.series.tags) == {"site": SITE, "gateway": GATEWAY, "device": GATEWAY}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (block([sample(values={})]), "neither values nor reasons"),
        (block([sample(NOW - 40 * 365 * DAY)]), "before the believable window"),
        (block([sample(-1, quality=Quality.CLOCK_UNCERTAIN)]), "before the believable window"),
        (block([sample(NOW + DAY + 1)]), "in the future"),
        (block([sample(subject=HANDLE)]), "not allowed in this class"),
        (block([sample(values={"pm2_5": 1.0})]), "has no quantity"),
        (block([sample(bad={"noise": Reason.STALE})]), "has no quantity"),
        (block([sample(values={"co2": True})]), "must be float, not bool"),
        (block([sample(values={"co2": "high"})]), "must be float, not str"),
        (block([sample(values={"co2": 1.0}, bad={"co2": Reason.STALE})]), "a value and a reason"),
        (block([sample()], measurement="weather"), "measurement 'weather' is not known"),
        (block([sample()], device="a b"), "device name"),
        (block([sample()], room="r/1"), "room name"),
        (block([sample()], quantities={"co2": "magic"}), "quantity 'magic'"),
        (block([sample()], quantities={"room": "co2"}), "point name 'room'"),
        (block([sample()], quantities={"co2_bad": "state"}), "point name 'co2_bad'"),
        (block([sample()], quantities={"CO2": "co2"}), "point name 'CO2'"),
        (block([sample(values={"s": "x" * 1025})], quantities={"s": "state"}), "text over"),
        (block([sample(values={"s": "a\0b"})], quantities={"s": "state"}), "NUL"),
    ],
)
def test_a_bad_sample_is_refused_with_its_reason(one, reason: str) -> None:
    assert reason in reason_of(batch(blocks=[one]))


def test_a_subject_must_be_a_handle() -> None:
    one = attendance(handle="Zhang San")
    assert reason_of(one) == "subject is not a handle of 32 hex digits"


def test_an_uncertain_clock_may_say_1970() -> None:
    assert accepted(batch(blocks=[block([sample(1, quality=Quality.CLOCK_UNCERTAIN)])])).rows


def test_one_bad_sample_or_device_does_not_stop_the_rest() -> None:
    blocks = [
        block([sample(NOW), sample(NOW + 1, {"co2": True}), sample(NOW + 2)]),
        block([sample(NOW), sample(NOW + 1)], measurement="weather"),
        block([sample(NOW)], device="other"),
    ]
    decoded = accepted(batch(blocks=blocks))
    assert [row.sample for row in decoded.rows] == [0, 2, 5]
    assert sorted(decoded.refused) == [1, 3, 4]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"site": "elsewhere"}, "site in the batch is not the site in the topic"),
        ({"gateway": "gw-666"}, "gateway in the batch is not the gateway in the topic"),
        ({"data_class": DataClass.PERSONAL}, "class in the batch is not the class in the topic"),
    ],
)
def test_the_topic_must_agree_with_the_batch(changes, reason: str) -> None:
    decoded = decode(topic_of(batch()), payload_of(batch(**changes)), maker())
    assert isinstance(decoded, Rejected)
    assert decoded.reason == reason
    assert decoded.identity == IDENTITY


@pytest.mark.parametrize("changes", [{"epoch": "xyz"}, {"number": -1}, {"number": 10**18}])
def test_a_malformed_identity_is_not_answered(changes) -> None:
    plain = msgspec.json.decode(encode_batch(batch()))
    plain.update({"batch" if key == "number" else key: value for key, value in changes.items()})
    decoded = decode(topic_of(batch()), msgspec.json.encode(plain), maker())
    assert isinstance(decoded, Rejected)
    assert decoded.identity is None


def test_poison_is_named_as_far_as_it_can_be() -> None:
    cut = encode_batch(batch())[:-20]
    assert decode(topic_of(batch()), cut, maker()).identity == IDENTITY
    assert decode(topic_of(batch()), gzip.compress(cut), maker()).identity == IDENTITY
    assert decode(topic_of(batch()), b"\x1f\x8bnot gzip", maker()).identity is None
    assert decode("some/topic", cut, maker()).reason == "topic is not a telemetry topic"
    later = encode_batch(batch()).replace(b"campus.batch/1", b"campus.batch/2")
    decoded = decode(topic_of(batch()), later, maker())
    assert decoded.identity == IDENTITY
    assert "campus.batch/2" in decoded.reason


def test_a_bomb_is_not_inflated() -> None:
    head = encode_batch(batch())[:-2]
    squeezer = zlib.compressobj(9, wbits=31)
    bomb = squeezer.compress(head)
    for _ in range(64):
        bomb += squeezer.compress(b" " * (1 << 20))
    decoded = decode(topic_of(batch()), bomb + squeezer.flush(), maker())
    assert "inflates to more than the limit" in decoded.reason
    assert decoded.identity == IDENTITY


def test_an_oversized_message_is_refused_by_name() -> None:
    decoded = decode(topic_of(batch()), encode_batch(batch()) + b" " * MAX_PLAIN_BYTES, maker())
    assert "over the limit" in decoded.reason
    assert decoded.identity == IDENTITY


def test_deep_nesting_is_refused() -> None:
    plain = encode_batch(batch())[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert isinstance(decode(topic_of(batch()), plain, maker()), Rejected)


GOOD = encode_batch(
    batch(
        blocks=[
            block([sample(), sample(values={"co2": 0.1}, bad={"humidity": Reason.STALE})]),
            block([sample(values={"presence": True})], quantities={"presence": "presence"}),
        ]
    )
)


@settings(max_examples=400)
@given(st.data())
def test_mutated_bytes_never_crash_and_never_make_a_wrong_row(data) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "swap"]))
        if action == "flip":
            mutated[at] ^= 1 << data.draw(st.integers(0, 7))
        elif action == "cut":
            del mutated[at : at + data.draw(st.integers(1, 30))]
        elif action == "insert":
            mutated[at:at] = data.draw(
                st.sampled_from([b"1e999", b"NaN", b"null", b"-1", b'"', b"}", b"9" * 400, b"\xff"])
            )
        else:
            mutated[at : at + 5] = mutated[at : at + 5][::-1]
        if not mutated:
            break
    payload = bytes(mutated)
    decoded = decode(topic_of(batch()), gzip.compress(payload) if data.draw(st.booleans()) else payload, maker())
    if isinstance(decoded, Rejected):
        assert decoded.reason
        return
    # Each row must be what an independent reading of the same JSON says.
    document = msgspec.json.decode(payload.decode(errors="replace"))  # an ignored field may hold what is no UTF-8
    assert (document["site"], document["gateway"], document["class"]) == (SITE, GATEWAY, "open")
    samples = [(one, each) for one in document["devices"] for each in one["samples"]]
    assert len(samples) == len(decoded.rows) + len(decoded.refused)
    for row in decoded.rows:
        one, each = samples[row.sample]
        assert row.time_ns == each["acquired_at_ns"]
        assert dict(row.series.tags) == {"site": SITE, "room": one["room"], "device": one["device"]}
        expected = {**each.get("values", {}), **{f"{name}_bad": why for name, why in each.get("bad", {}).items()}}
        if each.get("quality", "good") != "good":
            expected["quality"] = each["quality"]
        if document.get("simulated"):
            expected["simulated"] = True
        assert row.fields == expected


@given(st.binary(max_size=300), st.text(max_size=60))
@example(b"", "")
@example(b"\x1f\x8b", "campus/v1/a/b/telemetry/open/live")
@example(b"{}", "campus/v1/a/b/telemetry/open/live")
def test_any_bytes_on_any_topic_are_answered(payload: bytes, topic: str) -> None:
    assert isinstance(decode(topic, payload, maker()), Rejected)


def test_memory_of_devices_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.rows._CACHE_SIZE", 3)
    one = maker()
    for number in range(10):
        built = batch(blocks=[block([sample()], device=f"d{number}")])
        (row,), refused = one.rows(built)
        assert not refused
        assert dict(row.series.tags)["device"] == f"d{number}"
        (row,), _ = one.rows(attendance(handle=f"{number:032x}"))
        assert dict(row.series.tags)["subject"] == f"{number:032x}"
    assert len(one._plans) <= 3
    assert len(one._subjects) <= 3


def test_a_device_name_used_by_two_gateways_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    one = RowMaker(now_ns=lambda: NOW, counters=counters)
    for _ in range(3):
        for gateway in (GATEWAY, "gw-102"):
            one.rows(batch(gateway=gateway))
    own = block([sample(values={"memory": 1.0})], measurement="gateway", quantities={"memory": "memory"})
    for gateway in (GATEWAY, "gw-102"):
        one.rows(batch(gateway=gateway, blocks=[own], data_class=DataClass.OPS))
    assert counters.get("intake.shared_series") == 1
    assert "r101-air" in caplog.text
    assert "gw-102" in caplog.text
