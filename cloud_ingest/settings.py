"""Settings: a TOML file, overridden by CAMPUS_INGEST_…, overridden by flags; all problems are named at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from cloud_ingest.addresses import is_loopback, parse_broker, parse_listen, parse_store, redacted
from cloud_ingest.zones import zone
from telemetry.errors import ConfigError, Problem
from telemetry.sample import DataClass

ENV_PREFIX: Final = "CAMPUS_INGEST_"
_FORBID: Final = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _broker_url(url: str) -> str:
    parse_broker(url)
    return url


def _store_url(url: str) -> str:
    parse_store(url)
    return url


def _time_zone(name: str) -> str:
    zone(name)
    return name


def _mirror_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    addresses = [parse_store(url) for url in urls]
    for address in addresses:
        if address.kind != "victoriametrics":
            raise ValueError(f"{address.name} is a store, not a mirror: a mirror is victoriametrics://host:8428")
    if len({address.name for address in addresses}) < len(addresses):
        raise ValueError("names the same mirror twice")
    return urls


def _listen(text: str) -> str:
    parse_listen(text)
    return text


BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
MirrorUrls = Annotated[tuple[StoreUrl, ...], AfterValidator(_mirror_urls)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Listen = Annotated[str, AfterValidator(_listen)]
Positive = Annotated[int, Field(gt=0)]


class MqttSettings(BaseModel):
    """Where the batches come from."""

    model_config = _FORBID

    url: BrokerUrl
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "ingest-1"
    share_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    """Workers of one group share the batches; empty means there is one ingest."""
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    receive_maximum: Annotated[int, Field(ge=1, le=65535)] = 200
    """Batches the broker may send before the first is acknowledged."""
    max_packet_bytes: Annotated[int, Field(ge=65_536, le=268_435_460)] = 8 * 1024 * 1024
    """Longer messages are dropped by an MQTT 5 broker; for 3.1.1 set the broker's own limit."""


class StoreSettings(BaseModel):
    """Where the rows go."""

    model_config = _FORBID

    url: StoreUrl = Field(repr=False)
    routes: dict[DataClass, StoreUrl] = Field(default_factory=dict, repr=False)
    """Class → another store."""
    mirrors: MirrorUrls = Field(default=(), repr=False)
    """Each gets a copy of what is stored of the classes open, group and ops, as far as it can."""
    mirror_values: Positive = 500_000
    """How many values may wait for each mirror; beyond that the oldest are dropped."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Each store once, without the mirrors."""
        return tuple(dict.fromkeys([self.url, *self.routes.values()]))

    def url_of(self, data_class: DataClass) -> str:
        """Where the rows of a class go."""
        return self.routes.get(data_class, self.url)


class DeadLetterSettings(BaseModel):
    """How much of what could not be stored is kept."""

    model_config = _FORBID

    max_bytes: Positive = 256_000_000


class WriterSettings(BaseModel):
    """How batches are grouped, and how many may be in hand for each store."""

    model_config = _FORBID

    flush_s: Annotated[float, Field(ge=0, le=10)] = 0.1
    flush_values: Positive = 50_000
    max_batches: Positive = 5_000
    max_values: Positive = 250_000
    """More are shed: their gateways keep them and are told to wait. About 160 bytes of memory each."""


class AcceptSettings(BaseModel):
    """What is believed."""

    model_config = _FORBID

    future_s: Annotated[float, Field(ge=0)] = 86_400.0
    """How far ahead of our clock an acquisition time may be."""
    past_days: Annotated[int, Field(ge=1, le=36_500)] = 1000
    """How old an acquisition time may be, and none before 2020, unless the gateway calls its clock uncertain."""
    remembered_batches: Annotated[int, Field(ge=100)] = 50_000
    """Identities remembered for each gateway."""


class SeriesSettings(BaseModel):
    """How many series and field names may be new; those known always go on. Of people: those with a subject."""

    model_config = _FORBID

    devices_per_hour: Positive = 2_000
    """New ones of each gateway."""
    devices_per_day: Positive = 5_000
    devices_per_site: Positive = 100_000
    people_per_hour: Positive = 10_000
    """New ones of each gateway: all pupils have new handles at the start of a school year."""
    people_per_day: Positive = 20_000
    people_per_site: Positive = 100_000
    fields_per_day: Positive = 500
    """New field names of each gateway."""
    fields: Positive = 2_000
    """Field names of all measurements together."""
    forget_days: Positive = 400
    """What was not seen for so long is not counted any more."""


class ErasureSettings(BaseModel):
    """What `cloud-ingest erase` signs with, and how long it is remembered who was erased."""

    model_config = _FORBID

    key_file: Path | None = None
    """Private key that signs orders and receipts; `cloud.pem` in the data folder, if it is not said."""
    trusted_key: Path | None = None
    """Public key by which this worker believes orders; `cloud.pub` in the data folder, if it is not said."""
    keep_days: Annotated[int, Field(ge=1, le=10_000)] = 400
    """Longer than any gateway's buffer lasts: rows of theirs that turn up until then are dropped."""
    backups: tuple[str, ...] = ()
    """Where copies of the stores are kept, in words: stands in each receipt, since nobody erases them from here."""


