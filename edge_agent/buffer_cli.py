"""`edge-agent buffer`: what waits, how many hours there is room for, and what the flash card has to bear."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import typer

from edge_agent.cli_common import DEFAULT_CONFIG, EPILOG, EXIT_CONFIG, EXIT_UNAVAILABLE, ConfigOption, JsonOption
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from edge_agent.buffer import BufferStatus, FlashState
    from edge_agent.settings import Settings

buffer_app = typer.Typer(help="The durable buffer.", epilog=EPILOG, no_args_is_help=True)
_RATES: Final = {
    "measured": "at the rate of the last hour",
    "kept": "at the rate that the agent measured last",
    "estimated": "an estimate from the configuration: nothing was measured yet",
}
_PRIORITIES: Final = {"events": "attendance", "samples": "the room's air, energy and counts", "bulk": "vitals, gateway"}


@buffer_app.callback()
def _buffer() -> None:
    """Make `status` a command of its own, though it is the only one."""


@buffer_app.command(epilog=EPILOG)
def status(config: ConfigOption = DEFAULT_CONFIG, json_: JsonOption = False) -> None:
    """Show what waits in the buffer, for how many hours there is room, and what is written a day."""
    from edge_agent.buffer import greatest_age_h, read_status  # noqa: PLC0415
    from edge_agent.catalogue import build_catalogue  # noqa: PLC0415
    from edge_agent.estimate import estimate  # noqa: PLC0415
    from edge_agent.settings import parse_settings, read_table  # noqa: PLC0415

    try:
        settings = parse_settings(read_table(config), f"{config}:")
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(EXIT_CONFIG) from error
    if not settings.buffer.path.is_dir():
        typer.echo(f"error: {settings.buffer.path}: there is no buffer yet → start the agent once", err=True)
        raise typer.Exit(EXIT_UNAVAILABLE)
    # A device with a problem is `check`'s business; the others are enough for an estimate.
    devices, _ = build_catalogue(settings.devices, settings.links, settings.profile_folders, settings.rooms)
    try:
        found = read_status(
            settings.buffer.path,
            max_bytes=settings.buffer.max_bytes,
            max_age_h=greatest_age_h(settings.buffer.age_limits),
            estimate=estimate(settings, devices),
        )
    except OSError as error:
        typer.echo(f"error: {settings.buffer.path}: {error.strerror} → run it as the agent's user", err=True)
        raise typer.Exit(EXIT_UNAVAILABLE) from error
    if json_:
        document: dict[str, Any] = asdict(found)
        document["max_age_days"] = {str(name): days for name, days in settings.buffer.age_limits.items()}
        typer.echo(json.dumps(document))
        return
    for name, words in _lines(found, settings):
        typer.echo(f"{name:>14}  {words}")


def _lines(found: BufferStatus, settings: Settings) -> list[tuple[str, str]]:
    oldest = "" if found.oldest_age_s is None else f", the oldest for {_time(found.oldest_age_s)}"
    lines = [("waiting", f"{found.batches} batches, {found.values} values, {_size(found.bytes)}{oldest}")]
    lines += [
        (name, f"{held.batches} batches, {held.values} values, {_size(held.bytes)} ({_PRIORITIES[name]})")
        for name, held in found.held.items()
        if held.batches
    ]
    if found.unsynced_bytes:
        lines.append(("no clock", f"{_size(found.unsynced_bytes)} more wait until the gateway knows the time"))
    if found.hours_left is None:
        lines.append(("hours left", "unknown: no device is configured, and nothing was measured"))
    else:
        how = _RATES[found.rate or "estimated"]
        if found.rate == "kept" and found.figures_age_s is not None:
            how += f", {_time(found.figures_age_s)} ago"
        lines.append(("hours left", f"{found.hours_left:.0f} until something is dropped, {how}"))
        lines += [
            (name, f"{left:.0f} h ({_PRIORITIES[name]})")
            for name, left in found.hours_left_of.items()
            if left > found.hours_left
        ]
    lines.append(("disk", f"{_size(found.disk_bytes)} of {_size(found.max_bytes)}"))
    limits = ", ".join(f"{name} {days:g} days" for name, days in settings.buffer.age_limits.items())
    lines.append(("may wait", limits))
    lines.append(("flash", _flash(found.flash, settings.buffer.flash_budget_bytes)))
    return lines


def _flash(flash: FlashState | None, budget: int) -> str:
    if flash is None or flash.written_bytes_a_day is None:
        return f"nothing measured yet; budget {_size(budget)} a day on a healthy link"
    words = f"{_size(flash.written_bytes_a_day)} a day of {_size(budget)}"
    words += " (over the budget: right only in an outage)" if flash.written_bytes_a_day > budget else ""
    words += f"; {flash.syncs_an_hour or 0:.0f} fsyncs an hour; watched for {_time(flash.over_s)}"
    if flash.device_bytes_a_day is not None:
        words += f"; the whole device took {_size(flash.device_bytes_a_day)} a day"
    return words


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - SI
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
