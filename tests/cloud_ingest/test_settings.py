from __future__ import annotations

from pathlib import Path

import pytest

from cloud_ingest.addresses import parse_broker, parse_store, redacted
from cloud_ingest.durations import parse_duration
from cloud_ingest.settings import describe, load
from cloud_ingest.stores.opening import open_store
from telemetry.errors import ConfigError
from telemetry.sample import DataClass

GOOD = """
data = "/var/lib/campus-ingest"
[mqtt]
url = "mqtt://[::1]:1883"
[store]
url = "influx2://tok3n@db.example:8086/school/campus"
[store.routes]
personal = "sqlite:///var/lib/campus-ingest/person.sqlite"
[writer]
flush_s = 0.25
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ingest.toml"
    path.write_text(GOOD)
    return path


def problems_of(config: Path | None, flags: dict | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config, flags)
    assert "tok3n" not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_file_environment_and_flags_override_each_other(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPUS_INGEST_WRITER__FLUSH_VALUES", "77")
    monkeypatch.setenv("CAMPUS_INGEST_MQTT__URL", "mqtt://broker")
    monkeypatch.setenv("CAMPUS_INGEST_DATA", "/from/environment")
    settings = load(config, {"data": Path("/from/flag")})
    assert (settings.writer.flush_s, settings.writer.flush_values) == (0.25, 77)
    assert settings.mqtt.url == "mqtt://broker"
    assert settings.data == Path("/from/flag")
    assert settings.store.routes[DataClass.PERSONAL].endswith("person.sqlite")
    assert settings.mqtt.receive_maximum == 200


def test_flags_alone_are_enough() -> None:
    flags = {"mqtt": {"url": "mqtt://b"}, "store": {"url": "sqlite:///s"}, "data": Path("d")}
    assert load(None, flags).store.url == "sqlite:///s"


def test_all_problems_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'surprise = 1\n[mqtt]\nurl = "http://x"\nreceive_maximum = 0\n'
        '[store]\nurl = "influx2://tok3n@db"\n[store.routes]\npersnal = "sqlite:///x"\n'
    )
    monkeypatch.setenv("CAMPUS_INGEST_MQQT__URL", "x")
    problems = problems_of(path)
    for where in ("data", "surprise", "mqtt.url", "mqtt.receive_maximum", "store.url", "store.routes.persnal", "MQQT"):
        assert any(where in problem.split(":")[0] + problem.split(":")[1] for problem in problems), (where, problems)
    assert all(" → " in problem for problem in problems)


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in problems_of(tmp_path / "none.toml")[0]
    (tmp_path / "bad.toml").write_text("= 1")
    assert "is not TOML" in problems_of(tmp_path / "bad.toml")[0]


def test_files_and_their_companions_are_checked(config: Path, tmp_path: Path) -> None:
    flags = {"mqtt": {"password_file": tmp_path / "none", "key_file": config}}
    problems = problems_of(config, flags)
    assert any("is not a readable file" in problem for problem in problems)
    assert any("add username" in problem for problem in problems)
    assert any("add cert_file" in problem for problem in problems)


def test_secrets_are_in_no_text(config: Path) -> None:
    settings = load(config)
    assert "tok3n" not in repr(settings)
    assert "tok3n" not in describe(settings)
    assert "tok3n" not in repr(open_store(settings.store.url))
    assert redacted("influx1://u:p@ss@[::1]:8086/db?password_file=x") == "influx1://[::1]:8086/db"
    assert redacted("nonsense") == "(not a URL)"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://[::1]:2883", ("::1", 2883, False)),
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtts://10.0.0.1/", ("10.0.0.1", 8883, True)),
    ],
)
def test_broker_urls(url: str, parts: tuple) -> None:
    address = parse_broker(url)
    assert (address.host, address.port, address.tls) == parts


@pytest.mark.parametrize(
    "url", ["tcp://x", "mqtt://", "mqtt://u:tok3n@x", "mqtt://x/path", "mqtt://x:99999", "mqtt://[::1"]
)
def test_wrong_broker_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_broker(url)
    assert "tok3n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "path", "user", "secret"),
    [
        ("sqlite:///var/lib/a%20b.sqlite", "", ("/var/lib/a b.sqlite",), "", ""),
        ("influx1://[::1]:9086/db", "http://[::1]:9086", ("db",), "", ""),
        ("influx1s://u:p%40:w@host/db", "https://host:8086", ("db",), "u", "p@:w"),
        ("influx2://a==%2F@host/o%20o/b", "http://host:8086", ("o o", "b"), "", "a==/"),
        ("influx2://a+b-_==@host/me@x.org/b", "http://host:8086", ("me@x.org", "b"), "", "a+b-_=="),
        ("influx2s://a:b@host:1/o/b", "https://host:1", ("o", "b"), "", "a:b"),
        ("victoriametrics://[::1]/", "http://[::1]:8428", (), "", ""),
        ("victoriametricss://u:p%2F@host:1", "https://host:1", (), "u", "p/"),
    ],
)
def test_store_urls(url: str, base: str, path: tuple, user: str, secret: str) -> None:
    address = parse_store(url)
    assert (address.base, address.path, address.user, address.secret) == (base, path, user, secret)
    assert not secret or secret not in address.name + repr(address)


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-file\n")
    addresses = [
        parse_store(f"influx2://h/o/b?token_file={secret}"),
        parse_store(f"influx1://u@h/d?password_file={secret}"),
    ]
    assert {address.secret for address in addresses} == {"from-file"}
    secret.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        parse_store(f"influx2://h/o/b?token_file={secret}")
    with pytest.raises(ValueError, match="cannot be read"):
        parse_store("influx2://h/o/b?token_file=/nowhere")
    with pytest.raises(ValueError, match="unknown options tken_file"):
        parse_store("influx2://h/o/b?tken_file=/nowhere")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x",
        "influx1://h",
        "influx1://h/a/b",
        "influx2://tok3n@h/o",
        "influx2://h/o/b",
        "postgres://u:tok3n@h/d",
        "influx2://tok3n@h:x/o/b",
        "influx2://a/tok3n==@h:8086/o/b",
        "influx1://u:tok3n/x@h:8086/d",
        "influx2://tok3n%0A@h/o/b",
        "victoriametrics://u:tok3n@h/vm",
        "victoriametrics://",
    ],
)
def test_wrong_store_urls(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "tok3n" not in str(caught.value)


def test_durations() -> None:
    assert [parse_duration(text) for text in ("500ms", "90s", "1.5h", "7d")] == [
        500_000_000,
        90_000_000_000,
        5_400_000_000_000,
        604_800_000_000_000,
    ]
    for text in ("", "1", "h", "-1h", "0s", "1y"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)
