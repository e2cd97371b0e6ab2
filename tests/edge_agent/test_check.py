"""`edge-agent check`, as a person runs it; and what the programs never import."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge_agent.privacy.files import (
    STRANGER,
    ago,
    consents_text,
    handle,
    policy_text,
    signed,
    write_documents,
    write_keys,
)
from tests.edge_agent.test_settings import GOOD, device

PROGRAM = Path(sys.executable).with_name("edge-agent")
ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CAMPUS_EDGE_")}
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=plain | environment,
    )


@pytest.fixture
def broker():
    """Something that answers; `check` only connects."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        return listener.getsockname()[1]


def write(folder: Path, text: str, port: int = 1883) -> Path:
    path = folder / "agent.toml"
    path.write_text(text.replace("{folder}", str(folder)).replace("[::1]:1883", f"[::1]:{port}"), encoding="utf-8")
    return path


def test_a_good_configuration_is_ok_and_says_what_to_know(tmp_path, broker):
    done = run("check", "--config", write(tmp_path, GOOD, broker), CAMPUS_EDGE_CLOCK__ASSUME_SYNCED="true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0 errors, 3 warnings"
    lines = done.stderr.splitlines()
    assert all(line.startswith("warning: ") and " → " in line for line in lines)
    assert lines[0].startswith("warning: [[link]] bus-1: path: /dev/serial/by-id/x is not there → plug it in")
    assert [line.split(": ")[1] for line in lines[1:]] == ["privacy.key_file", "privacy.policy_file"]


def test_a_clock_that_is_not_synchronised_is_told(tmp_path, broker):
    path = write(tmp_path, GOOD, broker)
    texts = [run("check", "-c", path, CAMPUS_EDGE_CLOCK__ASSUME_SYNCED=value).stderr for value in ("true", "false")]
    from edge_agent.clock import Clock

    assert ["clock: is not synchronised" in text for text in texts] == [False, not Clock().synced()]


def test_an_unreachable_broker_is_one_error_and_exit_1(tmp_path, closed_port):
    done = run("check", "--config", write(tmp_path, GOOD, closed_port))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: mqtt.url: ::1 port {closed_port} does not answer: ")
    assert errors[0].endswith("→ check the address, the network and the broker")


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_is_none_is_an_error_not_a_crash(tmp_path, host):
    done = run("check", "-c", write(tmp_path, GOOD.replace("[::1]:1883", host)))
    assert done.returncode == 1
    assert "error: mqtt.url: " in done.stderr
    assert "Traceback" not in done.stderr


def test_files_and_folders_that_cannot_be_used_are_errors(tmp_path, broker):
    (tmp_path / "buffer").write_text("a file")
    mqtt = 'url = "mqtt://[::1]:1883"\nusername = "gw"\npassword_file = "/absent/password"'
    done = run("check", "-c", write(tmp_path, GOOD.replace('url = "mqtt://[::1]:1883"', mqtt), broker))
    assert done.returncode == 1
    assert "error: mqtt.password_file: /absent/password cannot be read → create it" in done.stderr
    assert f"error: buffer.path: {tmp_path}/buffer cannot be written" in done.stderr


def test_every_problem_at_once_and_exit_78(tmp_path):
    text = (
        GOOD.replace("mqtt://", "mqtt://gw:geheim@").replace('gateway = "gw-101"', 'gateway = "+"')
        + device("x", link="bus-9")
        + device("y", profile="modbus/bogus")
        + device("z", more='options = { unit = "one" }')
    )
    done = run("check", "--config", write(tmp_path, text))
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") and " → " in line for line in lines)
    for place in ("mqtt: url must not hold credentials", "gateway: ", "x: link: ", "y: profile: ", "z: options.unit: "):
        assert place in done.stderr
    assert done.stdout.strip() == f"{len(lines)} errors, 0 warnings"
    assert "geheim" not in done.stderr + done.stdout


def test_json_for_programs(tmp_path, closed_port):
    done = run("check", "--json", "--config", write(tmp_path, GOOD, closed_port))
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert found["problems"] == []
    assert [set(error) for error in found["errors"]] == [{"where", "what", "mend"}]
    assert found["warnings"]
    bad = run("check", "--json", "--config", write(tmp_path, "site = 1"))
    assert bad.returncode == 78
    assert {problem["where"].rsplit(" ")[-1] for problem in json.loads(bad.stdout)["problems"]} == {
        "site",
        "gateway",
        "mqtt",
        "buffer",
    }


def test_the_environment_counts_here_too(tmp_path, broker):
    path = write(tmp_path, GOOD, broker)
    assert run("check", "-c", path, CAMPUS_EDGE_WINDOW_S="0").returncode == 78
    done = run("check", "-c", path, CAMPUS_EDGE_MQTT="{broken")
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    assert "error: environment CAMPUS_EDGE_" in done.stderr


@pytest.mark.parametrize("command", [["check"], ["run"], ["buffer", "status"]])
def test_a_file_that_is_not_there_is_78_for_every_command(tmp_path, command):
    done = run(*command, "--config", tmp_path / "absent.toml")
    assert done.returncode == 78
    assert "absent.toml: No such file or directory → create it" in done.stderr


def test_wrong_usage_is_2_and_help_names_the_exit_codes():
    assert run("chekc").returncode == 2
    assert run("check", "--colour").returncode == 2
    done = run("--help")
    assert done.returncode == 0
    assert "78 wrong settings" in " ".join(done.stdout.split())


@pytest.fixture
def privacy(tmp_path, broker):
    """A gateway with a key; the function checks it and returns (warnings about people, what is said of documents)."""
    keys = write_keys(tmp_path / "keys.toml", "attendance")
    consents = consents_text(handle("attendance"))
    lines = write_documents(tmp_path, policy=policy_text(), consents=consents)
    lines = lines.replace(f'roster_file = "{tmp_path}/roster.toml"\n', "")
    config = write(tmp_path, f'{GOOD}[privacy]\nkey_file = "{keys}"\n{lines}', broker)

    def check():
        done = run("check", "-c", config, CAMPUS_EDGE_CLOCK__ASSUME_SYNCED="true")
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if "[[link]]" not in line]
        # No order to erase somebody could be verified on this gateway: said at each check.
        warnings.remove(next(line for line in warnings if line.startswith("warning: [privacy] cloud_key: ")))
        return warnings, [line for line in done.stdout.splitlines() if not line.endswith("warnings")]

    return check


