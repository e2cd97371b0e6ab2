"""The catalogue: every configured device with its profile, options and link, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from device_profiles import SHIPPED, load_profile
from edge_agent.registry import driver_problems, link_address
from edge_agent.settings import NO_CAMERAS
from telemetry.batch import DeviceInfo
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edge_agent.settings import DeviceSettings, LinkSettings, RoomSettings
    from telemetry.profile import DeviceProfile

GATEWAY_PROFILE: Final = "campus/gateway"
CAMERA: Final = "camera_people"
"""The driver of every profile that is a camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One configured device, ready to be started."""

    settings: DeviceSettings
    profile: DeviceProfile
    options: Mapping[str, bool | int | float | str]

    @property
    def period_s(self) -> float:
        """How often it is read."""
        return self.settings.period_s or self.profile.period_s

    @property
    def info(self) -> DeviceInfo:
        """What travels with its samples."""
        return device_info(self.settings.name, self.settings.room, self.profile)


def device_info(device: str, room: str, profile: DeviceProfile) -> DeviceInfo:
    """Return what travels with a device's samples, so that the ingest need ask nobody."""
    return DeviceInfo(
        device=device,
        room=room,
        profile=profile.reference,
        measurement=profile.measurement,
        quantities={point.name: point.quantity for point in profile.points},
    )


def build_catalogue(
    items: Sequence[DeviceSettings],
    links: Sequence[LinkSettings],
    folders: Sequence[Path],
    rooms: Sequence[RoomSettings] = (),
) -> tuple[dict[str, Device], list[Problem]]:
    """Return the sound devices by name, and every problem of the others."""
    problems = [
        *_repeated("link", [link.name for link in links]),
        *_repeated("device", [item.name for item in items]),
        *_repeated("room", [room.name for room in rooms]),
    ]
    devices: dict[str, Device] = {}
    by_name = {link.name: link for link in links}
    for item in items:
        where = f"[[device]] {item.name}"
        if item.link not in by_name:
            mend = f"use one of {', '.join(sorted(by_name)) or '(none yet)'}, or add a [[link]]"
            problems.append(Problem(where=f"{where}: link", what=f"there is no link named {item.link!r}", mend=mend))
        profile = find_profile(item.profile, f"{where}: profile", folders, problems)
        if profile is None:
            continue
        options = {**profile.options, **item.options}
        problems.extend(_link_problems(item, profile, by_name.get(item.link)))
        problems.extend(_room_problems(item, profile, rooms))
        found = driver_problems(profile, options, f"{where}: options")
        problems.extend(found)
        if not found:
            devices[item.name] = Device(settings=item, profile=profile, options=options)
    problems.extend(_crowded(devices.values()))
    problems.extend(_one_port_twice(links))
    problems.extend(problem for link in links for problem in _two_speeds(link, devices.values()))
    return devices, list(dict.fromkeys(problems))


def _repeated(kind: str, names: Sequence[str]) -> list[Problem]:
    return [
        Problem(where=f"[[{kind}]] {name}", what="the name is given twice", mend="give each its own name")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]


def find_profile(profile_id: str, where: str, folders: Iterable[Path], problems: list[Problem]) -> DeviceProfile | None:
    """Return the profile, the school's own folders first; or none, with what is wrong added to `problems`."""
    try:
        return load_profile(profile_id, (*folders, SHIPPED))
    except ConfigError as error:
        for problem in error.problems:
            place = where if problem.where.startswith("profile ") else f"{where}: {problem.where}"
            problems.append(Problem(where=place, what=problem.what, mend=problem.mend))
        return None


def _link_problems(device: DeviceSettings, profile: DeviceProfile, link: LinkSettings | None) -> list[Problem]:
    if link is None:
        return []
    where = f"[[device]] {device.name}: link"
    if link.kind == "tcp" and link.port is None and "port" not in profile.link:
        return [Problem(where=f"[[link]] {link.name}: port", what="is missing", mend="add port = …")]
    kind = profile.link.get("kind", link.kind)
    if kind != link.kind and device.options.get("framing") != "rtu":
        what = f"profile {profile.id} expects a {kind} link, {link.name!r} is {link.kind}"
        return [
            Problem(where=where, what=what, mend=f'use a link of kind "{kind}", or framing = "rtu" for a converter')
        ]
    return []


def _room_problems(device: DeviceSettings, profile: DeviceProfile, rooms: Iterable[RoomSettings]) -> list[Problem]:
    """Return the problem of a camera where people undress, sleep or are ill: it is refused by design."""
    return [
        Problem(
            where=f"[[device]] {device.name}: room",
            what=f"{room.name!r} is a {room.type.replace('_', ' ')}: no camera is run there, whatever it would count",
            mend="take the camera down; if the room is another kind of room, mend its type in [[room]]",
        )
        for room in rooms
        if profile.driver == CAMERA and room.name == device.room and room.type in NO_CAMERAS
    ]


def _one_port_twice(links: Iterable[LinkSettings]) -> list[Problem]:
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for link in links:
        port = link.port_name
        owner = owners.setdefault(port, link.name) if port is not None else link.name
        if owner != link.name:
            mend = "keep one of the two" if link.kind == "camera" else "put the devices of both on one link"
            # Without the query of an address: some cameras take a password there.
            what = f"{(port or '').partition('?')[0]} is already {owner}'s: a port is opened once"
            key = "path" if link.path else {"camera": "url"}.get(link.kind, "adapter")
            problems.append(Problem(where=f"[[link]] {link.name}: {key}", what=what, mend=mend))
    return problems


def _two_speeds(link: LinkSettings, devices: Iterable[Device]) -> list[Problem]:
    """Return the problem of a bus whose models differ in their usual speed, and nobody said which it is."""
    speeds = {
        device.profile.link["baudrate"]: device.settings.name
        for device in devices
        if device.settings.link == link.name and "baudrate" in device.profile.link
    }
    if link.kind != "serial" or link.baudrate is not None or len(speeds) <= 1:
        return []
    what = f"its devices usually speak at different speeds: {', '.join(f'{n} {s}' for s, n in speeds.items())}"
    mend = "set all of them to one speed and write it as baudrate = …, or give each a bus of its own"
    return [Problem(where=f"[[link]] {link.name}: baudrate", what=what, mend=mend)]


def _crowded(devices: Iterable[Device]) -> list[Problem]:
    """Return the devices whose bus address is taken, or that share a link with one that needs it alone."""
    problems: list[Problem] = []
    on_link: dict[str, dict[int | None, Device]] = {}
    for device in devices:
        link, where = device.settings.link, f"[[device]] {device.settings.name}"
        address = link_address(device.profile, device.options)
        others = on_link.setdefault(link, {})
        if address in others and address is not None:
            what = f"unit {address} on link {link!r} is already {others[address].settings.name}"
            problems.append(Problem(where=f"{where}: options.unit", what=what, mend="give each device its own unit"))
        elif others and (address is None or None in others):
            other = next(iter(others.values())).settings.name
            what = f"link {link!r} is already used by {other}, and one of the two needs its link alone"
            problems.append(Problem(where=f"{where}: link", what=what, mend="give each a link of its own"))
        others[address] = device
    return problems
