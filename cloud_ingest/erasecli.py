"""`cloud-ingest erase`: erases people from everywhere, and proves it."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_ingest.clikit import (
    BAD_CONFIG,
    EPILOG,
    FAILED,
    ConfigOption,
    DataFolder,
    DataOption,
    JsonOption,
    MqttOption,
    ReasonOption,
    SiteOption,
    StoreOption,
    WaitOption,
    carry_out,
    fail,
    handles_of,
    moment,
    or_fail,
    settings_of,
)
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from cloud_ingest.erasure.state import State
    from cloud_ingest.settings import Settings

erase_app = typer.Typer(help="Erase people from everywhere, and prove it.", epilog=EPILOG)


@erase_app.callback(invoke_without_command=True)
def erase(  # noqa: PLR0917 - each is an option by name
    context: typer.Context,
    handle: Annotated[list[str] | None, typer.Option("--handle", help="32 hex digits; may be repeated.")] = None,
    subject_file: Annotated[Path | None, typer.Option("--subject-file", help="Handles, one a line.")] = None,
    site: SiteOption = None,
    reason: ReasonOption = "asked for",
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    wait: WaitOption = 30.0,
    without_gateway: Annotated[
        list[str] | None, typer.Option("--without-gateway", help="One that is gone for good; do not wait for it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Erase the person behind these handles (`edge-agent privacy handle` tells them, for each purpose and year)."""
    if context.invoked_subcommand is not None:
        return
    handles = handles_of(handle, subject_file)
    settings = settings_of(config, mqtt, store, data)
    from cloud_ingest.erasure.program import begin  # noqa: PLC0415 - heavy

    state = carry_out(
        begin(
            settings,
            site=_site(settings, site),
            handles=handles,
            reason=reason,
            wait_s=wait,
            without_gateways=without_gateway or (),
        )
    )
    raise typer.Exit(_told(settings, state, as_json=as_json))


