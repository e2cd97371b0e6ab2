"""`campus-sim`: simulated classroom devices, at the wire."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from simulators.spec import CAMERA_URLS, KINDS, DeviceSpec, UnitSpec, default_units

if TYPE_CHECKING:
    from collections.abc import Callable

UNAVAILABLE: Final = 69

_EPILOG: Final = (
    "Exit codes: 0 done, 2 wrong usage, 69 an address, path or process is not available, 78 no such model or value."
)
_DEMO_EPILOG: Final = (
    "Exit codes: 0 green, 1 red, 2 wrong options, 69 a process or server is not available, 130 interrupted."
)

app = typer.Typer(
    name="campus-sim",
    help="Simulated classroom devices, at the wire.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
)

Seed = Annotated[int, typer.Option(help="The same seed gives the same measurements, cards and damage.")]
Seconds = Annotated[float, typer.Option(help="Stop by itself after this time; 0: on SIGTERM or Ctrl-C.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def _units(kind: str, name: str, units: str, model: str) -> list[UnitSpec]:
    """Return the units that `1,2` or `1:model,2:model` names."""
    pieces = [piece.strip().partition(":") for piece in units.split(",")]
    for number, _, _model in pieces:
        if not number.isdecimal():
            raise typer.BadParameter(f"{units!r} are not units → write numbers, such as 1,2 or 1:renke_rs_co2ws")
    named = default_units(kind, name, units=[int(number) for number, _, _model in pieces], model=model)
    own = [model for _number, _, model in pieces]
    return [msgspec.structs.replace(unit, model=chosen or unit.model) for unit, chosen in zip(named, own, strict=False)]


def _password(path: Path | None) -> str:
    """Return what stands in a password file, but for the end of its line."""
    try:
        return path.read_text().rstrip("\r\n") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: {error} → give a file that can be read") from error


@app.command(epilog=_EPILOG)
def device(
    kind: Annotated[str, typer.Argument(help="One of: " + ", ".join(KINDS))],
    *,
    name: Annotated[str, typer.Option(help="The device's name; several units become NAME-UNIT.")] = "",
    model: Annotated[str, typer.Option(help="Modbus model; `campus-sim list` names them.")] = "",
    units: Annotated[str, typer.Option(help="Modbus units, such as 1,2 or 1:multisensor_6in1,2:renke_rs_co2ws.")] = "1",
    link: Annotated[str, typer.Option(help="Stable link to the port: a path, or a directory.")] = "",
    baudrate: Annotated[int, typer.Option(help="Speed of the port; 0: the model's own.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on (not for serial ports).")] = "::1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 0,
    connections: Annotated[int, typer.Option(help="Connections at once (modbus-tcp, camera); more are refused.")] = 4,
    pupils: Annotated[int, typer.Option(help="Pupils in the card schedule (rdm6300); 0: cards by control only.")] = 60,
    bands: Annotated[int, typer.Option(help="Bands that advertise (ble-bands).")] = 3,
    gatt_bands: Annotated[int, typer.Option(help="Bands to be connected to (ble-bands).")] = 0,
    capture: Annotated[str, typer.Option(help="How pictures are had (camera): rtsp, mjpeg or snapshot.")] = "rtsp",
    scene: Annotated[str, typer.Option(help="What is seen (camera); `campus-sim list` names the scenes.")] = "lesson",
    fps: Annotated[int, typer.Option(help="Pictures a second (camera).")] = 5,
    username: Annotated[str, typer.Option(help="Who may look (camera); empty: anybody.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File that holds the password (camera).")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Offer sound beside the video (camera, rtsp).")] = False,
    seed: Seed = 1,
    scenario: Annotated[str, typer.Option(help="The day to live through.")] = "classroom",
    step: Annotated[float, typer.Option(help="Seconds of that day that pass with each measurement.")] = 480.0,
    seconds: Seconds = 0.0,
    said: Annotated[str, typer.Option(help="Journal of what was said: a .jsonl file, or a directory.")] = "",
    control: Annotated[str, typer.Option(help="Path of the control socket; default: a private one.")] = "",
    corrupt: Annotated[float, typer.Option(help="Probability that a byte on the wire is damaged.")] = 0.0,
    drop: Annotated[float, typer.Option(help="Probability that a byte on the wire is lost.")] = 0.0,
) -> None:
    """Be one device: print one JSON line when it can be talked to, run until SIGTERM or Ctrl-C."""
    from simulators.process import exit_code, print_ready, run_device  # noqa: PLC0415 - `--help` stays quick

    if kind not in KINDS:
        raise typer.BadParameter(f"there is no kind {kind!r} → choose one of {', '.join(KINDS)}")
    if capture not in CAMERA_URLS:
        raise typer.BadParameter(f"there is no capture {capture!r} → choose one of {', '.join(CAMERA_URLS)}")
    name = name or kind
    spec = DeviceSpec(
        kind=kind,  # type: ignore[arg-type]  # checked above
        name=name,
        units=_units(kind, name, units, model),
        seed=seed,
        scenario=scenario,
        step_s=step,
        seconds=seconds,
        baudrate=baudrate,
        link=link,
        host=host,
        port=port,
        max_connections=connections,
        said=said,
        control=control,
        corrupt=corrupt,
        drop=drop,
        pupils=pupils if kind == "rdm6300" else 0,
        bands=bands if kind == "ble-bands" else 0,
        gatt_bands=gatt_bands if kind == "ble-bands" else 0,
        capture=capture,
        scene=scene,
        fps=fps,
        username=username,
        password=_password(password_file),
        offers_audio=audio,
    )
    raise typer.Exit(exit_code(lambda: asyncio.run(run_device(spec, ready=print_ready))))


@app.command("list", epilog=_EPILOG)
def list_(as_json: AsJson = False) -> None:
    """List kinds of device, Modbus models, faults, scenarios and scenes of cameras."""
    from simulators.listing import inventory, print_tables  # noqa: PLC0415

    if as_json:
        sys.stdout.write(json.dumps(inventory(), indent=2) + "\n")
    else:
        print_tables()


@app.command(epilog=_EPILOG)
def fault(
    control: Annotated[str, typer.Argument(help="The device's control socket, as its ready line names it.")],
    name: Annotated[str, typer.Argument(help="Which fault; `campus-sim list` names them.")],
    *,
    clear: Annotated[bool, typer.Option("--clear", help="End the fault instead.")] = False,
    only: Annotated[str | None, typer.Option("--device", help="One device of the link; default: all.")] = None,
    seconds: Annotated[float | None, typer.Option(help="It ends by itself after this time.")] = None,
    rate: Annotated[float | None, typer.Option(help="Probability (corruption, drop).")] = None,
    point: Annotated[str | None, typer.Option(help="Which point (drift).")] = None,
    per_sample: Annotated[float | None, typer.Option(help="How much a measurement adds (drift).")] = None,
) -> None:
    """Break a running device, or mend it; prints its state as JSON."""
    from simulators.control import Refusal, Request, ask  # noqa: PLC0415

    request = (
        Request(op="clear", fault=name)
        if clear
        else Request(
            op="fault", fault=name, device=only, seconds=seconds, rate=rate, point=point, per_sample=per_sample
        )
    )
    try:
        state = ask(control, request)
    except Refusal as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        sys.stderr.write(f"{control}: {error} → is the device running?\n")
        raise typer.Exit(UNAVAILABLE) from error
    sys.stdout.write(json.dumps(state) + "\n")


@app.command(epilog=_EPILOG)
def run(
    data: Annotated[Path, typer.Option(help="Directory for ledger.jsonl, said/ and dev/ (links).")] = Path("sim-data"),
    seed: Seed = 1,
    seconds: Seconds = 0.0,
    scenario: Annotated[
        str, typer.Option(help="Which devices to run: classroom, or school, which needs the extra ble-sim.")
    ] = "classroom",
    as_json: AsJson = False,
) -> None:
    """Run all devices of a scenario, for an agent of your own: prints where they are and writes what they say."""
    from simulators.run import run_scenario  # noqa: PLC0415

    raise typer.Exit(run_scenario(scenario, data=data.absolute(), seed=seed, seconds=seconds, as_json=as_json))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    short_help="Prove the promises on this machine: devices, agent, broker, ingest, and faults.",
)
def demo(context: typer.Context) -> None:
    """Hand all arguments to the demo, which has options of its own."""
    from simulators.demo.command import demo as command  # noqa: PLC0415 - it needs the extra `demo`

    _hand_over(context, command)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    short_help="Break everything again and again, from a seed, with a verdict after each round.",
)
def torture(context: typer.Context) -> None:
    """Hand all arguments to the torture, which has options of its own."""
    from simulators.torture.command import torture as command  # noqa: PLC0415 - it needs the extra `demo`

    _hand_over(context, command)


def _hand_over(context: typer.Context, command: Callable[..., None]) -> None:
    inner = typer.Typer(add_completion=False)
    inner.command(epilog=_DEMO_EPILOG)(command)
    inner(args=context.args, prog_name=f"campus-sim {context.info_name}")


def main() -> None:
    """Entry point of `campus-sim`."""
    app()
