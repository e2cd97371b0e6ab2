"""The agent's settings: a TOML file overridden by `CAMPUS_EDGE_…` variables; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from telemetry.errors import ConfigError, Problem
from telemetry.topics import NAME
from telemetry.validation import problems_of

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)
ENV_PREFIX: Final = "CAMPUS_EDGE_"
SEE: Final = "systemd/examples/agent.toml"


class _Section(BaseModel):
    model_config = _STRICT


class MqttSettings(_Section):
    """How to reach the broker; `mqtts://` means TLS, and then nothing else will do."""

    url: str
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30

    @model_validator(mode="after")
    def _url(self) -> Self:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            # Without the library's text: what it took for the port may be a password.
            raise ValueError("url is no address: write mqtt://host:1883, IPv6 as mqtt://[::1]:1883") from None
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or port == 0:
            raise ValueError("url must be mqtt://host[:port] or mqtts://host[:port]")
        if parts.username or parts.password:
            raise ValueError("url must not hold credentials: write username and password_file")
        if parts.scheme == "mqtt" and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("certificates are given but the url says mqtt:// (no TLS): write mqtts://")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self

    @property
    def host(self) -> str:
        """Host name or address, without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port; 1883, or 8883 with TLS, if the url names none."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection must be encrypted."""
        return urlsplit(self.url).scheme == "mqtts"


class BufferSettings(_Section):
    """Where unacknowledged data wait, and how much of it."""

    path: Path
    max_bytes: Annotated[int, Field(ge=4 * 1024 * 1024)] = 2_000_000_000


class PrivacySettings(_Section):
    """Keys and the officer's signed documents; without them everything about persons is withheld."""

    key_file: Path | None = None
    trusted_keys: list[Path] = []
    """Public keys of the officers whose signature counts; without one no document is believed."""
    cloud_key: Path | None = None
    """Public key of the ingest, by which orders to erase somebody are verified; without it none is followed."""
    policy_file: Path | None = None
    consents_file: Path | None = None
    roster_file: Path | None = None
    consents_max_age_h: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0
    """How old a list of consents may be: whoever withdraws is heard by then, also where no new list gets through."""
    state_dir: Path | None = None
    """Where it is remembered what was accepted before; `privacy` beside the buffer, if it is not said."""


class ClockSettings(_Section):
    """Whether to believe the system clock without asking the kernel if it is synchronised."""

    assume_synced: bool = False
    sync_file: Path | None = None
    """While this file exists the clock is synchronised, and not while it does not; nobody else is asked."""


class HealthSettings(_Section):
    """How often the gateway tells how it is."""

    period_s: Positive = 10.0


class LogSettings(_Section):
    """What goes to stderr (journald)."""

    level: Literal["debug", "info", "warning", "error"] = "info"


DEFAULT_ADAPTER: Final = "hci0"