class ConsoleSettings(BaseModel):
    """The web console: where it listens and who may come in."""

    model_config = _FORBID

    listen: Listen = "[::1]:8080"
    """`host:port`; port 0 takes a free one."""
    password_file: Path | None = None
    """The password, or its hash by `cloud-ingest console --hash-password`; without it only loopback is served."""
    limits_file: Path | None = None
    """Other limits than the built-in ones."""
    timezone: TimeZone = "Asia/Shanghai"
    """Whose midnight a day of taps and a chart begin at."""
    hosts: tuple[str, ...] = ()
    """Names by which browsers may reach it beside its own address, such as that of a reverse proxy."""
    cert_file: Path | None = None
    key_file: Path | None = None


class LogSettings(BaseModel):
    """What is told on stderr."""

    model_config = _FORBID

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings of the ingest."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data: Path
    """Folder of dead letters, memory of identities and counters."""
    mqtt: MqttSettings
    store: StoreSettings
    deadletter: DeadLetterSettings = DeadLetterSettings()
    writer: WriterSettings = WriterSettings()
    accept: AcceptSettings = AcceptSettings()
    series: SeriesSettings = SeriesSettings()
    erasure: ErasureSettings = ErasureSettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take no source but ours: `load` merges file, environment and flags itself."""
        return (init_settings,)


def load(config: Path | None, flags: dict[str, Any] | None = None) -> Settings:
    """Return the settings. Raises ConfigError that names every problem and quotes no secret."""
    where = str(config) if config else "settings"
    problems: list[Problem] = []
    merged: dict[str, Any] = {}
    for layer in (_read_file(config, problems), _read_environment(problems), flags or {}):
        merged = _merge(merged, layer)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_problem(where, dict(found)) for found in error.errors(include_input=False, include_url=False)]
    else:
        problems += _missing_files(where, settings)
    if problems:
        raise ConfigError(problems)
    return settings


def _read_file(config: Path | None, problems: list[Problem]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem(where=str(config), what=f"cannot be read: {error.strerror}", mend="give its path"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(where=str(config), what=f"is not TOML: {error}", mend="correct that line"))
    return {}


def _read_environment(problems: list[Problem]) -> dict[str, Any]:
    for name in sorted(os.environ):
        first = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
        if name.startswith(ENV_PREFIX) and first not in Settings.model_fields:
            known = ", ".join(f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields)
            problems.append(Problem(where=name, what="is not a setting", mend=f"remove it; known: {known}"))
    return EnvSettingsSource(Settings)()


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _problem(where: str, found: dict[str, Any]) -> Problem:
    path = ".".join(str(part) for part in found["loc"])
    what = str(found["msg"]).removeprefix("Value error, ")
    mend = {
        "missing": f"add {path}, set {ENV_PREFIX}{path.upper().replace('.', '__')}, or give the flag",
        "extra_forbidden": "remove it, or correct its spelling",
    }.get(found["type"], "correct it; cloud_ingest/README.md lists the settings")
    return Problem(where=f"{where}: {path}", what=what, mend=mend)


def _missing_files(where: str, settings: Settings) -> list[Problem]:
    mqtt = settings.mqtt
    files = {name: getattr(mqtt, name) for name in ("password_file", "ca_file", "cert_file", "key_file")}
    problems = [
        Problem(where=f"{where}: mqtt.{name}", what=f"{path} is not a readable file", mend="create it or correct it")
        for name, path in files.items()
        if path is not None and not os.access(path, os.R_OK)
    ]
    if mqtt.key_file is not None and mqtt.cert_file is None:
        problems.append(Problem(where=f"{where}: mqtt.key_file", what="has no certificate", mend="add cert_file"))
    if mqtt.password_file is not None and mqtt.username is None:
        problems.append(Problem(where=f"{where}: mqtt.password_file", what="has no user", mend="add username"))
    return problems + _console_problems(where, settings.console)


def _console_problems(where: str, console: ConsoleSettings) -> list[Problem]:
    files = {name: getattr(console, name) for name in ("password_file", "limits_file", "cert_file", "key_file")}
    problems = [
        Problem(where=f"{where}: console.{name}", what=f"{path} is not a readable file", mend="create it or correct it")
        for name, path in files.items()
        if path is not None and not os.access(path, os.R_OK)
    ]
    if (console.cert_file is None) != (console.key_file is None):
        what = "cert_file and key_file go together"
        problems.append(Problem(where=f"{where}: console", what=what, mend="set both, or none"))
    if console.password_file is None and not is_loopback(parse_listen(console.listen)[0]):
        what = f"{console.listen} can be reached from other machines without a password"
        mend = "set console.password_file, or listen on [::1]"
        problems.append(Problem(where=f"{where}: console.listen", what=what, mend=mend))
    return problems


def describe(settings: Settings) -> str:
    """Return one line about the settings for the log, without secrets."""
    routes = "".join(f", {name} → {redacted(url)}" for name, url in settings.store.routes.items())
    mirrors = "".join(f", mirror {redacted(url)}" for url in settings.store.mirrors)
    return f"from {settings.mqtt.url} to {redacted(settings.store.url)}{routes}{mirrors}, files in {settings.data}"
