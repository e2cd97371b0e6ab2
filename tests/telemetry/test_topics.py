"""Topics: what is built is parsed back, what is not ours gives none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.sample import DataClass
from telemetry.topics import NAME, Channel, Flow, Topic, all_telemetry, gateway_topic, parse_topic, telemetry_topic

names = st.from_regex(NAME, fullmatch=True)
plain_channels = st.sampled_from([channel for channel in Channel if channel is not Channel.TELEMETRY])


def matches(subscription: str, topic: str) -> bool:
    """MQTT's own rule, for `+` and a last `#`."""
    pattern = re.escape(subscription).replace(r"\+", "[^/]+").replace(r"/\#", "(/.*)?")
    return re.fullmatch(pattern, topic) is not None


@given(names, names, plain_channels)
def test_a_gateways_topic_is_parsed_back(site, gateway, channel):
    topic = gateway_topic(site, gateway, channel)
    assert parse_topic(topic) == Topic(site=site, gateway=gateway, channel=channel)
    assert matches(gateway_topic("+", "+", channel), topic)


@given(names, names, st.sampled_from(DataClass), st.sampled_from(Flow))
def test_a_telemetry_topic_is_parsed_back_and_subscribed(site, gateway, data_class, flow):
    topic = telemetry_topic(site, gateway, data_class, flow)
    parsed = parse_topic(topic)
    assert parsed == Topic(site=site, gateway=gateway, channel=Channel.TELEMETRY, data_class=data_class, flow=flow)
    assert matches(all_telemetry(), topic)
    assert all_telemetry("workers") == f"$share/workers/{all_telemetry()}"


@given(
    st.lists(st.sampled_from(["campus", "v1", "s", "g", "telemetry", "open", "live", "status", "", "+", "#", "x y"]))
)
def test_a_parsed_topic_is_exactly_what_would_be_built(levels):
    topic = "/".join(levels)
    parsed = parse_topic(topic)
    if parsed is None:
        return
    if parsed.channel is Channel.TELEMETRY:
        assert telemetry_topic(parsed.site, parsed.gateway, parsed.data_class, parsed.flow) == topic
    else:
        assert gateway_topic(parsed.site, parsed.gateway, parsed.channel) == topic


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_none(text):
    assert parse_topic(text) is None or text.startswith("campus/v1/")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "campus/v1/s/g",
        "campus/v2/s/g/status",
        "/campus/v1/s/g/status",
        "campus/v1/s/g/status/",
        "campus/v1/s/g/status/more",
        "campus/v1/s/g/bogus",
        "campus/v1//g/status",
        "campus/v1/+/g/status",
        "campus/v1/../g/status",
        "campus/v1/s\n/g/status",
        f"campus/v1/{'s' * 64}/g/status",
        "campus/v1/s/g/telemetry",
        "campus/v1/s/g/telemetry/open",
        "campus/v1/s/g/telemetry/open/later",
        "campus/v1/s/g/telemetry/secret/live",
        "campus/v1/s/g/telemetry/open/live/x",
        "campus/v1/学校/g/status",
    ],
)
def test_hostile_topics_give_none(topic):
    assert parse_topic(topic) is None
