"""`edge-agent camera check|evaluate`: is a camera well placed, and how well are pictures counted. Numbers only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edge_agent.camera_cli import camera_app, ended, named_camera
from edge_agent.cli_common import (
    DEFAULT_CONFIG,
    EPILOG,
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    ConfigOption,
    JsonOption,
)
from telemetry.errors import AuthError, ConfigError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["camera_app"]

_TRUTH: Final = "What they truly show: file,count, or file,x,y,w,h in px with a line for each person."
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures: JPEG, PNG, BMP or WebP.")]
TruthOption = Annotated[Path | None, typer.Option(help=_TRUTH)]


@camera_app.command(epilog=EPILOG)
def check(
    name: Annotated[str, typer.Argument(help="The camera: a device's name in the settings.")],
    looks: Annotated[int, typer.Option(help="Look so often.", min=1, max=100)] = 10,
    json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Measure the faces: the farthest must be 16 px wide. Somebody sits in the farthest seat and faces the camera."""
    from edge_agent.registry import check_camera  # noqa: PLC0415 - the other commands need no camera

    device, link = named_camera(name, config)
    try:
        numbers, problem = asyncio.run(check_camera(device.settings, link, device.options, looks=looks))
    except ConfigError as error:
        raise _wrong(error) from error
    except (DeviceUnavailable, AuthError, ProtocolError, OSError) as error:
        raise ended(EXIT_UNAVAILABLE, f"error: {error}") from error
    _show({**numbers, "problem": problem}, json_=json_)
    if problem:
        raise ended(EXIT_FAILED, f"error: camera {name}: {problem}")


@camera_app.command(epilog=EPILOG)
def evaluate(
    folder: FolderArgument,
    csv: TruthOption = None,
    method: Annotated[str, typer.Option(help="faces or faces_and_people.")] = "faces_and_people",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="name=value, as in a device's options; may be repeated.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Count the people on pictures and hold that against the truth; the pictures are not shown, kept or sent."""
    from edge_agent.registry import evaluate_pictures  # noqa: PLC0415 - the other commands need no camera

    try:
        numbers = asyncio.run(evaluate_pictures(folder, csv, {"method": method, **_options(option or [])}))
    except ConfigError as error:
        raise _wrong(error) from error
    except (DeviceUnavailable, ProtocolError, OSError) as error:
        raise ended(EXIT_UNAVAILABLE, f"error: {error}") from error
    _show(numbers, json_=json_)


def _options(texts: list[str]) -> dict[str, bool | int | float | str]:
    import tomllib  # noqa: PLC0415

    found: dict[str, bool | int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is no name=value")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found


def _show(numbers: Mapping[str, Any], *, json_: bool) -> None:
    if json_:
        typer.echo(json.dumps(numbers))
        return
    for name, value in numbers.items():
        if isinstance(value, dict):
            text = ", ".join(f"{part.replace('_', ' ')} {number}" for part, number in value.items()) or "none"
        else:
            text = "-" if value is None else str(value)
        typer.echo(f"{name.replace('_', ' '):>24}  {text}")


def _wrong(error: ConfigError) -> typer.Exit:
    return ended(EXIT_CONFIG, "\n".join(f"error: {problem}" for problem in error.problems))
