"""`edge-agent camera …`: what a technician does with a camera; none of it needs the agent to run."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge_agent.cli_common import DEFAULT_CONFIG, EPILOG, EXIT_CONFIG, EXIT_FAILED, EXIT_UNAVAILABLE, ConfigOption
from telemetry.counters import Counters
from telemetry.errors import AuthError, ConfigError, DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.catalogue import Device
    from edge_agent.settings import LinkSettings, Settings

MAX_MINUTES: Final = 30
MIN_REASON: Final = 5
camera_app = typer.Typer(
    help="Cameras: aim one, check its place, evaluate pictures.", epilog=EPILOG, no_args_is_help=True
)


@camera_app.command(epilog=EPILOG)
def aim(
    name: Annotated[str, typer.Argument(help="The camera: a device's name in the settings.")],
    *,
    why: Annotated[str, typer.Option(help="Why you look; it goes into the audit, with your user name.")],
    minutes: Annotated[float, typer.Option(help="The view closes by itself after so many.", max=MAX_MINUTES)] = 5,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: a free one.", min=0, max=65535)] = 0,
    filled: Annotated[
        bool, typer.Option("--filled", help="Keep the empty room; people who come are rectangles on it.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show the empty room, on this machine only; the view closes at once when a person is detected."""
    from edge_agent.configuration import load_configuration  # noqa: PLC0415 - needs the extra agent
    from edge_agent.registry import aim_camera  # noqa: PLC0415 - the other commands need no camera

    if len(why.strip()) < MIN_REASON or minutes <= 0:
        raise typer.BadParameter(f"say why, in at least {MIN_REASON} letters, and for how long")
    device, link = named_camera(name, config)
    settings = load_configuration(Path(config)).settings
    visit = {"who": who(), "why": why.strip(), "seconds": 60 * minutes, "port": port, "filled": filled}
    try:
        sound, reason = asyncio.run(
            aim_camera(device.settings, link, device.options, visit=visit, announce=_announce, audit=auditing(settings))
        )
    except ConfigError as error:
        raise ended(EXIT_CONFIG, str(error)) from error
    except (DeviceUnavailable, AuthError, OSError) as error:
        raise ended(EXIT_UNAVAILABLE, str(error)) from error
    typer.echo(f"closed: {reason}")
    raise typer.Exit(0 if sound else EXIT_FAILED)


def who() -> str:
    """Return the person's user name; behind sudo the one who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


def auditing(settings: Settings) -> Callable[[Mapping[str, object]], None]:
    """Return what writes an event into the gateway's audit log, and shows it. It raises OSError if it cannot."""
    from edge_agent.audit import AuditLog  # noqa: PLC0415

    counters = Counters()
    log = AuditLog(settings.privacy_dir, counters=counters)

    def write(event: Mapping[str, object]) -> None:
        log.append(str(event["event"]), {name: value for name, value in event.items() if name != "event"})
        if counters.get("audit.unwritten"):
            raise OSError("the audit log cannot be written: nobody may look without an entry in it")
        typer.echo(json.dumps(event, ensure_ascii=False), err=True)

    return write


def _announce(url: str) -> None:
    typer.echo(f"Open on this machine, once: {url}")
    typer.echo("From another: ssh -L, with the same port at both ends. Ctrl-C closes the view.")


def named_camera(name: str, config: os.PathLike[str]) -> tuple[Device, LinkSettings]:
    """Return the camera of that name and its link. Raises Exit, with the reason on stderr."""
    from edge_agent.configuration import load_configuration  # noqa: PLC0415

    try:
        configuration = load_configuration(Path(config))
    except ConfigError as error:
        raise ended(EXIT_CONFIG, "\n".join(f"error: {problem}" for problem in error.problems)) from error
    links = {link.name: link for link in configuration.settings.links if link.kind == "camera"}
    cameras = {key: one for key, one in configuration.devices.items() if one.settings.link in links}
    device = cameras.get(name)
    if device is None:
        raise ended(EXIT_CONFIG, f"error: no camera {name!r} in {config} → use one of: {', '.join(cameras) or 'none'}")
    return device, links[device.settings.link]


def ended(code: int, text: str) -> typer.Exit:
    """Say `text` on stderr; return the end of the program with `code`."""
    typer.echo(text, err=True)
    return typer.Exit(code)
