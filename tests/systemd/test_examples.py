"""What the samples promise: systemd/examples and each driver's sample.toml pass the real loaders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloud_ingest.settings import load
from edge_agent.configuration import load_configuration
from edge_agent.registry import DRIVERS
from telemetry.sample import DataClass
from tests.edge_agent.privacy.files import public_line

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "systemd" / "examples"
SAMPLES = sorted((ROOT / "drivers").glob("*/sample.toml"))
ALONE = """
site = "s"
gateway = "g"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "buffer"
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CAMPUS_"):
            monkeypatch.delenv(name)


def test_agent_toml() -> None:
    found = load_configuration(EXAMPLES / "agent.toml")
    assert found.settings.mqtt.tls
    assert len(found.devices) == len(found.settings.devices) == len(found.settings.links) == 3
    assert found.keys is None


def test_agent_toml_says_what_privacy_takes(tmp_path: Path) -> None:
    text = (EXAMPLES / "agent.toml").read_text(encoding="utf-8")
    officer = tmp_path / "officer.pub"
    officer.write_text(public_line(), encoding="utf-8")
    for key in ("[privacy]", "trusted_keys", "policy_file", "consents_file", "roster_file", "consents_max_age_h"):
        assert f"# {key}" in text
        text = text.replace(f"# {key}", key)
    path = tmp_path / "agent.toml"
    path.write_text(text.replace("/etc/campus-edge/officer.pub", str(officer)), encoding="utf-8")
    found = load_configuration(path)
    assert found.settings.privacy.consents_file == Path("/var/lib/campus-edge/documents/consents.toml")
    assert len(found.trusted) == 1


def test_ingest_toml(tmp_path: Path) -> None:
    text = (EXAMPLES / "ingest.toml").read_text(encoding="utf-8")
    # systemd puts this file there only when the service runs; the loader asks for it.
    credential = "/run/credentials/campus-cloud-ingest.service/secret_mqtt-password"
    authorities = "/etc/ssl/certs/ca-certificates.crt"
    for named in (credential, authorities):
        assert text.count(named) == 1
        (tmp_path / Path(named).name).write_text("x", encoding="utf-8")
        text = text.replace(named, str(tmp_path / Path(named).name))
    path = tmp_path / "ingest.toml"
    path.write_text(text, encoding="utf-8")
    found = load(path)
    assert found.mqtt.url.startswith("mqtts://")
    assert set(found.store.routes) == {DataClass.PERSONAL}


def test_every_driver_has_a_sample() -> None:
    assert {f"drivers.{sample.parent.name}" for sample in SAMPLES} == set(DRIVERS.values())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.parent.name)
def test_drivers_sample(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(ALONE + sample.read_text(encoding="utf-8"), encoding="utf-8")
    drivers = {DRIVERS[device.profile.driver] for device in load_configuration(path).devices.values()}
    assert drivers == {f"drivers.{sample.parent.name}"}
