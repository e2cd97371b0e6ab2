"""`edge-agent privacy audit`: shows the audit log, and tells whether anybody altered it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from edge_agent.audit import Head
from edge_agent.audit import lines as audit_lines
from edge_agent.audit import verify as verify_chain
from edge_agent.audit.chain import read
from edge_agent.cli_common import DEFAULT_CONFIG, EXIT_CONFIG, EXIT_FAILED, ConfigOption, JsonOption
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from edge_agent.audit import Entry, Verdict
    from edge_agent.settings import Settings

_EPILOG: Final = "Exit codes: 0 nothing found, 1 the log was altered, 2 wrong usage, 78 a wrong file."
_SEE: Final = "cloud-ingest audit heads --json"

app = typer.Typer(help="What the gateway did with data about people.", epilog=_EPILOG, no_args_is_help=True)
HeadsOption = Annotated[Path | None, typer.Option("--heads", help=f"What the cloud holds: the output of `{_SEE}`.")]


@app.command(epilog=_EPILOG)
def show(
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries.")] = 50,
    json_: JsonOption = False,
) -> None:
    """Print the newest entries, oldest first."""
    found = [read(line) for line in _lines(_settings(config))]
    for entry in [entry for entry in found if entry is not None][-last:]:
        typer.echo(json.dumps(_document(entry), ensure_ascii=False) if json_ else _line(entry))


@app.command(epilog=_EPILOG)
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    heads: HeadsOption = None,
    json_: JsonOption = False,
) -> None:
    """Name altered, missing and reordered entries, and those that no head of the cloud vouches for."""
    settings = _settings(config)
    try:
        held = [] if heads is None else _heads(heads, settings)
        verdict = verify_chain(_lines(settings), held)
    except ConfigError as error:
        _stop(error)
    if json_:
        typer.echo(json.dumps(_verdict(verdict), ensure_ascii=False, indent=2))
    else:
        _say(verdict, asked=heads is not None)
    raise typer.Exit(EXIT_FAILED if verdict.findings else 0)


def _say(verdict: Verdict, *, asked: bool) -> None:
    for finding in verdict.findings:
        typer.echo(f"{finding.fault}: entry {finding.n}: {finding.what}")
    for entry in verdict.unanchored:
        typer.echo(f"unanchored: {_line(entry)}")
    what = f"entries {verdict.first} to {verdict.last}, {len(verdict.findings)} findings"
    if not asked:
        typer.echo(
            f"{what}; compared with no head: whoever owns the gateway could have rewritten all → --heads, {_SEE}"
        )
        return
    typer.echo(f"{what}; the cloud vouches for all up to entry {verdict.anchored_to}")


def _line(entry: Entry) -> str:
    when = datetime.fromtimestamp(entry.at_ns / 1e9, tz=UTC).isoformat(timespec="seconds")
    return f"{entry.n:>6}  {when}  {entry.event}  {json.dumps(entry.detail, ensure_ascii=False, sort_keys=True)}"


def _document(entry: Entry) -> dict[str, Any]:
    return {"n": entry.n, "at_ns": entry.at_ns, "event": entry.event, "detail": dict(entry.detail), "hash": entry.hash}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "first": verdict.first,
        "last": verdict.last,
        "anchored_to": verdict.anchored_to,
        "findings": [asdict(finding) for finding in verdict.findings],
        "unanchored": [_document(entry) for entry in verdict.unanchored],
    }


def _settings(config: Path) -> Settings:
    from edge_agent.settings import parse_settings, read_table  # noqa: PLC0415 - heavy

    try:
        return parse_settings(read_table(config), f"{config}:")
    except ConfigError as error:
        _stop(error)


def _lines(settings: Settings) -> list[bytes]:
    try:
        return list(audit_lines(settings.privacy_dir))
    except OSError as error:
        what = error.strerror or "cannot be read"
        problem = Problem(where=str(settings.privacy_dir), what=what, mend="run this as the agent's user")
        _stop(ConfigError([problem]))


def _heads(path: Path, settings: Settings) -> list[Head]:
    """Return what the file holds of this gateway. Raises ConfigError."""
    try:
        held = json.loads(path.read_bytes())
        return [
            Head(n=int(head["n"]), hash=str(head["hash"]))
            for head in held
            if (head["site"], head["gateway"]) == (settings.site, settings.gateway)
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = error.strerror if isinstance(error, OSError) else "is not a list of heads"
        raise ConfigError([Problem(where=str(path), what=what or "", mend=f"write it with: {_SEE}")]) from error


def _stop(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(EXIT_CONFIG) from error
