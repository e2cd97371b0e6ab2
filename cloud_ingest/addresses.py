"""Broker and store URLs: parsed once, secrets kept out of everything that prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

_MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_STORE_KINDS: Final = {
    "influx1": ("influx1", "http"),
    "influx1s": ("influx1", "https"),
    "influx2": ("influx2", "http"),
    "influx2s": ("influx2", "https"),
    "victoriametrics": ("victoriametrics", "http"),
    "victoriametricss": ("victoriametrics", "https"),
}
_LEVELS: Final = {"influx1": 1, "influx2": 2, "victoriametrics": 0}
_STORE_PORTS: Final = {"influx1": 8086, "influx2": 8086, "victoriametrics": 8428}
_FORMS: Final = (
    "sqlite:///path, influx1://[user:password@]host:8086/database, influx2://[token@]host:8086/org/bucket"
    " or, as a mirror, victoriametrics://[user:password@]host:8428 (with an s at the end of the scheme for https)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker listens."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """A parsed store URL; the secret never prints."""

    kind: str
    """`sqlite`, `influx1`, `influx2` or `victoriametrics`."""
    name: str
    """The URL without secrets, for people."""
    base: str = ""
    """`http://host:port` of a server."""
    path: tuple[str, ...] = ()
    """Database; or organisation and bucket; or the file; or nothing."""
    user: str = ""
    secret: str = field(default="", repr=False)
    """Password or token."""


def parse_broker(url: str) -> BrokerAddress:
    """Return the parts of `mqtt://host[:port]` or `mqtts://…`. Raises ValueError; never quotes a password."""
    parts = urlsplit(url)
    if parts.scheme not in _MQTT_PORTS:
        raise ValueError("must begin with mqtt:// or mqtts://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials: use username and password_file")
    if not parts.hostname:
        raise ValueError("names no host; an IPv6 address stands in brackets, as in mqtt://[::1]:1883")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after the port")
    return BrokerAddress(host=parts.hostname, port=parts.port or _MQTT_PORTS[parts.scheme], tls=parts.scheme == "mqtts")


def parse_store(url: str) -> StoreAddress:
    """Return the parts of a store URL, reading its `?token_file=` or `?password_file=`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError("must be sqlite:///absolute/path")
        path = unquote(parts.path)
        return StoreAddress(kind="sqlite", name=f"sqlite://{path}", path=(path,))
    if parts.scheme not in _STORE_KINDS:
        raise ValueError(f"must be {_FORMS}")
    kind, scheme = _STORE_KINDS[parts.scheme]
    levels = tuple(unquote(level) for level in parts.path.split("/") if level)
    if parts.username is None and "@" in parts.path + parts.fragment + parts.query.partition("_file=")[0]:
        raise ValueError("holds / ? or # in its user, password or token: write %2F, %3F, %23")
    if not parts.hostname or len(levels) != _LEVELS[kind]:
        raise ValueError(f"must be {_FORMS}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = f"{host}:{parts.port or _STORE_PORTS[kind]}"
    user, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if kind == "influx2":
        user, secret = "", user if parts.password is None else f"{user}:{secret}"
    secret = _secret_file(parts.query) or secret
    if kind == "influx2" and not secret:
        raise ValueError("needs a token: influx2://token@host… or ?token_file=/path")
    if kind == "influx2" and not (secret.isascii() and secret.isprintable()):
        raise ValueError("holds a token that no HTTP header can carry: correct it")
    name = f"{parts.scheme}://{authority}{parts.path if levels else ''}"
    base = f"{scheme}://{authority}"
    return StoreAddress(kind=kind, name=name, base=base, path=levels, user=user, secret=secret)


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError("must be host:port, an IPv6 address in brackets, as in [::1]:8080")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):  # noqa: PLR2004 - the last port
        raise ValueError(f"{port!r} is no port from 0 to 65535")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secret_file(query: str) -> str:
    given = parse_qs(query, keep_blank_values=True)
    unknown = set(given) - {"token_file", "password_file"}
    if unknown:
        raise ValueError(f"has unknown options {', '.join(sorted(unknown))}; known: token_file, password_file")
    for values in given.values():
        return read_secret(Path(values[-1]))
    return ""


def read_secret(path: Path) -> str:
    """Return the first line of a secret's file. Raises ValueError if it cannot be read or is empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"secret file {path} cannot be read: {type(error).__name__}") from error
    if not lines or not lines[0].strip():
        raise ValueError(f"secret file {path} is empty")
    return lines[0].strip()


def redacted(url: str) -> str:
    """Return `url` without what may be a secret, even if it is malformed."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}" if mark else "(not a URL)"
