"""`cloud-ingest`: run, console, check, query, deadletter.

Exit codes: `clikit.EPILOG`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cloud_ingest.clikit import (
    BAD_CONFIG,
    EPILOG,
    UNAVAILABLE,
    ConfigOption,
    DataFolder,
    DataOption,
    JsonOption,
    MqttOption,
    StoreOption,
    carry_out,
    fail,
    settings_of,
)
from cloud_ingest.durations import parse_duration
from cloud_ingest.erasecli import erase_app
from cloud_ingest.peoplecli import audit_app, gateway_app, subject_app
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from cloud_ingest.stores.base import Record, Selection
    from telemetry.sample import DataClass

_THREADS: Final = "ingest-thread"
_MOST_THREADS: Final = 32
"""Room for our own files beside look-ups at a name server that hangs."""
_PATIENCE_S: Final = 0.5
GC_EVERY: Final = 100_000

app = typer.Typer(
    name="cloud-ingest",
    help="Takes batches from the MQTT broker, stores them, and acknowledges only what is stored.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
AccessFolder = Annotated[
    Path | None, typer.Option("--data", envvar="CAMPUS_INGEST_DATA", help="Folder of the access log.")
]
_LISTEN_HELP: Final = "host:port of the console, such as [::1]:8080; port 0 takes a free one."
letters_app = typer.Typer(help="Messages that could not be stored.", epilog=EPILOG, no_args_is_help=True)
app.add_typer(letters_app, name="deadletter")
app.add_typer(erase_app, name="erase")
app.add_typer(subject_app, name="subject")
app.add_typer(gateway_app, name="gateway")
app.add_typer(audit_app, name="audit")


@app.command(epilog=EPILOG)
def run(  # noqa: PLR0917 - each is an option by name
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    console: Annotated[
        bool, typer.Option("--console", help="Serve the web console too, as a process of its own.")
    ] = False,
    console_listen: Annotated[str | None, typer.Option("--console-listen", help=_LISTEN_HELP)] = None,
) -> None:
    """Take batches from the broker and store them, until SIGTERM."""
    settings = settings_of(config, mqtt, store, data, listen=console_listen)
    if console_listen is not None and not console:
        raise typer.BadParameter("goes with --console", param_hint="--console-listen")
    if console:
        _check_console()
    from cloud_ingest.service import Service  # noqa: PLC0415 - heavy

    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )

    async def serve() -> None:
        threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix=_THREADS)
        asyncio.get_running_loop().set_default_executor(threads)
        await Service(settings, with_console=console).run()
        await _leave(threads)

    # Rows die by reference count; the collector would only walk over all of them again and again (14 % of the CPU).
    gc.freeze()
    gc.set_threshold(GC_EVERY, 20, 100)
    carry_out(serve())


def _check_console() -> None:
    from cloud_ingest.console.program import check_extra  # noqa: PLC0415

    try:
        check_extra()
    except ConfigError as error:
        fail(UNAVAILABLE, str(error))


@app.command(epilog=EPILOG)
def console(  # noqa: PLR0917 - each is an option by name
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    listen: Annotated[str | None, typer.Option("--listen", help=_LISTEN_HELP)] = None,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="Ask for a password, print the line for console.password_file.")
    ] = False,
) -> None:
    """Serve rooms and gateways as web pages, reading store and broker, until SIGTERM."""
    if hash_password:
        _print_hash()
        return
    _check_console()
    settings = settings_of(config, mqtt, store, data, listen=listen)
    from cloud_ingest.console.program import run_console  # noqa: PLC0415 - heavy

    code = asyncio.run(run_console(settings, lambda address: typer.echo(f"console at {address}")))
    raise typer.Exit(code)


def _print_hash() -> None:
    from cloud_ingest.console.session import hash_password  # noqa: PLC0415

    try:
        typer.echo(hash_password(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="password") from error


async def _leave(threads: ThreadPoolExecutor) -> None:
    """End without waiting for a name server that hangs: all is closed, and a look-up cannot be cancelled."""
    threads.shutdown(wait=False, cancel_futures=True)
    end = time.monotonic() + _PATIENCE_S
    while any(thread.name.startswith(_THREADS) for thread in threading.enumerate()):
        if time.monotonic() > end:
            logging.shutdown()
            os._exit(0)
        await asyncio.sleep(0.01)


@app.command(epilog=EPILOG)
def check(
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try settings, broker, stores and own files; show counters. Names every problem at once."""
    from cloud_ingest.check import run_checks, show  # noqa: PLC0415 - heavy

    if config is None and mqtt is None and store is None and data is not None:
        findings = carry_out(run_checks(None, data))
    else:
        settings = settings_of(config, mqtt, store, data)
        findings = carry_out(run_checks(settings, settings.data))
    raise typer.Exit(show(findings, as_json=as_json))


