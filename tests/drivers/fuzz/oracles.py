"""Second decoders, written from the standards and data sheets alone: they share no line with the drivers.

What they take and what they refuse is right by definition here; the drivers must say the same.
"""

from __future__ import annotations

import binascii
import math
import re
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def modbus_crc(data: bytes) -> bytes:
    """MODBUS over Serial Line V1.02, 6.2.2, bit by bit, as it goes over the wire."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            carry, crc = crc & 1, crc >> 1
            if carry:
                crc ^= 0xA001
    return bytes((crc & 0xFF, crc >> 8))


def rtu_replies(wire: bytes, unit: int, function: int, count: int) -> Iterator[bytes]:
    """Every run of bytes on the wire that the standard calls a reply of `unit` with `count` registers."""
    head = bytes((unit, function, 2 * count))
    at = wire.find(head)
    while at >= 0:
        frame = wire[at : at + 5 + 2 * count]
        if len(frame) == 5 + 2 * count and modbus_crc(frame[:-2]) == frame[-2:]:
            yield frame[3:-2]
        at = wire.find(head, at + 1)


def tcp_replies(wire: bytes, transaction: bytes, unit: int, function: int, count: int) -> Iterator[bytes]:
    """Every run of bytes on the wire that MODBUS Messaging on TCP/IP 1.0b calls the reply to this transaction."""
    head = transaction + bytes((0, 0, 0, 3 + 2 * count, unit, function, 2 * count))
    at = wire.find(head)
    while at >= 0:
        data = wire[at + len(head) : at + len(head) + 2 * count]
        if len(data) == 2 * count:
            yield data
        at = wire.find(head, at + 1)


def registers(data: bytes, layout: Sequence[tuple[str, int, str, str]]) -> dict[str, float]:
    """Values by (name, first register, type, scale); `u16`, `s16`, `u32` high word first, `f32` low word first."""
    words = [data[at] * 256 + data[at + 1] for at in range(0, len(data), 2)]
    values = {}
    for name, at, kind, scale in layout:
        if kind == "f32":
            number = single(words[at + 1] * 65536 + words[at])
            if number is not None:
                values[name] = number
            continue
        raw = words[at] if kind != "u32" else words[at] * 65536 + words[at + 1]
        if kind == "s16" and raw > 32767:
            raw -= 65536
        values[name] = float(raw * Decimal(scale))
    return values


def single(bits: int) -> float | None:
    """IEEE 754 binary32; none for what is no number."""
    sign, exponent, fraction = bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:
        return None
    size = math.ldexp(fraction + (exponent > 0) * 0x800000, max(exponent, 1) - 150)
    return -size if sign else size


CARD = re.compile(rb"\x02([0-9A-F]{12})(?:\r\n)?\x03")


def cards(stream: bytes) -> list[str]:
    """RDM6300 and ID-12 data sheets: 02, ten digits, two of their XOR, perhaps CR LF, 03."""
    found = []
    for match in CARD.finditer(stream):
        numbers = binascii.unhexlify(match[1])
        if reduce(xor, numbers) == 0:
            found.append(match[1][:10].decode())
    return found


def heart_rate(data: bytes) -> dict[str, float | None] | None:
    """Heart Rate Service 1.0, 3.1: point → value, or none where it cannot be trusted; none for no measurement."""
    if not data:
        return None
    bits = f"{data[0]:08b}"[::-1]
    if "1" in bits[5:]:
        return None
    rest = list(data[1:])
    try:
        rate = rest.pop(0) + (rest.pop(0) * 256 if bits[0] == "1" else 0)
        energy = rest.pop(0) + rest.pop(0) * 256 if bits[3] == "1" else None
    except IndexError:
        return None
    if len(rest) % 2 or (bits[4] == "1") != bool(rest):
        return None
    lost = bits[2] == "1" and bits[1] == "0"
    found: dict[str, float | None] = {"heart_rate": None if lost or rate == 0 else float(rate)}
    if rest:
        found["rr_interval"] = None if lost else (rest[-2] + 256 * rest[-1]) / 1024
    if energy is not None:
        found["energy"] = energy / 3600
    return found


def mi_band(payload: bytes) -> tuple[str, float | None] | None:
    """24 bytes after the company: the rate in the fourth, the id in the last six."""
    if len(payload) != 24 or payload[18:] in {b"\x00" * 6, b"\xff" * 6}:
        return None
    rate = payload[3]
    return payload[18:].hex().upper(), None if rate in {0, 255} else float(rate)


RECORD = {
    "version": (0, 2), "state": (2, 2), "sequence": (4, 4), "people": (8, 2), "brightness": (10, 2), "width": (12, 2),
    "height": (14, 2), "captured_ns": (16, 8), "frames": (24, 4), "skipped": (28, 4), "undecodable": (32, 4),
    "reopened": (36, 4), "inference_us": (40, 4), "motion": (44, 2), "narrowest_px": (46, 2), "widest_px": (48, 2),
    "looks": (50, 2), "sum": (52, 4),
}  # fmt: skip
"""The table in drivers/camera_people/README.md: field → offset, bytes."""
ABSENT = 0xFFFF


def camera_record(data: bytes) -> dict[str, float | None] | None:
    """A record's numbers by field; none for what no sound worker says."""
    if len(data) != 56:
        return None
    raw = {name: int.from_bytes(data[at : at + size], "little") for name, (at, size) in RECORD.items()}
    if raw["sum"] != binascii.crc32(data[:52]) or raw["version"] != 2 or not 1 <= raw["state"] <= 10:
        return None
    counted = raw["state"] == 1
    picture = raw["state"] in {1, 2, 7, 9, 10}
    people, bright, motion = raw["people"], raw["brightness"], raw["motion"]
    faces = (raw["narrowest_px"], raw["widest_px"])
    sound = (
        (people in {0, *range(4, 1001)} if counted else people == ABSENT)
        and (bright <= 10000 if picture else bright == ABSENT)
        and ((raw["width"] > 0 and raw["height"] > 0 and raw["captured_ns"] > 0) == picture)
        and (motion == ABSENT or (picture and motion <= 10000))
        and (faces == (ABSENT, ABSENT) or (counted and faces[0] <= faces[1] <= 8192))
        and (1 <= raw["looks"] <= 99 if counted else raw["looks"] == 0)
    )
    if not sound:
        return None
    told: dict[str, float | None] = dict(raw)
    told["people"] = people if counted else None
    told["brightness"] = bright / 10000 if picture else None
    told["motion"] = None if motion == ABSENT else motion / 10000
    told["narrowest_px"], told["widest_px"] = (None if one == ABSENT else one for one in faces)
    return told


