"""The program `edge-agent`: run, check, buffer; its exit codes stand in its help."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIG: Final = 78

DEFAULT_CONFIG: Final = Path("/etc/campus-edge/agent.toml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

app = typer.Typer(
    help="The campus-edge gateway agent.\n\n"
    "Exit codes: 0 ok · 1 a check failed · 2 usage · 69 not available · 78 wrong configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
buffer_app = typer.Typer(help="The durable buffer.", no_args_is_help=True)
app.add_typer(buffer_app, name="buffer")


@app.command()
def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    from edge_agent.agent import run_agent  # noqa: PLC0415 - `check` and `buffer` need no broker client
    from edge_agent.configuration import load_configuration  # noqa: PLC0415

    try:
        configuration = load_configuration(config)
        level = configuration.settings.log.level.upper()
        logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
        asyncio.run(run_agent(configuration))
    except ConfigError as error:
        _print_problems("error", error.problems)
        raise typer.Exit(EXIT_CONFIG) from error


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json_: JsonOption = False) -> None:
    """Name every problem of the configuration and of what surrounds the agent, each with its mend."""
    from edge_agent.checks import surroundings  # noqa: PLC0415
    from edge_agent.configuration import load_configuration  # noqa: PLC0415

    problems: list[Problem] = []
    errors: list[Problem] = []
    warnings: list[Problem] = []
    try:
        errors, warnings = surroundings(load_configuration(config))
    except ConfigError as error:
        problems = error.problems
    if json_:
        found = {"problems": problems, "errors": errors, "warnings": warnings}
        text = {kind: [asdict(item) for item in items] for kind, items in found.items()}
        typer.echo(json.dumps(text, ensure_ascii=False, indent=2))
    else:
        _print_problems("error", [*problems, *errors])
        _print_problems("warning", warnings)
        typer.echo(f"{len(problems) + len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(EXIT_CONFIG if problems else EXIT_FAILED if errors else 0)


@buffer_app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, json_: JsonOption = False) -> None:
    """Show what waits in the buffer, and for how many hours there is room."""
    from edge_agent.buffer import read_status  # noqa: PLC0415
    from edge_agent.settings import parse_settings, read_table  # noqa: PLC0415

    try:
        settings = parse_settings(read_table(config), f"{config}:")
    except ConfigError as error:
        _print_problems("error", error.problems)
        raise typer.Exit(EXIT_CONFIG) from error
    if not settings.buffer.path.is_dir():
        typer.echo(f"error: {settings.buffer.path}: there is no buffer yet → start the agent once", err=True)
        raise typer.Exit(EXIT_UNAVAILABLE)
    found = read_status(settings.buffer.path, max_bytes=settings.buffer.max_bytes)
    if json_:
        typer.echo(json.dumps(asdict(found)))
        return
    for name, value in asdict(found).items():
        typer.echo(f"{name.replace('_', ' '):>16}  {'unknown' if value is None else value}")


def _print_problems(level: str, problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(f"{level}: {problem}", err=True)


def main() -> None:
    """Run the program."""
    app()
