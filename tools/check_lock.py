"""Fail if a lock file names an index, lacks a hash, or does not cover what pyproject.toml asks for.

Usage: python -m tools.check_lock
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
ADDRESS = re.compile(r"\w://|--(?:extra-)?index-url|--find-links|--trusted-host| @ |^\s*-[a-z]|^\s*[./]", re.MULTILINE)
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)(.*)$")


def read_pins(text: str, *, name: str) -> tuple[dict[str, Version], list[str]]:
    """Return the pinned versions by canonical name, and what is wrong with the lock file `name`."""
    problems: list[str] = []
    pins: dict[str, Version] = {}
    # A backslash continues an entry: one entry is one requirement with its hashes.
    for entry in text.replace("\\\n", " ").splitlines():
        plain = entry.partition("#")[0].strip()
        if ADDRESS.search(entry) and not HASH.search(entry):
            problems.append(f"{name}: an address, path or option stands in it: {entry.strip()[:60]!r}")
        if not plain:
            continue
        pin = PIN.match(plain)
        if pin is None:
            problems.append(f"{name}: not a pinned requirement: {plain[:60]!r}")
            continue
        pins[canonicalize_name(pin[1])] = Version(pin[2])
        if not HASH.search(plain):
            problems.append(f"{name}: {pin[1]} has no sha256 hash")
        if ADDRESS.search(HASH.sub("", plain)):
            problems.append(f"{name}: {pin[1]} carries an address")
    return pins, problems


def wanted(project: dict[str, Any], extra: str) -> list[Requirement]:
    """Return the direct requirements of `extra`, its own extras resolved, with those of every part."""
    own = canonicalize_name(project["project"]["name"])
    found: list[Requirement] = []
    pending = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"][extra]]
    pending += project["dependency-groups"]["build"]
    while pending:
        requirement = Requirement(pending.pop())
        if canonicalize_name(requirement.name) == own:
            for inner in requirement.extras:
                pending += project["project"]["optional-dependencies"][inner]
        else:
            found.append(requirement)
    return found


def uncovered(pins: dict[str, Version], requirements: list[Requirement], *, name: str) -> list[str]:
    """Return the requirements that no pin of the lock file `name` satisfies."""
    problems = []
    for requirement in requirements:
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            problems.append(f"{name}: {requirement} is not in it")
        elif version not in requirement.specifier:
            problems.append(f"{name}: {requirement.name}=={version} does not satisfy {requirement}")
    return problems


def check(root: Path) -> tuple[dict[str, dict[str, Version]], list[str]]:
    """Return the pins of each lock below `root`, and every problem. Each extra of pyproject.toml has a lock."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    problems: list[str] = []
    pins: dict[str, dict[str, Version]] = {}
    for part in project["project"]["optional-dependencies"]:
        name = f"requirements/{part}.txt"
        path = root / name
        if not path.is_file():
            problems.append(f"{name}: is missing")
            continue
        pins[part], bad = read_pins(path.read_text(encoding="utf-8"), name=name)
        problems += bad + uncovered(pins[part], wanted(project, part), name=name)
        if "campus-edge" in pins[part]:
            problems.append(f"{name}: holds the project itself")
    for part, locked in pins.items():
        for package, version in locked.items():
            if pins.get("dev", {}).get(package, version) != version:
                problems.append(f"requirements/{part}.txt: {package}=={version} is another version than in dev.txt")
    return pins, problems


def main() -> int:
    """Print every problem; return 1 if there is one."""
    pins, problems = check(ROOT)
    for problem in problems:
        print(f"{problem} → make lock")
    if not problems:
        print(f"locks hold {len(pins['dev'])} packages with hashes, no addresses, all of pyproject.toml covered")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
