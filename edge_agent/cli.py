"""The program `edge-agent`: run, check, buffer; its exit codes stand in its help."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import typer

from edge_agent.audit_page import app as audit_app
from edge_agent.buffer_cli import buffer_app
from edge_agent.camera_trials import camera_app
from edge_agent.cli_common import (
    DEFAULT_CONFIG,
    EPILOG,
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    ConfigOption,
    JsonOption,
)
from edge_agent.models_cli import models_app
from edge_agent.officer import app as privacy_app
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

_LOOKUP: Final = "lookup"
_LOOKUP_PATIENCE_S: Final = 0.3

app = typer.Typer(
    help="The campus-edge gateway agent.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(buffer_app, name="buffer")
app.add_typer(camera_app, name="camera")
app.add_typer(models_app, name="models")
app.add_typer(privacy_app, name="privacy")
privacy_app.add_typer(audit_app, name="audit")


@app.command(epilog=EPILOG)
def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    # What a start makes is there to stay; the collector would look through all of it again and again.
    gc.disable()
    from edge_agent.agent import run_agent  # noqa: PLC0415 - `check` and `buffer` need no broker client
    from edge_agent.configuration import load_configuration  # noqa: PLC0415

    try:
        configuration = load_configuration(config)
        _log_to_stderr(configuration.settings.log.level)
        gc.freeze()
        gc.enable()
        asyncio.run(_until_stopped(run_agent(configuration)))
    except ConfigError as error:
        _print_problems("error", error.problems)
        raise typer.Exit(EXIT_CONFIG) from error


@app.command(epilog=EPILOG)
def check(config: ConfigOption = DEFAULT_CONFIG, json_: JsonOption = False) -> None:
    """Name every problem of the configuration and of what surrounds the agent, each with its mend."""
    from edge_agent.checks import documents_in_words, surroundings  # noqa: PLC0415
    from edge_agent.configuration import load_configuration  # noqa: PLC0415

    problems: list[Problem] = []
    errors: list[Problem] = []
    warnings: list[Problem] = []
    documents: dict[str, str] = {}
    try:
        configuration = load_configuration(config)
        errors, warnings = surroundings(configuration)
        documents = documents_in_words(configuration)
    except ConfigError as error:
        problems = error.problems
    if json_:
        found = {"problems": problems, "errors": errors, "warnings": warnings}
        text: dict[str, Any] = {kind: [asdict(item) for item in items] for kind, items in found.items()}
        text["documents"] = documents
        typer.echo(json.dumps(text, ensure_ascii=False, indent=2))
    else:
        _print_problems("error", [*problems, *errors])
        _print_problems("warning", warnings)
        for kind, words in documents.items():
            typer.echo(f"{kind}: {words}")
        typer.echo(f"{len(problems) + len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(EXIT_CONFIG if problems else EXIT_FAILED if errors else 0)


async def _until_stopped(agent: Coroutine[Any, Any, None]) -> None:
    """Run the agent; when all is safe, end without waiting for a name server that hangs."""
    lookups = ThreadPoolExecutor(thread_name_prefix=_LOOKUP)
    asyncio.get_running_loop().set_default_executor(lookups)
    await agent
    lookups.shutdown(wait=False, cancel_futures=True)
    end = time.monotonic() + _LOOKUP_PATIENCE_S
    while any(thread.name.startswith(_LOOKUP) for thread in threading.enumerate()):
        if time.monotonic() > end:
            # getaddrinfo cannot be cancelled, and Python would wait for its thread: 10 s and more.
            logging.shutdown()
            os._exit(0)
        await asyncio.sleep(0.01)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    # At `debug` the serial library prints each byte that it reads: card numbers.
    logging.getLogger("serialx").setLevel(logging.INFO)


def _print_problems(level: str, problems: Sequence[Problem]) -> None:
    for problem in problems:
        typer.echo(f"{level}: {problem}", err=True)


def main() -> None:
    """Run the program."""
    try:
        app()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"edge-agent needs {error.name} → pip install 'campus-edge[agent]'\n")
        sys.exit(EXIT_UNAVAILABLE)
