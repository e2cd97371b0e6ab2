"""Fail if files, or top-level packages, import each other in a circle; TYPE_CHECKING imports count.

Usage: python -m tools.check_cycles
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import grimp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

ROOT = Path(__file__).parent.parent


def find_circles(imports: Mapping[str, AbstractSet[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module, each sorted (Tarjan, without recursion)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in sorted(imports):
        if start in number:
            continue
        work = [(start, iter(sorted(imports[start])))]
        number[start] = low[start] = len(number)
        stack.append(start)
        while work:
            module, children = work[-1]
            child = next(children, None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == number[module]:
                    at = stack.index(module)
                    component = stack[at:]
                    del stack[at:]
                    if len(component) > 1:
                        found.append(sorted(component))
            elif child not in number:
                number[child] = low[child] = len(number)
                stack.append(child)
                work.append((child, iter(sorted(imports[child]))))
            elif child in stack:
                low[module] = min(low[module], number[child])
    return sorted(found)


def file_imports(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """Return each module's direct imports within the graph."""
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def package_imports(files: Mapping[str, AbstractSet[str]]) -> dict[str, set[str]]:
    """Return the imports between top-level packages."""
    packages: dict[str, set[str]] = {}
    for module, imported in files.items():
        package = module.partition(".")[0]
        others = {name.partition(".")[0] for name in imported} - {package}
        packages.setdefault(package, set()).update(others)
    return packages


def main() -> int:
    """Print every circle; return 1 if there is one."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = settings["tool"]["importlinter"]["root_packages"]
    sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph(*names, cache_dir=None, exclude_type_checking_imports=False)
    files = file_imports(graph)
    circles = find_circles(files) + find_circles(package_imports(files))
    for circle in circles:
        print(f"import circle: {' ↔ '.join(circle)}")
    if not circles:
        print(f"no import circles among {len(files)} files")
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
