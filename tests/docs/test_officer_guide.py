"""The officer's guide, followed to the letter: its files are written, its commands run, a gateway believes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.edge_agent.privacy.test_show import width

ROOT = Path(__file__).parent.parent.parent
GUIDES = ROOT / "docs" / "guides"
BLOCK = re.compile(r"(?:^`([\w.-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AGENT = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://[::1]:1"
[buffer]
path = "{folder}/buffer"
[clock]
assume_synced = true
[[link]]
name = "usb"
kind = "serial"
path = "/dev/ttyX"
[[device]]
name = "r101-cards"
room = "r101"
profile = "rfid/rdm6300"
link = "usb"
[[link]]
name = "radio"
kind = "bluetooth"
hci = "tcp-client:[::1]:1"
[[device]]
name = "gym-bands"
room = "gym"
profile = "ble/heart_rate_service"
link = "radio"
options = {{ bindings = "roster" }}
"""


def blocks(name: str) -> list[tuple[str, str, str]]:
    return BLOCK.findall((GUIDES / name).read_text(encoding="utf-8"))


class Officer:
    """Follows the guide in a folder, where the gateway's folders are too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        now = datetime.now(UTC)
        self.replaced = {
            "/etc/campus-edge/": f"{folder}/etc/",
            "/var/lib/campus-edge/": f"{folder}/var/",
            "/run/credentials/campus-edge-agent.service/secret_gateway-keys.toml": f"{folder}/gw-101-keys.toml",
            # The guide is of one school year; the gate asks the clock.
            "valid_from = 2026-09-01": f"valid_from = {(now - timedelta(days=60)).date()}",
            "valid_until = 2027-07-15": f"valid_until = {(now + timedelta(days=60)).date()}",
            ",2027-07-15": f",{(now + timedelta(days=60)).date()}",
        }

    def follow(self, kind: str, name: str, text: str) -> None:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        if kind == "sh":
            self.run(text)
        elif name:
            (self.folder / name).write_text(text, encoding="utf-8")
        elif kind == "toml":
            self.install(text)

    def install(self, privacy: str) -> None:
        """Step 7: what a technician does on the gateway."""
        for place in ("etc", "var/documents"):
            (self.folder / place).mkdir(parents=True)
        (self.folder / "etc" / "officer.pub").write_bytes((self.folder / "office" / "officer.pub").read_bytes())
        for kind in ("policy", "consents", "roster"):
            signed = (self.folder / f"{kind}.toml").read_bytes()
            (self.folder / "var" / "documents" / f"{kind}.toml").write_bytes(signed)
        text = AGENT.format(folder=self.folder / "var") + privacy
        (self.folder / "etc" / "agent.toml").write_text(text, encoding="utf-8")

    def run(self, commands: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CAMPUS_")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        # `check` ends with 1: there is no broker here.
        script = commands if "edge-agent check" in commands else f"set -e\n{commands}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.said[commands] = done.stdout + done.stderr

    def told(self, words: str) -> str:
        return next(said for commands, said in self.said.items() if words in commands)


@pytest.fixture(scope="module")
def officer(tmp_path_factory: pytest.TempPathFactory) -> Officer:
    folder = tmp_path_factory.mktemp("officer")
    (folder / "one-card.txt").write_text("0A0012ABCE\n")
    (folder / "all-cards.txt").write_text("0A0012ABCD\n0A0012ABCE\n")
    found = Officer(folder)
    for name, kind, text in blocks("privacy-officer.md"):
        found.follow(kind, name, text)
    return found


def test_every_document_is_in_force_on_the_gateway(officer: Officer) -> None:
    said = officer.told("edge-agent check")
    for kind in ("policy", "consents", "roster"):
        assert re.search(rf"{kind}: in force: serial 2, issued \d min ago", said)
    assert not re.search(r"warning: privacy\.", said)


def test_the_page_says_what_the_policy_says(officer: Officer) -> None:
    said = officer.told("edge-agent check")
    assert "+ 个人信息 (personal, L3) · attendance 考勤:到校、到课" in said
    assert "+ persons (personal, L3) · attendance attendance: who came" in said
    assert "同意人数 2" in said
    assert "策略规定不出教室" in said
    pages = [line for line in said[said.index("隐私一页") :].splitlines() if not line.startswith(("warning", "error"))]
    assert max(width(line) for line in pages) <= 100


def test_no_identifier_stands_in_what_goes_to_a_gateway(officer: Officer) -> None:
    for path in (officer.folder / "var" / "documents").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"0A0012ABC|C40000A1B2C", text)
        assert tomllib.loads(text)["serial"] == 2


def test_the_bands_are_bound_in_the_last_lesson(officer: Officer) -> None:
    roster = tomllib.loads((officer.folder / "roster.toml").read_text(encoding="utf-8"))
    assert [len(lesson.get("bindings", {})) for lesson in roster["lesson"]] == [0, 2]


def test_the_mornings_message_is_a_command_with_the_whole_file(officer: Officer) -> None:
    message = json.loads((officer.folder / "message.json").read_bytes())
    assert message["text"] == (officer.folder / "consents.toml").read_text(encoding="utf-8")
    assert (message["kind"], message["id"]) == ("document", "morning")
    assert tomllib.loads(message["text"])["serial"] == 3


def test_the_look_up_finds_the_card_and_is_written_down(officer: Officer) -> None:
    assert "0A0012ABCE  (attendance)" in officer.told("privacy link")
    log = (officer.folder / "office" / "link-audit.jsonl").read_text(encoding="utf-8")
    assert "guardian asks for a copy" in log
    assert "0A0012ABCE" not in log


def test_both_languages_show_the_same_files_and_commands() -> None:
    english, chinese = blocks("privacy-officer.md"), blocks("privacy-officer.zh-CN.md")
    assert english == chinese
    numbered = [
        re.findall(r"^\*\*(\d)\.", (GUIDES / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in ("privacy-officer.md", "privacy-officer.zh-CN.md")
    ]
    assert numbered[0] == numbered[1] == [str(number) for number in range(1, 9)]
