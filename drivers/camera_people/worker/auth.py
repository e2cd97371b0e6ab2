"""HTTP authentication (RFC 7617 Basic, RFC 7616 Digest with MD5 and SHA-256), pure; RTSP uses the same."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEME: Final = re.compile(r"(?:^|,)\s*(Basic|Digest)(?=\s|$)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_HASHES: Final = {"SHA-256": "sha256", "MD5": "md5"}
"""The strongest first."""
MAX_CHALLENGE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to log in that the camera offers."""

    scheme: str
    """`basic` or `digest`."""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def algorithm(self) -> str:
        """Digest's algorithm, in capitals, without `-SESS`."""
        return self.parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return what WWW-Authenticate headers offer that we can do, the strongest first."""
    found: list[Challenge] = []
    for header in headers:
        text = header[:MAX_CHALLENGE]
        starts = list(_SCHEME.finditer(text))
        for start, following in zip(starts, [*starts[1:], None], strict=False):
            body = text[start.end() : following.start() if following else None]
            given = {name.lower(): (quoted or plain) for name, quoted, plain in _PARAMETER.findall(body)}
            found.append(Challenge(scheme=start[1].lower(), parameters=given))
    usable = [
        item for item in found if item.scheme == "basic" or (item.algorithm in _HASHES and _qop(item) is not None)
    ]
    return sorted(usable, key=lambda item: (item.scheme == "basic", list(_HASHES).index(item.algorithm)))


def _qop(challenge: Challenge) -> str | None:
    """Return the quality of protection: "auth", or "" where the camera knows none; none if it is unknown to us."""
    offered = challenge.parameters.get("qop")
    if offered is None:
        return ""
    return "auth" if "auth" in re.split(r"[\s,]+", offered.lower()) else None


def authorization(
    challenge: Challenge, *, method: str, uri: str, username: str, password: str, cnonce: str, count: int = 1
) -> str:
    """Return the value of the Authorization header that answers `challenge`, for its `count`-th use."""
    if challenge.scheme == "basic":
        return "Basic " + b64encode(f"{username}:{password}".encode()).decode()
    given = challenge.parameters
    realm, nonce, qop = given.get("realm", ""), given.get("nonce", ""), _qop(challenge)

    def digest(text: str) -> str:
        return hashlib.new(_HASHES[challenge.algorithm], text.encode(), usedforsecurity=False).hexdigest()

    secret = digest(f"{username}:{realm}:{password}")
    if given.get("algorithm", "").upper().endswith("-SESS"):
        secret = digest(f"{secret}:{nonce}:{cnonce}")
    what = digest(f"{method}:{uri}")
    number = f"{count:08x}"
    response = digest(f"{secret}:{nonce}:{number}:{cnonce}:{qop}:{what}" if qop else f"{secret}:{nonce}:{what}")
    parts = [f'username="{_quoted(username)}"', f'realm="{realm}"', f'nonce="{nonce}"', f'uri="{uri}"']
    parts += [f'response="{response}"']
    if "algorithm" in given:
        parts.append(f"algorithm={given['algorithm']}")
    if "opaque" in given:
        parts.append(f'opaque="{given["opaque"]}"')
    if qop:
        parts += [f"qop={qop}", f"nc={number}", f'cnonce="{cnonce}"']
    return "Digest " + ", ".join(parts)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