@erase_app.command(epilog=EPILOG)
def status(  # noqa: PLR0917
    request: Annotated[str | None, typer.Argument(help="Number of the request; none lists all.")] = None,
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    wait: WaitOption = 10.0,
    without_gateway: Annotated[
        list[str] | None, typer.Option("--without-gateway", help="One that is gone for good; do not wait for it.")
    ] = None,
    without_worker: Annotated[
        list[str] | None, typer.Option("--without-worker", help="A worker of the ingest that is gone for good.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Do what is left to be done about a request (a gateway may have returned), and tell how it stands."""
    from cloud_ingest.erasure.program import go_on  # noqa: PLC0415 - heavy
    from cloud_ingest.erasure.state import States  # noqa: PLC0415

    settings = settings_of(config, mqtt, store, data)
    states = States(settings.data)
    if request is None:
        for one in or_fail(states.all):
            typer.echo(_line(one))
        return
    state = or_fail(lambda: states.load(request))
    work = go_on(
        settings,
        state,
        wait_s=wait,
        without_gateways=without_gateway or (),
        without_workers=without_worker or (),
    )
    raise typer.Exit(_told(settings, carry_out(work), as_json=as_json))


@erase_app.command(epilog=EPILOG)
def verify(
    receipt: Annotated[Path, typer.Argument(help="The receipt's file.")],
    key: Annotated[Path, typer.Option("--key", help="The cloud's public key, cloud.pub.")],
    handle: Annotated[str | None, typer.Option("--handle", help="Tell whether it is about this handle.")] = None,
) -> None:
    """Tell whether a receipt is what the cloud signed, and what it says."""
    from cloud_ingest.erasure.keys import public_keys  # noqa: PLC0415
    from cloud_ingest.erasure.receipt import ReceiptRefused, concerns  # noqa: PLC0415
    from cloud_ingest.erasure.receipt import verify as verified  # noqa: PLC0415

    try:
        found = verified(receipt.read_bytes(), public_keys(key))
    except ReceiptRefused as error:
        fail(FAILED, f"{receipt}: {error}")
    except ConfigError as error:
        fail(BAD_CONFIG, str(error))
    except OSError as error:
        fail(BAD_CONFIG, f"{receipt}: {error.strerror} → name the receipt's file")
    typer.echo(f"signed by the cloud: request {found['request']} of {found['asked_at']}, site {found['site']}")
    typer.echo(f"complete: {'yes' if found['complete'] else 'no'}; pending: {json.dumps(found['pending'])}")
    if handle is not None:
        mine = concerns(found, handle)
        typer.echo(f"about this handle: {'yes' if mine else 'no'}")
        raise typer.Exit(0 if mine else FAILED)


@erase_app.command(epilog=EPILOG)
def keygen(data: DataFolder) -> None:
    """Make the key that signs orders and receipts; each gateway gets its public half (`privacy.cloud_key`)."""
    from cloud_ingest.erasure.keys import PUBLIC_NAME, make_keys  # noqa: PLC0415

    public = or_fail(lambda: make_keys(data))
    typer.echo(f"{data / PUBLIC_NAME}: key {public.key_id} → copy it to each gateway: `cloud_key` = …")


@erase_app.command(epilog=EPILOG)
def scan(
    request: Annotated[str, typer.Argument(help="Number of the request.")],
    path: Annotated[list[Path], typer.Option("--path", help="File or folder, such as a database's; may be repeated.")],
    data: DataFolder,
) -> None:
    """Read the bytes of files and name those in which a handle of the request still stands."""
    from cloud_ingest.erasure.emptying import scan as scanned  # noqa: PLC0415
    from cloud_ingest.erasure.state import States  # noqa: PLC0415
    from telemetry.erasure import Erased  # noqa: PLC0415

    state = or_fail(lambda: States(data).load(request))
    try:
        found = [file for one in path for file in scanned(one, Erased([state.erasure]))]
    except OSError as error:
        fail(BAD_CONFIG, f"{error.filename}: {error.strerror} → run this as a user who may read it")
    for file in found:
        typer.echo(file)
    typer.echo(f"{len(found)} files hold a handle of request {request}")
    raise typer.Exit(FAILED if found else 0)


@erase_app.command(epilog=EPILOG)
def lift(
    request: Annotated[str, typer.Argument(help="Number of the request.")],
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Take rows of the erased person again: it was the wrong handle, or he came back. What is erased stays so."""
    from cloud_ingest.erasure.program import lift as lifted  # noqa: PLC0415
    from cloud_ingest.erasure.state import States  # noqa: PLC0415

    settings = settings_of(config, mqtt, store, data)
    carry_out(lifted(settings, or_fail(lambda: States(settings.data).load(request))))
    typer.echo(f"request {request}: rows of theirs are taken again")


def _told(settings: Settings, state: State, *, as_json: bool) -> int:
    from cloud_ingest.erasure.state import States  # noqa: PLC0415

    path = States(settings.data).receipt_path(state.request)
    if as_json:
        sys.stdout.write(path.read_text(encoding="utf-8"))
        return FAILED if state.pending else 0
    typer.echo(_line(state))
    for name, one in sorted(state.stores.items()):
        rows = ", ".join(f"{rows} rows of {measurement}" for measurement, rows in one.found_rows.items()) or "nothing"
        typer.echo(f"  store {name}: found {rows}; {one.verified if one.verified_at_ns else 'NOT YET VERIFIED'}")
        if one.remains:
            typer.echo(f"    {one.remains}")
    for name, worker in sorted(state.workers.items()):
        said = f"{worker.letters} dead letters" if worker.confirmed_at_ns else "PENDING: it confirms when it runs"
        typer.echo(f"  worker {name}: {said}")
    for name, gateway in sorted(state.gateways.items()):
        said = f"{gateway.values} values in its buffer" if gateway.confirmed_at_ns else f"PENDING {gateway.said}"
        typer.echo(f"  gateway {name}: {said}")
        if gateway.still_consented:
            typer.echo("    its list of consents still names the person → withdraw it there, else he is measured on")
    for backup in state.backups:
        typer.echo(f"  not reached from here: {backup}")
    typer.echo(f"  handed over earlier: {len(state.handed_over)} accesses")
    typer.echo(f"receipt: {path}")
    return FAILED if state.pending else 0


def _line(state: State) -> str:
    waiting = [*state.pending_stores, *state.pending_workers, *state.pending_gateways]
    how = f"pending: {', '.join(waiting) or 'not begun'}" if state.pending else "complete"
    return f"{state.request}  {moment(state.asked_at_ns)}  {state.site}  {how}"


def _site(settings: Settings, given: str | None) -> str:
    from cloud_ingest.seen import sites_in  # noqa: PLC0415
    from telemetry.topics import NAME  # noqa: PLC0415

    if given is not None:
        if not NAME.fullmatch(given):
            raise typer.BadParameter(f"{given!r} is no site's name", param_hint="--site")
        return given
    known = sites_in(settings.data)
    if len(known) != 1:
        raise typer.BadParameter(f"say which; known here: {', '.join(known) or 'none'}", param_hint="--site")
    return known[0]
