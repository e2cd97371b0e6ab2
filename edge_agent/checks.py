"""What `edge-agent check` looks at beyond the configuration: broker, buffer folder, ports, clock, documents."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from edge_agent.catalogue import CAMERA
from edge_agent.configuration import open_documents
from edge_agent.privacy import DocumentKind
from edge_agent.privacy.standing import State
from edge_agent.registry import camera_confinement
from edge_agent.settings import DEFAULT_ADAPTER
from edge_agent.timekeeping import make_clock
from telemetry.counters import Counters
from telemetry.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.configuration import Configuration
    from edge_agent.settings import LinkSettings, Settings

CONNECT_S = 3.0
ADAPTERS = Path("/sys/class/bluetooth")
_CLOSED: Final = {
    DocumentKind.POLICY: "everything about people",
    DocumentKind.CONSENTS: "everybody who must consent",
    DocumentKind.ROSTER: "what needs a lesson or a band's wearer",
}
_PORTS: Final = {"rtsp": 554, "http": 80}


def surroundings(configuration: Configuration) -> tuple[list[Problem], list[Problem]]:
    """Return (errors, warnings): what would keep the agent from working now, and what a person should know."""
    settings = configuration.settings
    return [*_files(settings), *_broker(settings), *_camera_passwords(settings)], [
        *_ports(settings),
        *_adapters(settings),
        *_rooms(configuration),
        *_cameras(settings),
        *_people(configuration),
        *_clock(settings),
    ]


def _files(settings: Settings) -> Iterator[Problem]:
    mqtt = settings.mqtt
    for name in ("password_file", "ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(mqtt, name)
        if path is not None and not os.access(path, os.R_OK):
            yield Problem(where=f"mqtt.{name}", what=f"{path} cannot be read", mend="create it, or mend its rights")
    folder = settings.buffer.path
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if _exists(parent))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        yield Problem(where="buffer.path", what=f"{folder} cannot be written", mend=f"mend the rights of {nearest}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # below a folder that we may not enter
        return False


def _broker(settings: Settings) -> Iterator[Problem]:
    mqtt = settings.mqtt
    try:
        socket.create_connection((mqtt.host, mqtt.port), timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one, such as `a..b`
        what = f"{mqtt.host} port {mqtt.port} does not answer: {error}"
        yield Problem(where="mqtt.url", what=what, mend="check the address, the network and the broker")


def _ports(settings: Settings) -> Iterator[Problem]:
    for link in settings.links:
        if link.kind != "serial" or link.path is None:
            continue
        where = f"[[link]] {link.name}: path"
        if not Path(link.path).exists():
            mend = "plug it in, or copy the name from: ls -l /dev/serial/by-id"
            yield Problem(where=where, what=f"{link.path} is not there", mend=mend)
        elif not os.access(link.path, os.R_OK | os.W_OK):
            mend = "add the agent's user to the group dialout"
            yield Problem(where=where, what=f"{link.path} may not be opened", mend=mend)
        elif link.path.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
            mend = "use its link below /dev/serial/by-id"
            yield Problem(where=where, what=f"{link.path} changes when adapters are re-plugged", mend=mend)


def _adapters(settings: Settings) -> Iterator[Problem]:
    for link in settings.links:
        if link.kind != "bluetooth" or link.hci is not None:
            continue
        adapter = link.adapter or DEFAULT_ADAPTER
        if not (ADAPTERS / adapter).exists():
            mend = "plug it in, or name another: ls /sys/class/bluetooth"
            yield Problem(where=f"[[link]] {link.name}: adapter", what=f"{adapter} is not there", mend=mend)


def _rooms(configuration: Configuration) -> Iterator[Problem]:
    typed = {room.name for room in configuration.settings.rooms}
    for name, device in configuration.devices.items():
        if device.profile.driver == CAMERA and device.settings.room not in typed:
            yield Problem(
                where=f"[[device]] {name}: room",
                what=f"nobody said what kind of room {device.settings.room!r} is: a camera is refused in some",
                mend=f'add [[room]] name = "{device.settings.room}", type = "classroom" or what it is',
            )


def _camera_passwords(settings: Settings) -> Iterator[Problem]:
    for link in settings.links:
        path = link.password_file
        if path is None:
            continue
        where = f"[[link]] {link.name}: password_file"
        if not path.is_file() or not os.access(path, os.R_OK):
            yield Problem(where=where, what=f"{path} cannot be read", mend="create it, or mend its rights")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Problem(where=where, what=f"others may read {path}", mend=f"chmod 0600 {path}")


def _cameras(settings: Settings) -> Iterator[Problem]:
    cameras = [link for link in settings.links if link.kind == "camera"]
    for link in cameras:
        if link.is_local_camera:
            yield from _local_camera(link)
            continue
        parts = urlsplit(link.url or "")
        address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            socket.create_connection(address, timeout=CONNECT_S).close()
        except (OSError, UnicodeError) as error:
            what = f"{address[0]} port {address[1]} does not answer: {error}"
            mend = "check the camera's power, its cable and the address"
            yield Problem(where=f"[[link]] {link.name}: url", what=what, mend=mend)
    if cameras:
        yield from camera_confinement()
        yield Problem(
            where=f"[[link]] {', '.join(link.name for link in cameras)}",
            what="nothing but numbers leaves this gateway; what the camera itself keeps and sends is not in its hands",
            mend="switch off in each camera: cloud and P2P access, the microphone, recording to card and server; "
            "change its default password; see drivers/camera_people/README.md",
        )


def _local_camera(link: LinkSettings) -> Iterator[Problem]:
    path = link.path or ""
    where = f"[[link]] {link.name}: path"
    if not Path(path).exists():
        yield Problem(where=where, what=f"{path} is not there", mend="plug the camera in: ls -l /dev/v4l/by-path")
    elif not os.access(path, os.R_OK | (os.W_OK if link.capture == "v4l2" else 0)):
        mend = "add the agent's user to the group video" if link.capture == "v4l2" else "mend its rights"
        yield Problem(where=where, what=f"{path} may not be opened", mend=mend)


def _people(configuration: Configuration) -> Iterator[Problem]:
    settings = configuration.settings
    if configuration.keys is None:
        yield Problem(
            where="privacy.key_file",
            what="no key: everything about persons is withheld",
            mend="nothing, if this room measures air only; else ask the school's officer for the gateway's keys",
        )
    elif settings.privacy.cloud_key is None:
        yield Problem(
            where="[privacy] cloud_key",
            what="no key of the cloud: an order to erase a pupil cannot be verified, and is not followed here",
            mend="make one with `cloud-ingest erase keygen` and copy its public half here (docs/guides/erasure.md)",
        )
    clock = make_clock(settings.clock)
    documents = open_documents(configuration, clock=clock, counters=Counters(), peek=True)
    now_ns = clock.now_ns()
    for kind, standing in documents.standings.items():
        if standing.state(now_ns) is State.IN_FORCE:
            continue
        # A site that has no consents or no timetable needs none: its policy says who is concerned.
        if standing.absent and getattr(settings.privacy, f"{kind}_file") is None and kind is not DocumentKind.POLICY:
            continue
        mend = "ask the school's officer for it (docs/guides/privacy-officer.md)"
        if standing.absent:
            mend = f"nothing, if this room measures air only; else {mend}"
        what = f"{standing.words(now_ns)}: {_CLOSED[kind]} is withheld"
        yield Problem(where=f"privacy.{kind}_file", what=what, mend=mend)


def documents_in_words(configuration: Configuration) -> dict[str, str]:
    """Return how each configured document stands, by its kind."""
    clock = make_clock(configuration.settings.clock)
    documents = open_documents(configuration, clock=clock, counters=Counters(), peek=True)
    return {
        str(kind): standing.words(clock.now_ns())
        for kind, standing in documents.standings.items()
        if getattr(configuration.settings.privacy, f"{kind}_file") is not None
    }


def _clock(settings: Settings) -> Iterator[Problem]:
    if not make_clock(settings.clock).synced():
        yield Problem(
            where="clock",
            what="is not synchronised: samples wait until it is",
            mend="enable systemd-timesyncd, or open UDP port 123 to the school's NTP server",
        )
