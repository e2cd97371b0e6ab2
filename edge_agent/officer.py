"""`edge-agent privacy`: the officer's commands (keys, signatures, handles, look-ups), and the page of what leaves."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from edge_agent.cli_common import DEFAULT_CONFIG, EXIT_CONFIG, EXIT_FAILED, ConfigOption, JsonOption
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.privacy import GatewayKeys
    from telemetry.sample import Subject

_EPILOG: Final = (
    "Exit codes: 0 done, 1 not found or not valid, 2 wrong usage, 69 a library is missing, 78 a wrong file."
)
_SEE: Final = "docs/guides/privacy-officer.md"
_MAX_LINE: Final = 200

app = typer.Typer(
    help="Keys, signed documents, handles; what leaves this gateway.", epilog=_EPILOG, no_args_is_help=True
)

MasterOption = Annotated[Path, typer.Option("--master", help="The officer's master.key.")]
YearOption = Annotated[str, typer.Option("--school-year", help="Such as 2026-2027.")]
PurposeOption = Annotated[str, typer.Option("--purpose", help="Such as attendance.")]
PurposesOption = Annotated[list[str], typer.Option("--purpose", help="Such as attendance; may be given several times.")]
KindOption = Annotated[str, typer.Option("--kind", help="What the identifier is: card, band, …")]
TableOption = Annotated[
    Path | None, typer.Option("--csv", help="File with one person a line, without a heading; - or none: stdin.")
]
IdsOption = Annotated[Path | None, typer.Option("--ids", help="File with one identifier a line; - or none: stdin.")]


@app.command(epilog=_EPILOG)
def keygen(
    site: Annotated[str, typer.Option("--site", help="The school, as in agent.toml.")],
    out: Annotated[Path, typer.Option("--out", help="A folder that only the officer can read.")],
) -> None:
    """Make the site's master key and the officer's signing key; say how to keep them."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    from edge_agent.privacy.escrow import instructions  # noqa: PLC0415
    from edge_agent.privacy.master import master_text, new_master_key, write_new  # noqa: PLC0415
    from telemetry.signed import PublicKey, public_line  # noqa: PLC0415
    from telemetry.topics import NAME  # noqa: PLC0415

    if not NAME.fullmatch(site):
        _stop(EXIT_CONFIG, f"--site: {site!r} cannot be a site's name → letters, digits, '_', '.' and '-' only")
    signing = Ed25519PrivateKey.generate()
    pem = signing.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = PublicKey(raw=signing.public_key().public_bytes_raw(), comment=f"officer of {site}")
    with _told():
        try:
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                [Problem(where=str(out), what=error.strerror or "", mend="name another --out")]
            ) from error
        files = {"master.key": master_text(new_master_key(site)), "officer.pem": pem.decode()}
        there = [out / name for name in (*files, "officer.pub") if (out / name).exists()]
        if there:
            mend = "a key that is overwritten is lost for ever: name another --out"
            raise ConfigError([Problem(where=str(path), what="exists already", mend=mend) for path in there])
        for name, text in files.items():
            write_new(out / name, text)
        write_new(out / "officer.pub", public_line(public), mode=0o644)
    typer.echo(instructions(out, site, public.key_id))


@app.command(name="gateway-keys", epilog=_EPILOG)
def gateway_keys(
    master: MasterOption,
    purpose: PurposesOption,
    school_year: YearOption,
    out: Annotated[Path, typer.Option("--out", help="The gateway's key file, made with mode 0600.")],
    simulated: Annotated[bool, typer.Option("--simulated", help="Mark all data made with these keys.")] = False,
) -> None:
    """Derive what one gateway is given: subkeys of its purposes and this school year, and no more."""
    from edge_agent.privacy.master import gateway_text, write_new  # noqa: PLC0415

    with _told():
        keys = _keys(master, purpose, school_year, simulated=simulated)
        write_new(out, gateway_text(keys))
    typer.echo(f"{out}: site {keys.site}, {school_year}, purposes {', '.join(sorted(keys.keys))}")


