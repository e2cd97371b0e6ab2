"""Messages that are almost right: valid batches, changed byte by byte, as JSON, in their gzip and in their topic."""

from __future__ import annotations

import copy
import gzip
import json
from typing import TYPE_CHECKING, Any, Final

from telemetry.batch import encode_batch
from telemetry.sample import DataClass, Quality, Reason
from tests.cloud_ingest.gateway import HANDLE, attendance, batch, block, sample, topic_of

if TYPE_CHECKING:
    from random import Random

SECOND: Final = 10**9
NOW: Final = 1_760_000_000_123_456_789
"""The same each time, so that a seed is enough to make a message again."""
_AIR: Final = block(
    [
        sample(NOW),
        sample(NOW + 1, {"temperature": -3.25, "co2": 1e-300}),
        sample(NOW + 2, {"co2": 0.0}, bad={"humidity": Reason.STALE}),
        sample(NOW + 3, {"temperature": 5.0}, quality=Quality.SUSPECT),
    ]
)
_MIXED: Final = block(
    [sample(NOW + 5, {"mode": 'on "high", so=1\\', "moving": True, "left": 7.5})],
    device="r101-fan",
    quantities={"mode": "state", "moving": "presence", "left": "duration"},
)
_OWN: Final = block(
    [sample(NOW, {"memory": 5e7})], device="gw-101", measurement="gateway", quantities={"memory": "memory"}
)
BATCHES: Final = (
    batch(1, [_AIR]),
    batch(2, [_AIR, _MIXED], simulated=True),
    batch(3, [_OWN], data_class=DataClass.OPS),
    attendance(4, at_ns=NOW),
    batch(5, [_MIXED, _MIXED, _AIR]),
)
SEEDS: Final = tuple((topic_of(one), encode_batch(one)) for one in BATCHES)
_TOKENS: Final = (
    b"1e999", b"-1e999", b"NaN", b"Infinity", b"null", b"true", b"-0", b"-0.0", b"0x10", b"01", b"1.", b".5", b'"',
    b"\\", b"}", b"]", b"{", b"[", b",", b":", b"9" * 30, b"9" * 500, b"1" + b"0" * 308, b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"\0", b"\\ud800", b"\\u0000", b"\\n", b"\xe6\xb8\xa9", b" ", b"\n", b"[" * 2000,
    b'{"a":' * 2000, b"1e-400", b"5e-324", b"1.7976931348623157e308", b"18446744073709551616", b"-9223372036854775809",
    b"3" * 19,
)  # fmt: skip
_VALUES: Final = (
    None, True, False, 0, -1, 1, 2**53 + 1, 2**63, -(2**63) - 1, 10**40, 0.1, -0.0, 1e308, 5e-324, 1e18, "", "x",
    "温度", "a b", "a,b=c", "line\nbreak", "tab\t", 'quo"te', "back\\", "\0", "x" * 1025, "../..", "+", "#", "\u202e",
    "\U0001f600", "\ud800", HANDLE, HANDLE.upper(), "good", "suspect", "clock_uncertain", "float", "state", "presence",
    "temperature", "environment", "gateway", "attendance", "timeout", [], {}, [1.0], {"a": 1.0}, [[[]]], NOW,
    NOW - 40 * 365 * 86_400 * SECOND, NOW + 86_400 * SECOND * 2, float(NOW), str(NOW), "campus.batch/2", "site", "time",
    "co2_bad", "quality", "simulated", "subject", "p" * 41,
)  # fmt: skip
_LEVELS: Final = (
    "campus", "v1", "v2", "demo-school", "elsewhere", "gw-101", "gw-102", "telemetry", "status", "open", "group", "ops",
    "personal", "sensitive", "live", "backfill", "", "+", "#", "$share", "温度", "x" * 300, "a\tb", "..", "telemetry ",
)  # fmt: skip


class Mutator:
    """An endless source of messages, the same for the same `random`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def message(self) -> tuple[str, bytes]:
        """Return a topic and a payload."""
        random = self._random
        topic, plain = random.choice(SEEDS)
        if random.random() < 0.6:
            plain = self._as_json(plain)
        if random.random() < 0.5:
            plain = self._as_bytes(plain)
        if random.random() < 0.05:
            topic = self._topic(topic)
        if random.random() < 0.2:
            plain = gzip.compress(plain, 1, mtime=0)
            if random.random() < 0.3:
                plain = self._as_bytes(plain)
        return topic, plain

    def _as_bytes(self, plain: bytes) -> bytes:
        random = self._random
        text = bytearray(plain)
        for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
            at = random.randrange(len(text) + 1)
            kind = random.randrange(7)
            if kind == 0 and at < len(text):
                text[at] ^= 1 << random.randrange(8)
            elif kind == 1:
                del text[at : at + random.randrange(1, 40)]
            elif kind == 2:
                text[at:at] = random.choice(_TOKENS)
            elif kind == 3:
                other = random.choice(SEEDS)[1]
                start = random.randrange(len(other))
                text[at : at + random.randrange(60)] = other[start : start + random.randrange(1, 200)]
            elif kind == 4:
                text[at : at + 8] = text[at : at + 8][::-1]
            elif kind == 5 and random.random() < 0.3:
                del text[at:]
            else:  # one number or word for another token
                end = at + random.randrange(1, 12)
                text[at:end] = random.choice(_TOKENS)
        return bytes(text)

    def _as_json(self, plain: bytes) -> bytes:
        random = self._random
        document = json.loads(plain)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            self._change(document)
        text = json.dumps(document, ensure_ascii=random.random() < 0.5, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")

    def _change(self, document: Any) -> None:
        random = self._random
        holder: Any = document
        key: Any = None
        while True:
            if not isinstance(holder, (dict, list)) or not holder:
                return
            key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
            below = holder[key]
            if not isinstance(below, (dict, list)) or not below or random.random() < 0.15:
                break
            holder = below
        kind = random.randrange(6)
        if kind <= 2:
            holder[key] = copy.deepcopy(random.choice(_VALUES))
        elif kind == 3:
            del holder[key]
        elif kind == 4 and isinstance(holder, dict):
            name = random.choice(_VALUES)
            holder[name if isinstance(name, str) else str(key)] = holder.pop(key)
        elif isinstance(holder, list):
            holder += copy.deepcopy([holder[key]]) * random.choice((1, 3, 50))
        else:
            holder[f"{key}_more"] = copy.deepcopy(random.choice(_VALUES))

    def _topic(self, topic: str) -> str:
        random = self._random
        levels = topic.split("/")
        at = random.randrange(len(levels))
        kind = random.randrange(3)
        if kind == 0:
            levels[at] = random.choice(_LEVELS)
        elif kind == 1:
            del levels[at]
        else:
            levels.insert(at, random.choice(_LEVELS))
        return "/".join(levels)
