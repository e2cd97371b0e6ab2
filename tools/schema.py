"""Write docs/schema/*.json, the JSON Schemas of the wire, of device profiles and of signed documents, from the types.

Usage: python -m tools.schema [--check]     (--check writes nothing and fails if a file is out of date)
"""

from __future__ import annotations

import argparse
import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from pydantic import TypeAdapter

from edge_agent.commands import Command
from edge_agent.privacy.documents import Consents, Policy, Roster
from telemetry.ack import Ack
from telemetry.batch import Batch
from telemetry.profile import DeviceProfile

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return each schema by its file's name."""
    return {
        "ack.json": msgspec.json.schema(Ack),
        "batch.json": msgspec.json.schema(Batch),
        "command.json": msgspec.json.schema(Command),
        "consents.json": TypeAdapter(Consents).json_schema(by_alias=True),
        "device-profile.json": TypeAdapter(DeviceProfile).json_schema(by_alias=True),
        "policy.json": TypeAdapter(Policy).json_schema(by_alias=True),
        "roster.json": TypeAdapter(Roster).json_schema(by_alias=True),
    }


def tidy(node: Any) -> Any:
    """Return the schema with its descriptions' indentation taken off, as Python 3.13 does by itself."""
    if isinstance(node, dict):
        return {
            key: cleandoc(value) if key == "description" and isinstance(value, str) else tidy(value)
            for key, value in node.items()
        }
    return [tidy(value) for value in node] if isinstance(node, list) else node


def render(schema: dict[str, Any]) -> str:
    """Return the file's text: stable, so that a diff shows a change of the contract and nothing else."""
    return json.dumps({"$schema": DIALECT, **tidy(schema)}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check compare them; return 1 if one is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.schema", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args(arguments).check
    expected = {FOLDER / name: render(schema) for name, schema in schemas().items()}
    if not check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in expected.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in expected.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    extra = sorted(set(FOLDER.glob("*.json")) - set(expected))
    for path in stale:
        print(f"{path.relative_to(ROOT)}: does not match the types → make schema, and say in CHANGELOG.md what changed")
    for path in extra:
        print(f"{path.relative_to(ROOT)}: no type makes it → delete it")
    return 1 if stale or extra else 0


if __name__ == "__main__":
    sys.exit(main())