def mjpeg_parts(stream: bytes, boundary: bytes) -> tuple[list[bytes], bool]:
    """The bodies in a whole multipart stream (RFC 2046, with a length or up to the next boundary); broken or not."""
    parts: list[bytes] = []
    while True:
        _, found, rest = stream.partition(boundary)
        blank = re.search(rb"\r?\n\r?\n", rest) if found else None
        if blank is None:
            return parts, False
        head, body = rest[: blank.start()], rest[blank.end() :]
        lengths = [
            value.removesuffix(b"\r").strip(b" \t")
            for name, _, value in (line.partition(b":") for line in head.split(b"\n"))
            if name.rstrip(b" \t").lower() == b"content-length"
        ]
        sizes = [int(text) for text in lengths if re.fullmatch(rb"[0-9]{1,9}", text)]
        if sizes:
            if not 0 < sizes[0] <= 8 * 1024 * 1024:
                return parts, True
            if len(body) < sizes[0]:
                return parts, False
            parts.append(body[: sizes[0]])
            stream = body[sizes[0] :]
            continue
        at = body.find(boundary)
        if at < 0:
            return parts, False
        ended = body[:at]
        ended = ended[:-1] if ended.endswith(b"\n") else ended
        parts.append(ended[:-1] if ended.endswith(b"\r") else ended)
        stream = body[at:]


def rtsp_response(data: bytes) -> tuple[int, bytes] | str:
    """RFC 2326, 7: (status, body), or `more` or `refused`."""
    if data[:5] != b"RTSP/"[: len(data[:5])]:
        return "refused"
    if len(data) > 65536:
        return "refused"
    if b"\r\n\r\n" not in data:
        return "more"
    end = data.index(b"\r\n\r\n")
    lines = data[:end].split(b"\r\n")
    status = re.fullmatch(rb"RTSP/[0-9]\.[0-9] ([0-9]{3})( .*)?", lines[0], re.DOTALL)
    if status is None:
        return "refused"
    length = 0
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.decode("latin-1").strip().lower() == "content-length":
            text = value.decode("latin-1").strip()
            length = int(text) if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) else 0
            break
    body = data[end + 4 :]
    return (int(status[1]), body[:length]) if len(body) >= length else "more"
