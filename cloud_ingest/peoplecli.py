"""`cloud-ingest subject`, `gateway`, `audit`: what concerns people and those who look at their data."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_ingest.clikit import (
    BAD_CONFIG,
    EPILOG,
    FAILED,
    UNAVAILABLE,
    ConfigOption,
    DataFolder,
    DataOption,
    JsonOption,
    MqttOption,
    ReasonOption,
    StoreOption,
    carry_out,
    fail,
    handles_of,
    moment,
    or_fail,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.audit_heads import AuditHeads, HeldHead

subject_app = typer.Typer(help="One person's data.", epilog=EPILOG, no_args_is_help=True)
gateway_app = typer.Typer(help="Gateways that must not be believed any more.", epilog=EPILOG, no_args_is_help=True)
audit_app = typer.Typer(help="Heads of the gateways' audit logs.", epilog=EPILOG, no_args_is_help=True)


@subject_app.command(epilog=EPILOG)
def export(  # noqa: PLR0917
    handle: Annotated[str, typer.Option("--handle", help="32 hex digits.")],
    out: Annotated[Path, typer.Option("--out", help="The copy's file, made with mode 0600.")],
    reason: ReasonOption,
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
) -> None:
    """Write a person's copy: all rows under a handle, from all stores and the dead letters."""
    from cloud_ingest.access import AccessLog  # noqa: PLC0415
    from cloud_ingest.subject import collect, count  # noqa: PLC0415

    handles_of([handle], None)
    settings = (
        settings_of(config, mqtt or "mqtt://localhost", store, data)
        if config is None
        else settings_of(config, mqtt, store, data)
    )
    copy = carry_out(collect(settings, handle))
    or_fail(
        lambda: AccessLog(settings.data).write("export", handle=handle, reason=reason, rows=count(copy), out=str(out))
    )
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(copy, file, ensure_ascii=False, indent=2)
    except OSError as error:
        fail(BAD_CONFIG, f"{out}: {error.strerror} → name a new file in a folder that you may write")
    typer.echo(f"{out}: {count(copy)} rows")


@gateway_app.command(epilog=EPILOG)
def compromised(  # noqa: PLR0917
    gateway: Annotated[str, typer.Argument(help="The gateway's name.")],
    site: Annotated[str, typer.Option("--site", help="The school.")],
    reason: ReasonOption = "stolen",
    config: ConfigOption = None,
    mqtt: MqttOption = None,
    store: StoreOption = None,
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the handles to this file, mode 0600.")] = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="ROOM/DEVICE of the gateway, if the broker forgot; repeatable.")
    ] = None,
) -> None:
    """Refuse a gateway's batches from now on, and tell who is affected and which keys must be renewed."""
    from cloud_ingest import revoked  # noqa: PLC0415
    from cloud_ingest.access import AccessLog, who  # noqa: PLC0415
    from cloud_ingest.compromised import affected, devices_of  # noqa: PLC0415

    settings = settings_of(config, mqtt, store, data)
    revocation = revoked.Revocation(site=site, gateway=gateway, at_ns=time.time_ns(), by=who(), reason=reason)
    or_fail(lambda: revoked.add(settings.data, revocation))
    typer.echo(f"gateway {gateway} of {site}: its batches are refused from now on ({revoked.REASON})")
    named = [one.partition("/") for one in device or ()]
    devices = [(room, name) for room, _, name in named] if named else carry_out(devices_of(settings, site, gateway))
    if devices is None:
        fail(UNAVAILABLE, "the broker retains nothing of its devices → name them: --device ROOM/DEVICE")
    found = carry_out(affected(settings, site, devices))
    or_fail(lambda: AccessLog(settings.data).write("compromised", handle=None, reason=reason, gateway=gateway))
    for purpose, counts in found["handles"].items():
        typer.echo(f"{purpose}: {len(counts)} people's rows came from its devices, {sum(counts.values())} rows")
    for purpose, people in found["people_of_the_site"].items():
        typer.echo(
            f"{purpose}: whoever has its key for this purpose can tell which handle is whose, of all {people} people of"
            " the site → renew it: edge-agent privacy gateway-keys on a new master key, on every gateway of the site"
        )
    typer.echo("take away its login at the broker too, and its certificate if it has one")
    if out is not None:
        try:
            with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump({"site": site, "gateway": gateway, **found}, file, ensure_ascii=False, indent=2)
        except OSError as error:
            fail(BAD_CONFIG, f"{out}: {error.strerror} → name a new file in a folder that you may write")
        typer.echo(f"{out}: the handles, by purpose")


@gateway_app.command(epilog=EPILOG)
def reinstate(
    gateway: Annotated[str, typer.Argument(help="The gateway's name.")],
    site: Annotated[str, typer.Option("--site", help="The school.")],
    data: DataFolder,
) -> None:
    """Take a gateway's batches again, after it was set up anew with new keys."""
    from cloud_ingest import revoked  # noqa: PLC0415

    if not or_fail(lambda: revoked.remove(data, site, gateway)):
        fail(FAILED, f"gateway {gateway} of {site} is not refused")
    typer.echo(f"gateway {gateway} of {site}: its batches are taken again")


@audit_app.command(epilog=EPILOG)
def heads(
    data: DataFolder,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only this gateway.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the heads that were told, for `edge-agent privacy audit verify --heads`."""
    _show_heads(data, gateway, flagged=False, as_json=as_json)


@audit_app.command(epilog=EPILOG)
def flags(
    data: DataFolder,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only this gateway.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the heads that do not continue what was told before: an audit log was rewritten or shortened."""
    raise typer.Exit(FAILED if _show_heads(data, gateway, flagged=True, as_json=as_json) else 0)


def _show_heads(data: Path, gateway: str | None, *, flagged: bool, as_json: bool) -> int:
    from cloud_ingest.audit_heads import FILE_NAME, AuditHeads  # noqa: PLC0415
    from telemetry.counters import Counters  # noqa: PLC0415

    path = data / FILE_NAME
    if not path.is_file():
        fail(BAD_CONFIG, f"{path}: does not exist → give the --data of `cloud-ingest run`")
    with closing(AuditHeads(path, counters=Counters())) as held:
        found = [one for one in _heads_in(held, flagged=flagged) if gateway in {None, one.gateway}]
    if as_json:
        names = ("site", "gateway", "n", "hash", "at_ns", "step")
        typer.echo(json.dumps([{name: getattr(one, name) for name in names} for one in found], indent=2))
        return len(found)
    for one in found:
        typer.echo(f"{moment(one.at_ns)}  {one.site}/{one.gateway}  entry {one.n}  {one.hash[:16]}…  {one.step}")
    typer.echo(f"{len(found)} {'flags' if flagged else 'heads'}")
    return len(found)


def _heads_in(held: AuditHeads, *, flagged: bool) -> Sequence[HeldHead]:
    if flagged:
        return held.flags()
    return [head for newest in held.newest() for head in held.heads(newest.site, newest.gateway)]
