"""Names of drivers and links → their modules, imported only when configured. The only file that names drivers."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from edge_agent.settings import DEFAULT_ADAPTER
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from drivers.camera_people.options import Options
    from drivers.links.camera import CameraLink
    from edge_agent.settings import DeviceSettings, LinkSettings
    from telemetry.counters import Counters
    from telemetry.driver import DeviceContext, PollDriver, PushDriver, SharedLink
    from telemetry.profile import DeviceProfile

DRIVERS: Final = {
    "ble_heart_rate": "drivers.ble_heart_rate",
    "camera_people": "drivers.camera_people",
    "modbus": "drivers.modbus",
    "rdm6300": "drivers.rdm6300",
}
"""Driver name in a profile → module with `create`, `problems`, `link_address`: docs/guides/write-a-driver.md."""


def create_driver(context: DeviceContext, link: SharedLink) -> PollDriver | PushDriver:
    """Return the driver of the context's profile. Raises ConfigError if it or its options are wrong."""
    driver: PollDriver | PushDriver = _module(context.profile.driver).create(context, link)
    return driver


def driver_problems(
    profile: DeviceProfile, options: Mapping[str, bool | int | float | str], where: str
) -> list[Problem]:
    """Return everything wrong with a device's profile and options, as its driver sees it."""
    try:
        found: list[Problem] = _module(profile.driver).problems(profile, dict(options), where)
    except ConfigError as error:
        return error.problems
    return found


def link_address(profile: DeviceProfile, options: Mapping[str, bool | int | float | str]) -> int | None:
    """Return the device's address on a shared link; none if it needs its link alone, or has no known driver."""
    if profile.driver not in DRIVERS:
        return None
    address: int | None = _module(profile.driver).link_address(options)
    return address


def _module(driver: str) -> Any:
    path = DRIVERS.get(driver)
    if path is None:
        mend = f"use one of {', '.join(sorted(DRIVERS))}, or add the driver (docs/guides/write-a-driver.md)"
        raise ConfigError([Problem(where=f"driver {driver!r}", what="no such driver", mend=mend)])
    try:
        return importlib.import_module(path)
    except ImportError as error:  # a configured driver that cannot be imported stops the start
        mend = f"install the extra that {path.replace('.', '/')}/README.md names"
        raise ConfigError([Problem(where=f"driver {driver!r}", what=str(error), mend=mend)]) from error


def create_link(settings: LinkSettings, defaults: Mapping[str, Any], counters: Counters) -> SharedLink:
    """Return the link, not yet open; `defaults` are those of the profile of a device on it.

    Raises ConfigError if a library that it needs is not installed.
    """
    if settings.kind == "bluetooth":
        return _bluetooth(settings, counters)
    if settings.kind == "camera":
        return _camera(settings, counters)
    import serialx  # noqa: PLC0415 - only a gateway that has links needs it

    from drivers.links import SerialLink, TcpLink  # noqa: PLC0415

    if settings.kind == "tcp":
        port = settings.port or int(defaults.get("port", 0))
        return TcpLink(settings.name, counters, host=settings.host or "", port=port)
    return SerialLink(
        settings.name,
        counters,
        path=settings.path or "",
        baudrate=settings.baudrate or int(defaults.get("baudrate", 9600)),
        parity=serialx.Parity[settings.parity.upper()],
    )


def _bluetooth(settings: LinkSettings, counters: Counters) -> SharedLink:
    try:
        from drivers.links.bluetooth import BluetoothLink, make_backend  # noqa: PLC0415 - an extra

        backend = make_backend(adapter=settings.adapter or DEFAULT_ADAPTER, hci=settings.hci)
    except ImportError as error:
        mend = "install the extra ble, or ble-sim for hci (drivers/ble_heart_rate/README.md)"
        raise ConfigError([Problem(where=f"[[link]] {settings.name}", what=str(error), mend=mend)]) from error
    return BluetoothLink(settings.name, counters, backend=backend, max_connections=settings.connections)


