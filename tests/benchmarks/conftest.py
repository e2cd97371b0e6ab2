"""A folder of benchmarks with the real frame in it and none of the real benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FRAME = Path(__file__).parent.parent.parent / "benchmarks"


class Frame:
    """`python -m benchmarks` in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "benchmarks"
        self.folder.mkdir()
        for name in ("__init__", "__main__", "_compare", "_document", "_plot", "_record"):
            shutil.copy(FRAME / f"{name}.py", self.folder)

    def write(self, name: str, *figures: float, unit: str = "x/s", limit: float = 1000.0, **more: object) -> None:
        """Write a benchmark that says one figure after the other, each time it is run."""
        extra = "".join(f", {key!r}: {value!r}" for key, value in more.items())
        (self.folder / f"{name}.py").write_text(
            "from pathlib import Path\n"
            f"FIGURES = {list(figures)!r}\n"
            "def run():\n"
            "    count = Path(__file__).with_suffix('.count')\n"
            "    turn = len(count.read_text()) if count.exists() else 0\n"
            "    count.write_text('x' * (turn + 1))\n"
            "    figure = FIGURES[turn % len(FIGURES)]\n"
            f"    return [{{'name': 'speed of {name}', 'figure': figure, 'unit': {unit!r}, 'limit': {limit!r},"
            f" 'ratio': figure / {limit!r}{extra}}}]\n"
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it once each, unless told otherwise."""
        if "--repeat" not in arguments and not {"baseline", "--from"} & set(arguments):
            arguments = (*arguments, "--repeat", "1")
        command = [sys.executable, "-m", "benchmarks", *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"COLUMNS": "200", "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        )


@pytest.fixture
def frame(tmp_path: Path) -> Frame:
    return Frame(tmp_path)
