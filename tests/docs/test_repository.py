"""What a newcomer leans on: links lead somewhere, each folder says what it is, each program names its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "benchmarks",
    "cloud_ingest",
    "device_profiles",
    "drivers",
    "edge_agent",
    "simulators",
    "telemetry",
    "tools",
)
BUILT = {".venv", "build", "dist", ".git"}
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not BUILT & set(path.relative_to(ROOT).parts) and "egg-info" not in str(path)
)
FOLDERS = sorted(
    {path.parent for name in PACKAGES for kind in ("*.py", "*.toml") for path in (ROOT / name).rglob(kind)}
)
COMMANDS = [
    ("edge_agent.cli", "run"),
    ("edge_agent.cli", "check"),
    ("edge_agent.cli", "buffer"),
    ("edge_agent.cli", "buffer", "status"),
    *(
        ("edge_agent.cli", "privacy", command)
        for command in (
            "keygen",
            "gateway-keys",
            "sign",
            "verify",
            "consents",
            "bindings",
            "command",
            "handle",
            "link",
            "show",
        )
    ),
    ("edge_agent.cli", "privacy", "audit", "show"),
    ("edge_agent.cli", "privacy", "audit", "verify"),
    ("cloud_ingest.cli", "erase", "status"),
    ("cloud_ingest.cli", "erase", "verify"),
    ("cloud_ingest.cli", "erase", "scan"),
    ("cloud_ingest.cli", "subject", "export"),
    ("cloud_ingest.cli", "gateway", "compromised"),
    ("cloud_ingest.cli", "audit", "heads"),
    ("cloud_ingest.cli", "run"),
    ("cloud_ingest.cli", "console"),
    ("cloud_ingest.cli", "check"),
    ("cloud_ingest.cli", "query"),
    ("cloud_ingest.cli", "deadletter", "list"),
    ("cloud_ingest.cli", "deadletter", "show"),
    ("cloud_ingest.cli", "deadletter", "replay"),
    ("cloud_ingest.cli", "deadletter", "purge"),
    ("simulators.cli", "demo"),
    ("simulators.cli", "torture"),
    ("simulators.cli", "run"),
    ("simulators.cli", "device"),
    ("simulators.cli", "list"),
    ("simulators.cli", "fault"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_each_folder_says_what_lives_there(folder: Path) -> None:
    assert (folder / "README.md").is_file()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_the_exit_codes(command: tuple[str, ...]) -> None:
    module, *words = command
    code = f"from {module} import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Exit codes: 0 " in result.stdout


@pytest.mark.parametrize(
    ("module", "words", "missing", "extra"),
    [
        ("edge_agent.cli", ["check"], "pydantic_settings", "agent"),
        ("edge_agent.cli", ["run"], "aiomqtt", "agent"),
        ("cloud_ingest.cli", ["check", "--mqtt", "mqtt://[::1]"], "aiomqtt", "ingest"),
    ],
)
def test_a_missing_extra_is_named(module: str, words: list[str], missing: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from {module} import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 69, result.stderr
    assert f"{missing} → pip install 'campus-edge[{extra}]'" in result.stderr