def camera_confinement() -> list[Problem]:
    """Return what a camera's worker would not be held to by this machine, as tried in a process that then ends."""
    from drivers.camera_people.holding import unheld  # noqa: PLC0415 - only a gateway with cameras needs it

    return unheld()


async def aim_camera(
    device: DeviceSettings,
    settings: LinkSettings,
    options: Mapping[str, bool | int | float | str],
    *,
    visit: Mapping[str, Any],
    announce: Callable[[str], None],
    audit: Callable[[Mapping[str, object]], None],
) -> tuple[bool, str]:
    """Serve an aiming view; return whether it ended as it should, and why. `visit`: drivers.camera_people.aim_session.

    Raises ConfigError, DeviceUnavailable, AuthError, or OSError if the port is taken.
    """
    from drivers.camera_people.aim import End  # noqa: PLC0415 - only a gateway with cameras needs it
    from drivers.camera_people.aim_session import Request, aim  # noqa: PLC0415
    from telemetry.counters import Counters as Own  # noqa: PLC0415

    parsed = _camera_options(options, f"device {device.name}: options")
    request = Request(camera=device.name, room=device.room, **visit)
    end = await aim(request, _camera(settings, Own()), parsed, announce=announce, audit=audit)
    return end in {End.TIME, End.STOPPED}, str(end)


async def check_camera(
    device: DeviceSettings, settings: LinkSettings, options: Mapping[str, bool | int | float | str], *, looks: int
) -> tuple[dict[str, Any], str | None]:
    """Return what looks at a camera measured, and what is to be mended.

    Raises ConfigError, DeviceUnavailable, AuthError, ProtocolError.
    """
    from drivers.camera_people.installation import check_installation  # noqa: PLC0415 - only this command needs it
    from telemetry.counters import Counters as Own  # noqa: PLC0415

    parsed = _camera_options(options, f"device {device.name}: options")
    found = await check_installation(parsed, _camera(settings, Own()), looks=looks)
    return asdict(found), found.problem


async def evaluate_pictures(
    folder: Path, table: Path | None, options: Mapping[str, bool | int | float | str]
) -> dict[str, Any]:
    """Return how well the folder's pictures are counted. Raises ConfigError, DeviceUnavailable, ProtocolError."""
    from drivers.camera_people.evaluation import evaluate, read_job  # noqa: PLC0415 - only this command needs it

    return await evaluate(read_job(folder, table), _camera_options(options, "options"))


def known_models(folder: Path) -> dict[str, dict[str, Any]]:
    """Return name → the model's entry, with its `state` here; `folder` has those that were fetched."""
    from drivers.camera_people.fetching import states  # noqa: PLC0415 - only these commands need it
    from drivers.camera_people.model_files import MODELS  # noqa: PLC0415

    found = states(folder)
    return {name: asdict(model) | {"state": found[name]} for name, model in MODELS.items()}


def fetch_model(name: str, folder: Path, url: str | None) -> tuple[Path | None, str | None]:
    """Return where the model lies now, or what is wrong with what came. Raises DeviceUnavailable, OSError."""
    from drivers.camera_people.fetching import fetch  # noqa: PLC0415
    from drivers.camera_people.model_files import MODELS, WrongModel  # noqa: PLC0415

    try:
        return fetch(MODELS[name], folder, url=url), None
    except WrongModel as error:
        return None, str(error)


def _camera_options(options: Mapping[str, bool | int | float | str], where: str) -> Options:
    from drivers.camera_people.options import parse_options  # noqa: PLC0415

    found: list[Problem] = []
    parsed = parse_options(options, where, found)
    if parsed is None:
        raise ConfigError(found)
    return parsed


def _camera(settings: LinkSettings, counters: Counters) -> CameraLink:
    from drivers.links.camera import CameraLink  # noqa: PLC0415 - only a gateway with cameras needs it

    return CameraLink(
        settings.name,
        counters,
        url=settings.url or "",
        capture=settings.capture or "rtsp",
        path=settings.path or "",
        username=settings.username or "",
        password_file=settings.password_file,
    )
