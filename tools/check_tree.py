"""Fail on source files that are too long, and on machine paths or package index addresses in tracked files.

Usage: python -m tools.check_tree
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_LINES = 400
# Where this checkout stands is one machine's business; so is the index that packages came from.
INDEX = re.compile(
    rb"--(?:extra-)?index-url[ =]|--find-links[ =]|--trusted-host[ =]|\bindex-url *=|files\.pythonhosted\.org"
    rb"|(?:PIP|UV)_(?:EXTRA_)?INDEX(?:_URL)?="
)
HOME = re.compile(rb"/(?:root|home/[a-z][a-z0-9_-]*)/")
ABOVE = re.compile(rb"\.\./shared\b")


def tracked_files() -> list[Path]:
    """Return the files git tracks or would track; those of a plain source archive where there is no git."""
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout  # noqa: S603 - fixed
        names = sorted({name for name in listed.decode().split("\0") if name})
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    hidden = {".venv", ".git", "build", "dist", "test-reports", "demo-data"}
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not hidden & set(path.relative_to(ROOT).parts)
        and not any(part.endswith(("_cache", "__pycache__", ".egg-info")) for part in path.relative_to(ROOT).parts)
    )


def problems_in(name: str, content: bytes, *, checkout: bytes) -> list[str]:
    """Return what is wrong with one file, each with its line; nothing for a binary one (it has a NUL byte)."""
    if b"\0" in content:
        return []
    lines = content.split(b"\n")
    found = []
    count = len(lines) - (not lines[-1])
    if name.endswith(".py") and count > MAX_LINES:
        found.append(f"{name}: {count} lines, more than {MAX_LINES} → split it by what its parts do")
    for number, line in enumerate(lines, start=1):
        if INDEX.search(line):
            found.append(f"{name}:{number}: names a package index → leave that to the machine's pip settings")
        if HOME.search(line) or ABOVE.search(line) or (len(checkout) > 1 and checkout in line):
            found.append(f"{name}:{number}: names a path of one machine → make it relative or a setting")
    return found


def main() -> int:
    """Print every problem; return 1 if there is one."""
    checkout = str(ROOT.resolve()).encode() + b"/"
    this = Path(__file__).resolve()
    files = [path for path in tracked_files() if path.resolve() != this]
    found = [
        problem
        for path in files
        for problem in problems_in(str(path.relative_to(ROOT)), path.read_bytes(), checkout=checkout)
    ]
    for problem in found:
        print(problem)
    if not found:
        print(f"{len(files)} files: none too long, no machine paths, no index addresses")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