@app.command(epilog=_EPILOG)
def sign(
    document: Annotated[Path, typer.Argument(help="policy.toml, consents.toml or roster.toml.")],
    key: Annotated[Path, typer.Option("--key", help="The officer's officer.pem.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where the signed file goes; else in place.")] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Raise the serial by one and set issued_at to now; such as each morning.")
    ] = False,
) -> None:
    """Check a document and sign it; a signature that is there already is replaced."""
    from edge_agent.privacy.accepted import replace_file  # noqa: PLC0415
    from edge_agent.privacy.issuing import issue  # noqa: PLC0415
    from edge_agent.privacy.master import load_signing_key  # noqa: PLC0415

    with _told():
        text, said = issue(_read(document), load_signing_key(key), where=str(document), renew=renew)
        target = out or document
        try:
            replace_file(target, text)
        except OSError as error:
            raise ConfigError(
                [Problem(where=str(target), what=error.strerror or "", mend="mend its rights")]
            ) from error
    typer.echo(f"{target}: {said}")


@app.command(epilog=_EPILOG)
def verify(
    document: Annotated[Path, typer.Argument(help="A signed document.")],
    trusted: Annotated[list[Path], typer.Option("--trusted", help="The officer's officer.pub; may be given again.")],
    site: Annotated[str | None, typer.Option("--site", help="Whose it must be; else any site's.")] = None,
) -> None:
    """Tell whether a document is what a trusted key signed, and sound."""
    from edge_agent.privacy.reading import DocumentRefused, parse_document, read_document  # noqa: PLC0415
    from edge_agent.privacy.standing import minute  # noqa: PLC0415
    from edge_agent.privacy.trust import load_trusted  # noqa: PLC0415
    from telemetry.signed import SignatureRefused  # noqa: PLC0415
    from telemetry.signed import verify as verified  # noqa: PLC0415

    with _told():
        keys, text = load_trusted(trusted), _read(document)
        try:
            whose = site or parse_document(verified(text, keys).body).site
            read = read_document(text, site=whose, trusted=keys)
        except (DocumentRefused, SignatureRefused) as error:
            _stop(EXIT_FAILED, f"{document}: {error}")
    found = read.document
    typer.echo(
        f"{document}: {read.kind} of {found.site}, serial {found.serial},"
        f" issued {minute(found.issued_at)}, signed by {read.key}"
    )


@app.command(epilog=_EPILOG)
def handle(
    master: MasterOption, purpose: PurposeOption, school_year: YearOption, kind: KindOption, ids: IdsOption = None
) -> None:
    """Print the handle of each identifier, for lists of consents and rosters; none stands in the command itself."""
    with _told():
        keys = _keys(master, [purpose], school_year)
        for subject in _subjects(ids, kind):
            typer.echo(keys.handle(purpose, subject))


@app.command(epilog=_EPILOG)
def consents(  # noqa: PLR0917 - typer's way: each is an option
    master: MasterOption,
    purpose: PurposeOption,
    school_year: YearOption,
    kind: KindOption,
    table: TableOption = None,
    utc_offset: Annotated[str, typer.Option("--utc-offset", help="Local time of the dates.")] = "+08:00",
) -> None:
    """Turn a list 'identifier,guardian,under14,2027-07-15' into the [[consent]] tables of a list of consents."""
    from edge_agent.privacy import lists  # noqa: PLC0415

    with _told():
        keys = _keys(master, [purpose], school_year)
        for line in lists.consents(_lines(table), keys, purpose, kind=kind, utc_offset=utc_offset):
            typer.echo(line)


@app.command(epilog=_EPILOG)
def bindings(  # noqa: PLR0917
    master: MasterOption,
    purpose: PurposeOption,
    school_year: YearOption,
    table: TableOption = None,
    band_kind: Annotated[str, typer.Option("--band-kind", help="What the first column is.")] = "band",
    pupil_kind: Annotated[str, typer.Option("--pupil-kind", help="What the second column is.")] = "card",
) -> None:
    """Turn a list 'band,pupil' into the bindings of a roster's lesson."""
    from edge_agent.privacy import lists  # noqa: PLC0415

    with _told():
        keys = _keys(master, [purpose], school_year)
        lines = lists.bindings(_lines(table), keys, purpose, band_kind=band_kind, pupil_kind=pupil_kind)
        for line in lines:
            typer.echo(line)


