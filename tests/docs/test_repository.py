"""What a newcomer leans on: links lead somewhere, each folder says what it is, each program names its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

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
PROGRAMS = ("edge_agent.cli", "cloud_ingest.cli", "simulators.cli")


def commands(module: str) -> list[tuple[str, ...]]:
    """Return every command of a program, however deep, and groups that do something by themselves."""

    def below(command: Any, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        parts = getattr(command, "commands", {})
        mine = [(module, *words)] if not parts or command.invoke_without_command else []
        return mine + [one for name, part in parts.items() for one in below(part, (*words, name))]

    return below(typer.main.get_command(import_module(module).app), ())


COMMANDS = [command for module in PROGRAMS for command in commands(module)]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_names_every_command_and_no_other(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    listed = dict(re.findall(r"`(edge-agent|cloud-ingest|campus-sim) ([a-z]+(?:\|[a-z]+)+)`", text))
    modules = {"edge-agent": "edge_agent.cli", "cloud-ingest": "cloud_ingest.cli", "campus-sim": "simulators.cli"}
    found = {(modules[program], word) for program, words in listed.items() for word in words.split("|")}
    assert found == {(module, word) for module, word, *_ in COMMANDS}


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
    result = CliRunner().invoke(import_module(module).app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "Exit codes: 0 " in result.output


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
