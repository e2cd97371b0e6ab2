"""The repository's own checks: each finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import check_lock, check_tree, schema
from tools.check_cycles import find_circles, package_imports

HASH = "--hash=sha256:" + "0a" * 32


def test_circles_of_files() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}
    assert find_circles(imports) == [["a", "b", "c"]]
    assert find_circles({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}) == [["a", "b"], ["c", "d"]]
    assert find_circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_circles_of_packages_through_different_files() -> None:
    files = {"x.a": {"y.a"}, "y.b": {"x.b"}, "x.b": set(), "y.a": set()}
    assert find_circles(files) == []
    assert find_circles(package_imports(files)) == [["x", "y"]]


@pytest.mark.parametrize(
    "line",
    [
        b"PIP INSTALL --INDEX-URL x",
        b"--EXTRA-INDEX-URL=x",
        b"INDEX-URL = x",
        b"SEE FILES.PYTHONHOSTED.ORG",
        b"pip_index_url=x MAKE",
        b"CD /ROOT/PROJECT",
        b"CD /HOME/ME/PROJECT",
        b"CD /SRV/CHECKOUT/TESTS",
    ],
)
def test_tree_finds_machine_matters(line: bytes) -> None:
    # The case is swapped above, since this file is checked too.
    found = check_tree.problems_in("x.md", b"fine\n" + line.swapcase() + b"\n", checkout=b"/srv/checkout/")
    assert len(found) == 1
    assert found[0].startswith("x.md:2: ")


def test_tree_finds_long_sources_only() -> None:
    assert check_tree.problems_in("x.py", b"\n" * 400, checkout=b"/srv/checkout/") == []
    assert "401 lines" in check_tree.problems_in("x.py", b"\n" * 401, checkout=b"/srv/checkout/")[0]
    assert "401 lines" in check_tree.problems_in("x.py", b"\n" * 400 + b"end", checkout=b"/srv/checkout/")[0]
    assert check_tree.problems_in("x.txt", b"\n" * 401, checkout=b"/srv/checkout/") == []


def test_tree_lists_this_file() -> None:
    assert Path(__file__) in check_tree.tracked_files()


def test_lock_of_good_entries() -> None:
    text = f"# by make\na-b==1.2 \\\n  {HASH} \\\n  {HASH}\n    # via c\nd==2 ; sys_platform == 'x' \\\n  {HASH}\n"
    pins, problems = check_lock.read_pins(text, name="lock")
    assert {name: str(version) for name, version in pins.items()} == {"a-b": "1.2", "d": "2"}
    assert problems == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a==1\n", "no sha256 hash"),
        (f"a>=1 {HASH}\n", "not a pinned requirement"),
        (f"a @ file:///x {HASH}\n", "not a pinned requirement"),
        ("--INDEX-URL x\n".lower(), "address"),
        ("# from https://index.example\n", "address"),
        ("-e .\n", "address"),
    ],
)
def test_lock_of_bad_entries(text: str, complaint: str) -> None:
    assert any(complaint in problem for problem in check_lock.read_pins(text, name="lock")[1])


def test_lock_must_cover_the_project() -> None:
    project = {
        "project": {
            "name": "Own_Name",
            "dependencies": ["a>=1"],
            "optional-dependencies": {"x": ["b>=2"], "y": ["own-name[x]", "c"]},
        },
        "dependency-groups": {"build": ["d"]},
    }
    requirements = check_lock.wanted(project, "y")
    assert {str(requirement) for requirement in requirements} == {"a>=1", "b>=2", "c", "d"}
    pins, _ = check_lock.read_pins(f"a==1 {HASH}\nb==1 {HASH}\nc==1 {HASH}\n", name="lock")
    found = check_lock.uncovered(pins, requirements, name="lock")
    assert found == ["lock: d is not in it", "lock: b==1 does not satisfy b>=2"]
    assert check_lock.uncovered(pins, [Requirement("a")], name="lock") == []


def test_each_extra_has_a_lock_that_is_checked(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "own"\ndependencies = []\n[project.optional-dependencies]\nx = ["a"]\ny = []\n'
        "[dependency-groups]\nbuild = []\n"
    )
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "x.txt").write_text("a==1\n")
    assert check_lock.check(tmp_path)[1] == [
        "requirements/x.txt: a has no sha256 hash",
        "requirements/y.txt: is missing",
    ]


def test_schema_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "schema")
    assert schema.main(["--check"]) == 1
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    (tmp_path / "schema" / "ack.json").write_text("{}", encoding="utf-8")
    assert schema.main(["--check"]) == 1
    schema.main([])
    (tmp_path / "schema" / "old.json").write_text("{}", encoding="utf-8")
    assert schema.main(["--check"]) == 1
