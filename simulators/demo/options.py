"""What a demo is asked to do, and where its things lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from simulators.demo.scene import make_scene
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.demo.sabotage import Sabotage

WINDOW_S: Final = 2.0
PROTOCOLS: Final = ("auto", "5", "3.1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The demo's options; `data` must be an empty folder or none that exists."""

    data: Path
    seconds: float = 60.0
    mqtt: str | None = None
    """Broker to use; none: an embedded one."""
    store: str | None = None
    """Store to use; none: SQLite below `data`."""
    scenario: str = "school"
    """Key of `scenario.SCENARIOS`."""
    vitals: bool = True
    """The policy has a rule for vitals; without it no row of them may exist."""
    console: str | None = None
    """HOST:PORT of the web console; port 0: a free one; none: no console."""
    seed: int = 1
    sabotage: Sabotage | None = None
    protocol: str = "auto"
    proxy: bool = False
    """Put a proxy between agent and broker even without sabotage, to pause and cut the network."""
    ingest_proxy: bool = False
    """The same between ingest and broker."""
    store_files: tuple[Path, ...] = ()
    """Where a store of another process keeps its files, if they can be read: the leak scan looks into them."""
    clocks: frozenset[str] = frozenset()
    """Names of processes whose system clock can be moved (`clocks.Clocks`); needs libfaketime."""
    database: bool = False
    """Store into an InfluxDB 1.x of the demo's own, a process that can be killed; needs influxd."""
    unobserved_share: float = 0.1
    """So much of what was said may have been heard by nobody while the agent was there."""

    def broker_address(self) -> tuple[str, int] | None:
        """Return host and port of `mqtt`; none if the broker is embedded. Raises ConfigError."""
        if self.mqtt is None:
            return None
        try:
            parts = urlsplit(self.mqtt)
            host, port = parts.hostname, parts.port or 1883
        except ValueError:
            host, port = None, 0
        if host is None or parts.scheme != "mqtt" or parts.username or parts.path.strip("/"):
            what = "is not mqtt://host[:port] without credentials"
            raise ConfigError([Problem(where="--mqtt", what=what, mend="such as mqtt://[::1]:1883")])
        return host, port

    def check(self) -> None:
        """Raise ConfigError if the options cannot be used."""
        self.broker_address()
        bands = make_scene(self.scenario, seed=self.seed).bands
        for needs, where in ((not self.vitals, "--no-vitals"), (self.sabotage == "leak-band", "--sabotage leak-band")):
            if needs and not bands:
                what = f"scenario {self.scenario!r} has no bands"
                raise ConfigError([Problem(where=where, what=what, mend="choose --scenario school")])
        if self.protocol not in PROTOCOLS:
            mend = f"one of {', '.join(PROTOCOLS)}"
            raise ConfigError([Problem(where="--mqtt-protocol", what=f"{self.protocol!r} is unknown", mend=mend)])

    @property
    def spoken(self) -> str:
        """MQTT version that agent and ingest are told; the embedded broker's own, rather than let them find out."""
        return "3.1.1" if self.mqtt is None and self.protocol == "auto" else self.protocol

    @property
    def store_url(self) -> str:
        """URL that the ingest is given."""
        return self.store or f"sqlite://{(self.data / 'store.sqlite').absolute()}"


def redacted(url: str) -> str:
    """Return a store's URL without its credentials."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{'***@' if at and credentials else ''}{host}{slash}{path}"


def broker_url(host: str, port: int) -> str:
    """Return mqtt://host:port, IPv6 in brackets."""
    return f"mqtt://[{host}]:{port}" if ":" in host else f"mqtt://{host}:{port}"
