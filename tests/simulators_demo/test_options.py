from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulators.demo.options import DemoOptions, broker_url, redacted
from simulators.demo.sabotage import Sabotage
from telemetry.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///var/lib/store.sqlite", "sqlite:///var/lib/store.sqlite"),
        ("influx1://me:secret@[::1]:8086/db", "influx1://***@[::1]:8086/db"),
        ("influx1://[::1]:8086/db", "influx1://[::1]:8086/db"),
        ("influx2://to:k@n@host:8086/org/bucket", "influx2://***@host:8086/org/bucket"),
    ],
)
def test_a_store_is_shown_without_its_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("url", "address"),
    [("mqtt://[::1]:1884", ("::1", 1884)), ("mqtt://localhost", ("localhost", 1883)), (None, None)],
)
def test_the_broker_is_found_in_the_url(url: str | None, address: tuple[str, int] | None) -> None:
    assert DemoOptions(data=Path("x"), mqtt=url).broker_address() == address


@pytest.mark.parametrize("url", ["mqtts://h", "h:1883", "mqtt://me:pw@h", "mqtt://h:99999", "mqtt://h/x"])
def test_another_url_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match="mqtt://"):
        DemoOptions(data=Path("x"), mqtt=url).check()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scenario": "war"}, "classroom, school"),
        ({"scenario": "classroom", "vitals": False}, "--no-vitals"),
        ({"scenario": "classroom", "sabotage": Sabotage.LEAK_BAND}, "leak-band"),
    ],
)
def test_what_the_scene_does_not_have_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        DemoOptions(data=Path("x"), **wrong).check()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"3\.1\.1"):
        DemoOptions(data=Path("x"), protocol="4").check()


def test_ipv6_stands_in_brackets() -> None:
    assert broker_url("::1", 1) == "mqtt://[::1]:1"
    assert broker_url("127.0.0.1", 1) == "mqtt://127.0.0.1:1"
