"""Login of a simulated camera: HTTP Digest (RFC 7616) and Basic, as RTSP and HTTP cameras both ask for it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final, Literal

REALM: Final = "campus-sim camera"

Algorithm = Literal["MD5", "SHA-256"]

_HASHES: Final = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_FIELD: Final = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Login:
    """What a client must prove; without a user name it need not prove anything."""

    def __init__(self, *, username: str, password: str, algorithm: Algorithm = "MD5", basic: bool = False) -> None:
        self._username = username
        self._password = password
        self._algorithm = algorithm
        self._basic = basic
        self._nonce = secrets.token_hex(16)

    def challenges(self, *, qop: bool) -> list[str]:
        """Return the values of WWW-Authenticate, the strongest first; `qop` asks for the client's own nonce too."""
        extra = ', qop="auth"' if qop else ""
        # MD5 is what is meant when nothing is said; some old clients stumble over its name.
        named = "" if self._algorithm == "MD5" else f", algorithm={self._algorithm}"
        digest = f'Digest realm="{REALM}", nonce="{self._nonce}"{named}{extra}'
        return [digest, f'Basic realm="{REALM}"'] if self._basic else [digest]

    def admits(self, authorization: str, *, method: str) -> bool:
        """Tell whether `authorization` (the header's value, empty if there was none) proves the password."""
        if not self._username:
            return True
        scheme, _, rest = authorization.strip().partition(" ")
        if scheme.lower() == "digest":
            return self._digest(rest, method)
        return self._basic and scheme.lower() == "basic" and self._plain(rest)

    def _plain(self, encoded: str) -> bool:
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(given, f"{self._username}:{self._password}".encode())

    def _digest(self, text: str, method: str) -> bool:
        fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(text)}
        if fields.get("algorithm", "MD5").upper() != self._algorithm or fields.get("nonce") != self._nonce:
            return False
        if fields.get("username") != self._username:
            return False
        secret = self._hash(f"{self._username}:{REALM}:{self._password}")
        asked = self._hash(f"{method}:{fields.get('uri', '')}")
        middle = [self._nonce]
        if fields.get("qop"):
            middle += [fields.get("nc", ""), fields.get("cnonce", ""), fields["qop"]]
        expected = self._hash(":".join([secret, *middle, asked]))
        return hmac.compare_digest(expected.encode(), fields.get("response", "").lower().encode())

    def _hash(self, text: str) -> str:
        return _HASHES[self._algorithm](text.encode()).hexdigest()
