"""What the commands share: options, settings, exit codes."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

from telemetry.erasure import MAX_HASHES
from telemetry.errors import AuthError, CampusError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cloud_ingest.settings import Settings

FAILED: Final = 1
UNAVAILABLE: Final = 69
BAD_CONFIG: Final = 78
EPILOG: Final = (
    "Exit codes: 0 done, 1 a check failed, something is left or was found, 2 wrong usage,"
    " 69 broker or store unavailable, 78 wrong settings."
)
_HANDLE: Final = re.compile(r"[0-9a-f]{32}")
_NS: Final = 10**9
T = TypeVar("T")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).")]
MqttOption = Annotated[str | None, typer.Option("--mqtt", help="Broker: mqtt://host:port or mqtts://…")]
StoreOption = Annotated[str | None, typer.Option("--store", help="sqlite:///path, influx1://… or influx2://…")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of the ingest's own files.")]
DataFolder = Annotated[Path, typer.Option("--data", help="Folder of the ingest's own files.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="The school; may be left out where there is one.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for answers, each.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; stands in the receipt and the access log.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def moment(time_ns: int) -> str:
    """Return UTC nanoseconds as text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // _NS))


def handles_of(given: list[str] | None, file: Path | None) -> list[str]:
    """Return the handles given, each once; raises BadParameter for what is none."""
    handles = list(given or [])
    if file is not None:
        try:
            handles += [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read", param_hint="--subject-file") from error
    if len(handles) > MAX_HASHES:
        raise typer.BadParameter(f"more than {MAX_HASHES} handles: one request is about one person")
    if not handles:
        raise typer.BadParameter("give --handle or --subject-file")
    if not all(_HANDLE.fullmatch(handle) for handle in handles):
        # Not quoted: it may be a card's number.
        raise typer.BadParameter(
            "a handle is 32 lower-case hex digits: edge-agent privacy handle", param_hint="--handle"
        )
    return list(dict.fromkeys(handles))


def settings_of(
    config: Path | None, mqtt: str | None, store: str | None, data: Path | None, *, listen: str | None = None
) -> Settings:
    """Return the settings; ends the program with 78 if they are wrong."""
    from cloud_ingest.settings import load  # noqa: PLC0415 - heavy

    flags: dict[str, Any] = {}
    if listen is not None:
        flags["console"] = {"listen": listen}
    if mqtt is not None:
        flags["mqtt"] = {"url": mqtt}
    if store is not None:
        flags["store"] = {"url": store}
    if data is not None:
        flags["data"] = data
    return or_fail(lambda: load(config, flags))


def or_fail(work: Callable[[], T]) -> T:
    """Return what `work` returns; a ConfigError ends the program with 78."""
    try:
        return work()
    except ConfigError as error:
        fail(BAD_CONFIG, str(error))


def carry_out(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, turning our errors into exit codes."""
    try:
        return asyncio.run(work)
    except ConfigError as error:
        fail(BAD_CONFIG, str(error))
    except AuthError as error:
        fail(UNAVAILABLE, f"credentials were refused: {error}")
    except CampusError as error:
        fail(UNAVAILABLE, str(error))


def fail(code: int, message: str) -> NoReturn:
    """End the program with `code`."""
    sys.stderr.write(f"cloud-ingest: {message}\n")
    raise typer.Exit(code)