def test_documents_in_force_are_told_in_words_and_nothing_is_written(tmp_path, privacy):
    warnings, said = privacy()
    assert warnings == []
    assert [line.split(": ")[:2] for line in said] == [["policy", "in force"], ["consents", "in force"]]
    assert all("serial 1, issued 1 min ago, valid until " in line for line in said)
    assert not (tmp_path / "privacy").exists()


@pytest.mark.parametrize(
    ("document", "text", "where", "told"),
    [
        ("policy", signed(policy_text(last="2001-01-01T00:00:00Z")), "privacy.policy_file", "expired: serial 1"),
        ("policy", signed(policy_text(first="2099-01-01T00:00:00Z")), "privacy.policy_file", "not yet valid: serial 1"),
        ("policy", policy_text().encode(), "privacy.policy_file", "is not signed"),
        ("policy", signed(policy_text(), STRANGER), "privacy.policy_file", "which is not trusted here"),
        ("consents", signed(consents_text(issued_at=ago(hours=25))), "privacy.consents_file", "too old: serial 1"),
        ("consents", signed(consents_text(issued_at=ago(hours=-1))), "privacy.consents_file", "ahead of this gateway"),
        ("consents", signed(consents_text("0A0012ABCD")), "privacy.consents_file", "is not a handle"),
        ("consents", None, "privacy.consents_file", "No such file"),
    ],
    ids=["expired", "not yet", "unsigned", "stranger", "old", "future", "card", "absent"],
)
def test_a_document_that_is_not_in_force_is_a_warning_that_says_why(  # noqa: PLR0917 - a table
    tmp_path, privacy, document, text, where, told
):
    path = tmp_path / f"{document}.toml"
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    warnings, said = privacy()
    (line,) = warnings
    assert line.startswith(f"warning: {where}: ")
    assert told in line
    assert " is withheld → " in line
    assert "0A0012ABCD" not in line
    assert any(entry.startswith(f"{document}: ") and told in entry for entry in said)


def test_a_port_name_that_changes_is_warned_of():
    from edge_agent.checks import _ports
    from edge_agent.settings import LinkSettings

    class Settings:
        links = [LinkSettings(name="l", kind="serial", path="/dev/ttyUSB99")]  # noqa: RUF012

    (problem,) = _ports(Settings)
    assert problem.what == "/dev/ttyUSB99 is not there"
    Settings.links = [LinkSettings(name="l", kind="serial", path="/dev/null")]
    assert list(_ports(Settings)) == []


HEAVY = (
    "cv2",
    "onnxruntime",
    "numpy",
    "bleak",
    "amqtt",
    "aiohttp",
    "pymodbus",
    "influxdb_client",
    "simulators",
    "cloud_ingest",
)


@pytest.mark.parametrize(
    "module", ["edge_agent.cli", "edge_agent.configuration", "edge_agent.checks", "edge_agent.agent"]
)
def test_the_agent_imports_only_what_a_gateway_has(module):
    code = (
        f"import sys; import {module}; from edge_agent.registry import DRIVERS, _module;"
        "[_module(name) for name in DRIVERS];"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("module", ["aiomqtt", "edge_agent.agent", "drivers.modbus", "serialx", "edge_agent.buffer"])
def test_help_is_quick_since_nothing_is_imported_before_it_is_needed(module):
    code = f"import sys; import edge_agent.cli; print({module!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"
