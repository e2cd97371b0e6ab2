"""`edge-agent models list|fetch|verify`: the cameras' models, and whether they are the known ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from edge_agent.cli_common import EPILOG, EXIT_FAILED, EXIT_UNAVAILABLE, JsonOption
from telemetry.errors import DeviceUnavailable

FOLDER: Final = Path("/var/lib/campus-edge/models")
IntoOption = Annotated[Path, typer.Option("--into", help="Folder of the models that were fetched.")]

models_app = typer.Typer(help="The cameras' models.", epilog=EPILOG, no_args_is_help=True)


@models_app.command("list", epilog=EPILOG)
def list_(into: IntoOption = FOLDER, json_: JsonOption = False) -> None:
    """Show each known model: what for, whose licence, its sum, and whether it is here."""
    from edge_agent.registry import known_models  # noqa: PLC0415 - only this needs the driver

    models = known_models(into)
    if json_:
        typer.echo(json.dumps(models))
        return
    for name, model in models.items():
        typer.echo(
            f"{name:>16}  {model['role']}, {model['licence']}, trained on {model['trained_on']}: {model['state']}"
        )
        typer.echo(f"{'':>16}  {model['file']}, {model['bytes']} bytes, sha256 {model['sha256']}")
        typer.echo(f"{'':>16}  from {model['url'] or model['source']}")


@models_app.command(epilog=EPILOG)
def fetch(
    name: Annotated[str, typer.Argument(help="A model that is not shipped: `list` names it.")],
    into: IntoOption = FOLDER,
    url: Annotated[str | None, typer.Option(help="Fetch it from here instead, such as a mirror.")] = None,
) -> None:
    """Fetch a model that is not shipped; another file than the known one is not kept."""
    from edge_agent.registry import fetch_model, known_models  # noqa: PLC0415

    known = known_models(into)
    if name not in known:
        raise typer.BadParameter(f"there is no model {name!r}: use one of {', '.join(known)}")
    if not known[name]["url"]:
        typer.echo(f"{name} is shipped with campus-edge: {known[name]['state']}")
        raise typer.Exit(0 if known[name]["state"] == "ok" else EXIT_FAILED)
    try:
        path, problem = fetch_model(name, into, url)
    except (DeviceUnavailable, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_UNAVAILABLE) from error
    if problem:
        typer.echo(f"error: {problem} → nothing was kept; ask where this file comes from", err=True)
        raise typer.Exit(EXIT_FAILED)
    typer.echo(f"{path}: ok")


@models_app.command(epilog=EPILOG)
def verify(into: IntoOption = FOLDER) -> None:
    """Hold each model that is here against its known sum."""
    from edge_agent.registry import known_models  # noqa: PLC0415

    wrong = 0
    for name, model in known_models(into).items():
        bad = model["state"] not in {"ok", "not fetched"}
        wrong += bad
        mend = " → install the package again, or fetch it again" if bad else ""
        typer.echo(f"{name:>16}  {model['state']}{mend}")
    raise typer.Exit(EXIT_FAILED if wrong else 0)
