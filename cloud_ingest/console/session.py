"""Who may come in: the password, the cookie of those who knew it, and how often it may be guessed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import secrets
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from cloud_ingest.addresses import read_secret
from cloud_ingest.private import create_private
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SESSION_S: Final = 7 * 86_400
_LEAST_LENGTH: Final = 8
_N, _R, _P = 2**14, 8, 1
_BYTES: Final = 32
_SCHEME: Final = "scrypt"
_KEY_NAME: Final = "session.key"


def hash_password(password: str) -> str:
    """Return a line for the password file that does not tell the password. Raises ValueError for a short one."""
    if len(password) < _LEAST_LENGTH:
        raise ValueError(f"a password needs at least {_LEAST_LENGTH} characters")
    salt = secrets.token_bytes(16)
    return f"{_SCHEME}${_N}${_R}${_P}${_text(salt)}${_text(_derive(password, salt, (_N, _R, _P)))}"


def _derive(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=_BYTES, maxmem=256 * n * r)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Password:
    """The password, kept only as what scrypt made of it."""

    def __init__(self, line: str) -> None:
        """Take the password file's line. Raises ValueError if it is neither a hash of ours nor long enough."""
        # Of the file's line: a password that stands there as it is gets a new salt at each start.
        self.fingerprint = hashlib.sha256(line.encode()).digest()
        """Changes with the password: old sessions end with it."""
        if not line.startswith(f"{_SCHEME}$"):
            line = hash_password(line)
        try:
            _, n, r, p, salt, derived = line.split("$")
            self._cost = (int(n), int(r), int(p))
            self._salt, self._derived = _raw(salt), _raw(derived)
            bounded = 2**10 <= self._cost[0] <= 2**18 and 1 <= self._cost[1] <= 32 and 1 <= self._cost[2] <= 16  # noqa: PLR2004
        except ValueError as error:
            raise ValueError("holds a damaged hash: make it anew") from error
        if not bounded or len(self._derived) != _BYTES:
            raise ValueError("holds a damaged hash: make it anew")

    def matches(self, attempt: str) -> bool:
        """Tell whether `attempt` is the password, in constant time; takes some 50 ms, so call it in a thread."""
        return hmac.compare_digest(_derive(attempt, self._salt, self._cost), self._derived)


def open_password(path: Path) -> Password:
    """Return the password of a file. Raises ConfigError."""
    try:
        return Password(read_secret(path))
    except ValueError as error:
        mend = "write a longer one, or use cloud-ingest console --hash-password"
        raise ConfigError([Problem(where=f"console.password_file {path}", what=str(error), mend=mend)]) from error


class Sessions:
    """Signed cookies: nothing is kept for a session, and a restart ends none."""

    def __init__(self, key: bytes, fingerprint: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(key, b"campus-console/1" + fingerprint, "sha256")
        self._clock = clock

    def issue(self) -> str:
        """Return the cookie of a new session."""
        body = f"{int(self._clock()) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{body}.{self._sign(body)}"

    def valid(self, cookie: str) -> bool:
        """Tell whether `cookie` is one of ours and not too old."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return False
        return int(body.partition(".")[0]) > self._clock()

    def _sign(self, body: str) -> str:
        return _text(hmac.digest(self._key, body.encode(), "sha256"))


def session_key(folder: Path) -> bytes:
    """Return the key that signs sessions, made on first use with mode 0600. Raises ConfigError."""
    path = folder / _KEY_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_private(path)
        key = path.read_bytes()
        if len(key) != _BYTES:
            key = secrets.token_bytes(_BYTES)
            temporary = folder / f".{_KEY_NAME}.{os.getpid()}"
            create_private(temporary)
            temporary.write_bytes(key)
            temporary.replace(path)
    except OSError as error:
        problem = Problem(where=str(path), what=f"cannot be used: {error}", mend="allow writing in the data folder")
        raise ConfigError([problem]) from error
    return key


class Attempts:
    """How often the password may be guessed: few times from one address, and not often from all together."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    _BURST, _REFILL_S = 5.0, 30.0
    _ALL_BURST, _ALL_REFILL_S = 60.0, 2.0
    _MOST: Final = 4096

    def wait_s(self, address: str) -> int:
        """Take one try of `address`; return 0 if it may be made, else after how many seconds one may."""
        waits = [
            self._take(_network(address), self._BURST, self._REFILL_S),
            self._take("*", self._ALL_BURST, self._ALL_REFILL_S),
        ]
        return max(waits)

    def forget(self, address: str) -> None:
        """Give an address its tries back: it knew the password."""
        self._buckets.pop(_network(address), None)

    def _take(self, name: str, burst: float, refill_s: float) -> int:
        now = self._clock()
        left, at = self._buckets.pop(name, (burst, now))
        left = min(burst, left + (now - at) / refill_s)
        may = left >= 1
        self._buckets[name] = (left - 1 if may else left, now)
        while len(self._buckets) > self._MOST:
            self._buckets.popitem(last=False)
        return 0 if may else math.ceil((1 - left) * refill_s)


def _network(address: str) -> str:
    """Return what is counted as one visitor: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "?"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return f"{int(parsed) >> 64:x}/64"
    return str(parsed)