class LinkSettings(_Section):
    """A shared transport. Serial: `path`, `baudrate`, `parity`. TCP: `host`, `port`.

    Bluetooth: `adapter` of BlueZ, or `hci`: a controller without BlueZ, in Bumble's words, such as `tcp-client:…`;
    `connections`: how many devices it may be connected to at once.
    Camera, one device's alone: `url`, `capture` (over http it must be said which), `username` and `password_file`; or
    `path`, with `capture` "v4l2" for a device of this machine, or "file" for a picture or a video.
    """

    name: Name
    kind: Literal["serial", "tcp", "bluetooth", "camera"]
    path: str | None = None
    baudrate: Annotated[int, Field(ge=300, le=4_000_000)] | None = None
    parity: Literal["none", "even", "odd"] = "none"
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    adapter: Annotated[str, Field(pattern=r"^hci\d{1,3}$")] | None = None
    hci: str | None = None
    connections: Annotated[int, Field(ge=1, le=9)] = 3
    url: str | None = None
    capture: Literal["rtsp", "mjpeg", "snapshot", "file", "v4l2"] | None = None
    username: str | None = None
    password_file: Path | None = None

    @property
    def port_name(self) -> str | None:
        """What only one link may open: a serial port, an adapter or a camera's stream."""
        if self.kind == "bluetooth":
            return self.hci or self.adapter or DEFAULT_ADAPTER
        return self.url or self.path

    @property
    def is_local_camera(self) -> bool:
        """Whether it is a camera without a network: a device of this machine, or a file."""
        return self.kind == "camera" and self.capture in {"file", "v4l2"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys: dict[str, dict[str, object]] = {
            "serial": {"path": None if self.is_local_camera else self.path, "baudrate": self.baudrate},
            "tcp": {"host": self.host, "port": self.port},
            "bluetooth": {"adapter": self.adapter, "hci": self.hci},
            "camera": {name: getattr(self, name) for name in ("url", "capture", "username", "password_file")},
        }
        foreign = [given for kind, given in keys.items() if kind != self.kind]
        wrong = [key for given in foreign for key, value in given.items() if value is not None]
        if wrong:
            raise ValueError(f'kind "{self.kind}" takes no {" or ".join(wrong)}')
        if self.kind == "serial" and self.path is None:
            raise ValueError('kind "serial" needs path, best a stable one below /dev/serial/by-id/')
        if self.kind == "tcp" and self.host is None:
            raise ValueError('kind "tcp" needs host')
        if self.adapter is not None and self.hci is not None:
            raise ValueError("adapter and hci are two ways to one radio: keep one of them")
        if self.is_local_camera:
            _check_local_camera(self)
        elif self.kind == "camera":
            _check_camera(self)
        return self


def _check_local_camera(link: LinkSettings) -> None:
    """Raise ValueError unless the link names a file or device and nothing of a network."""
    if link.path is None or not link.path.startswith("/"):
        raise ValueError(f'capture "{link.capture}" needs path: the whole path of the file, or /dev/videoN')
    if link.capture == "v4l2" and not link.path.startswith("/dev/"):
        raise ValueError('capture "v4l2" needs a device, such as /dev/video0; a file has capture = "file"')
    if link.url is not None or link.username is not None or link.password_file is not None:
        raise ValueError(f'capture "{link.capture}" takes no url, username or password_file')


def _check_camera(link: LinkSettings) -> None:
    """Raise ValueError unless the link says where the camera is, and how to get its pictures and log in."""
    try:
        parts = urlsplit(link.url or "")
        port = parts.port
    except ValueError:
        # Without the library's text: what it took for the port may be a password.
        raise ValueError(
            "url is no address: write rtsp://host:554/stream, IPv6 as rtsp://[fd00::1]:554/stream"
        ) from None
    if parts.scheme not in {"rtsp", "http"} or not parts.hostname or port == 0:
        raise ValueError('kind "camera" needs url: rtsp://host[:port]/path or http://host[:port]/path')
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold credentials: write username and password_file")
    if any(not 32 < ord(letter) < 127 for letter in link.url or ""):  # noqa: PLR2004 - printable ASCII
        raise ValueError("url holds blanks or letters that an address cannot: write them as %20 and so on")
    if parts.scheme == "http" and link.capture not in {"mjpeg", "snapshot"}:
        raise ValueError(
            'over http say which it is: capture = "mjpeg" (a stream) or "snapshot" (one picture each time)'
        )
    if parts.scheme == "rtsp" and link.capture not in {None, "rtsp"}:
        raise ValueError(f'an rtsp:// address has capture = "rtsp", not "{link.capture}"')
    if (link.username is None) != (link.password_file is None):
        raise ValueError("username and password_file go together")
    if ":" in (link.username or ""):
        raise ValueError("a username with a colon cannot be used to log in")


class DeviceSettings(_Section):
    """One device: its model (profile), its place, its link, and what differs from the profile."""

    name: Name
    room: Name
    profile: str
    link: str
    options: dict[str, bool | int | float | str] = {}
    period_s: Positive | None = None


NO_CAMERAS: Final = frozenset({"changing_room", "clinic", "dormitory", "toilet"})
"""Types of rooms in which no camera is run, whatever it would count."""


class RoomSettings(_Section):
    """What kind of room a name stands for; a camera is refused where people undress, sleep or are ill."""

    name: Name
    type: Literal[
        "canteen",
        "changing_room",
        "classroom",
        "clinic",
        "corridor",
        "dormitory",
        "entrance",
        "gym",
        "hall",
        "laboratory",
        "library",
        "office",
        "outdoors",
        "toilet",
    ]


class Settings(BaseSettings):
    """Everything the agent is told; see systemd/examples/agent.toml."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    site: Name
    gateway: Name
    simulated: bool = False
    window_s: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    profile_folders: list[Path] = []
    mqtt: MqttSettings
    buffer: BufferSettings
    privacy: PrivacySettings = PrivacySettings()
    clock: ClockSettings = ClockSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    rooms: Annotated[list[RoomSettings], Field(alias="room")] = []
    links: Annotated[list[LinkSettings], Field(alias="link")] = []
    devices: Annotated[list[DeviceSettings], Field(alias="device")] = []

    @property
    def privacy_dir(self) -> Path:
        """Folder of the gate's memory: private, and on the same disk as the buffer."""
        return self.privacy.state_dir or self.buffer.path.parent / "privacy"

    @classmethod
    def settings_customise_sources(  # noqa: D102 - the library's hook
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def read_table(path: Path) -> dict[str, Any]:
    """Return the TOML table in `path`. Raises ConfigError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mend = f"create it (sample: {SEE}) or name another with --config"
        raise ConfigError([Problem(where=str(path), what=error.strerror or str(error), mend=mend)]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(where=str(path), what=str(error), mend="mend the TOML syntax there")]) from error


def parse_settings(table: dict[str, Any], where: str) -> Settings:
    """Return the settings in `table`, overridden by the environment. Raises ConfigError with every problem."""
    try:
        return Settings(**table)
    except ValidationError as error:
        raise ConfigError(problems_of(error, where, SEE)) from error
    except SettingsError as error:
        mend = f"write one value as {ENV_PREFIX}SECTION__KEY=…, a list or table as JSON"
        raise ConfigError([Problem(where=f"environment {ENV_PREFIX}…", what=str(error), mend=mend)]) from error