@app.command(epilog=EPILOG)
def query(  # noqa: PLR0917 - each is an option by name
    store: Annotated[str, typer.Option("--store", help="Store URL.")],
    measurement: Annotated[str, typer.Option("--measurement", help="Such as environment or attendance.")],
    last: Annotated[str, typer.Option("--last", help="How far back, such as 1h; 0 or all for everything.")] = "1h",
    every: Annotated[str | None, typer.Option("--every", help="Means by time bucket, such as 1m.")] = None,
    field: Annotated[list[str] | None, typer.Option("--field", help="Only this field; may be repeated.")] = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="tag=value; may be repeated.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    data: AccessFolder = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, if it concerns people: stands in the log.")
    ] = "unspecified",
) -> None:
    """Print stored rows by time. With --data, who looked at rows about people is written to its access log."""
    from cloud_ingest.output import write_records  # noqa: PLC0415 - heavy
    from cloud_ingest.stores.base import Selection  # noqa: PLC0415
    from cloud_ingest.stores.opening import open_store  # noqa: PLC0415

    if form not in ("table", "csv", "json"):
        raise typer.BadParameter(f"{form!r} is none of table, csv, json", param_hint="--format")
    pairs = [tuple(text.split("=", 1)) for text in where or []]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 - tag and value
        raise typer.BadParameter("write tag=value", param_hint="--where")
    since_ns = None if last in ("0", "all") else time.time_ns() - _duration(last, "--last")
    every_ns = None if every is None else _duration(every, "--every")
    selection = Selection(
        measurement=measurement,
        since_ns=since_ns,
        every_ns=every_ns,
        fields=tuple(field or ()),
        where=tuple((tag, value) for tag, value in pairs),
    )

    async def read() -> list[Record]:
        opened = open_store(store)
        try:
            return await opened.query(selection)
        finally:
            await opened.close()

    records = carry_out(read())
    if data is not None:
        _log_access(data, records, selection, reason)
    write_records(records, form)  # type: ignore[arg-type]
    if not records:
        _say_why_empty(measurement, last)


def _log_access(data: Path, records: list[Record], selection: Selection, reason: str) -> None:
    """Write down that rows about people are about to be shown; without that they are not shown."""
    from cloud_ingest.access import AccessLog  # noqa: PLC0415

    asked_for = [value for tag, value in selection.where if tag == "subject"]
    if not asked_for and not any("subject" in record for record in records):
        return
    try:
        AccessLog(data).write(
            "query",
            handle=asked_for[0] if asked_for else None,
            reason=reason,
            measurement=selection.measurement,
            rows=len(records),
        )
    except ConfigError as error:
        fail(BAD_CONFIG, str(error))


def _duration(text: str, option: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _say_why_empty(measurement: str, last: str) -> None:
    """Tell on stderr, where it disturbs no consumer, what may be wrong with a question that found nothing."""
    from cloud_ingest.rows import MEASUREMENTS  # noqa: PLC0415 - heavy

    known = f"; known: {', '.join(sorted(MEASUREMENTS))}" if measurement not in MEASUREMENTS else ""
    period = "" if last in ("0", "all") else f" in the last {last}; --last all asks for everything"
    sys.stderr.write(f"cloud-ingest: no rows of {measurement!r}{period}{known}\n")


@letters_app.command("list", epilog=EPILOG)
def list_letters(data: DataFolder, as_json: JsonOption = False) -> None:
    """List dead letters, oldest first."""
    from cloud_ingest.lettercli import list_all  # noqa: PLC0415 - heavy

    carry_out(list_all(data, as_json=as_json))


@letters_app.command("show", epilog=EPILOG)
def show_letter(
    number: Annotated[int, typer.Argument(help="Number of the letter.")],
    data: DataFolder,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter with its content."""
    from cloud_ingest.lettercli import show_one  # noqa: PLC0415 - heavy

    raise typer.Exit(carry_out(show_one(data, number, as_json=as_json)))


@letters_app.command("replay", epilog=EPILOG)
def replay_letters(
    data: DataFolder,
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of letters; none means all.")] = None,
    config: ConfigOption = None,
    store: Annotated[
        str | None, typer.Option("--store", envvar="CAMPUS_INGEST_STORE__URL", help="Store URL, without --config.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try to store dead letters again; those that are stored are removed."""
    from cloud_ingest.lettercli import replay  # noqa: PLC0415 - heavy

    routes: dict[DataClass, str] = {}
    if config is not None:
        settings = settings_of(config, None, store, data)
        store, routes = settings.store.url, settings.store.routes
    if store is None:
        raise typer.BadParameter("give --store or --config")
    raise typer.Exit(carry_out(replay(data, store, routes, numbers or [], as_json=as_json)))


@letters_app.command("purge", epilog=EPILOG)
def purge_letters(
    data: DataFolder,
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of letters.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all letters.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove dead letters for good."""
    from cloud_ingest.lettercli import purge  # noqa: PLC0415 - heavy

    if not numbers and not everything:
        raise typer.BadParameter("name letters, or say --all")
    carry_out(purge(data, numbers or [], everything=everything, as_json=as_json))


def main() -> None:
    """Entry point."""
    try:
        app()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"cloud-ingest needs {error.name} → pip install 'campus-edge[ingest]'\n")
        sys.exit(UNAVAILABLE)


if __name__ == "__main__":
    main()