@app.command(epilog=_EPILOG)
def command(
    document: Annotated[Path, typer.Argument(help="A signed document.")],
    id_: Annotated[str | None, typer.Option("--id", help="Comes back in the gateway's reply.")] = None,
) -> None:
    """Print the MQTT message that brings a signed document to a gateway: pipe it to mosquitto_pub -s."""
    from telemetry.erasure import COMMAND_SCHEMA  # noqa: PLC0415

    with _told():
        text = _read(document).decode("utf-8", "replace")
    message = {"schema": COMMAND_SCHEMA, "kind": "document", "id": id_, "text": text}
    typer.echo(json.dumps(message, ensure_ascii=False))


@app.command(epilog=_EPILOG)
def link(  # noqa: PLR0917
    handle_: Annotated[str, typer.Argument(metavar="HANDLE", help="32 hex digits.")],
    master: MasterOption,
    purpose: PurposesOption,
    school_year: YearOption,
    kind: KindOption,
    reason: Annotated[str, typer.Option("--reason", help="Why: stands in the log beside the master key.")],
    ids: IdsOption = None,
) -> None:
    """Find whose handle it is among the identifiers of a list. Each look-up is written to link-audit.jsonl first."""
    from edge_agent.privacy.link import LOG_NAME, find_identifier, write_down  # noqa: PLC0415

    if not reason.strip():
        _stop(EXIT_CONFIG, "--reason: is empty → say why the person has to be known")
    log = master.parent / LOG_NAME
    with _told():
        keys = _keys(master, purpose, school_year)
        asked = {"handle": handle_[:_MAX_LINE], "purposes": purpose, "school_year": school_year, "reason": reason}
        write_down(log, {"event": "asked", **asked})
        found = find_identifier(handle_, keys, _subjects(ids, kind))
        write_down(log, {"event": "answered", "handle": handle_[:_MAX_LINE], "found": found is not None})
    if found is None:
        _stop(EXIT_FAILED, "nobody on the list has this handle for these purposes and this school year")
    typer.echo(f"{found[1].identifier}  ({found[0]})")


@app.command(epilog=_EPILOG)
def show(
    config: ConfigOption = DEFAULT_CONFIG,
    lang: Annotated[str, typer.Option("--lang", help="zh or en.")] = "zh",
    json_: JsonOption = False,
) -> None:
    """Say on one page what leaves this gateway, for what, where to and how long, and what is closed and why."""
    from edge_agent.privacy_page import privacy_page  # noqa: PLC0415

    if lang not in {"zh", "en"}:
        raise typer.BadParameter("zh or en", param_hint="--lang")
    with _told():
        page, document = privacy_page(config, "zh" if lang == "zh" else "en")
    if json_:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    for line in page:
        typer.echo(line)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Print the problems of a ConfigError and end with 78."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(EXIT_CONFIG) from error


def _stop(code: int, text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(code)


def _keys(master: Path, purposes: list[str], school_year: str, *, simulated: bool = False) -> GatewayKeys:
    from edge_agent.privacy.master import is_school_year, load_master_key  # noqa: PLC0415

    if not is_school_year(school_year):
        what, mend = f"{school_year!r} is no school year", "write two years in a row, such as 2026-2027"
        raise ConfigError([Problem(where="--school-year", what=what, mend=mend)])
    for purpose in purposes:
        if not purpose.isidentifier() or not purpose.islower() or not purpose.isascii():
            what, mend = f"{purpose!r} is no purpose", "write it as in the policy, such as attendance"
            raise ConfigError([Problem(where="--purpose", what=what, mend=mend)])
    return load_master_key(master).gateway_keys(purposes, school_year, simulated=simulated)


def _read(path: Path) -> bytes:
    from edge_agent.privacy.reading import read_file  # noqa: PLC0415

    try:
        return read_file(path)
    except OSError as error:
        raise ConfigError(
            [Problem(where=str(path), what=error.strerror or "", mend="name a file that is there")]
        ) from error


def _lines(path: Path | None) -> Iterator[str]:
    try:
        text = sys.stdin.read() if path is None or str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "is no text"
        raise ConfigError([Problem(where=str(path), what=what or "", mend="name a readable text file")]) from error
    return iter([line.strip() for line in text.splitlines() if line.strip()])


def _subjects(path: Path | None, kind: str) -> Iterator[Subject]:
    from telemetry.sample import Subject  # noqa: PLC0415

    return (Subject(kind=kind, identifier=line) for line in _lines(path))
