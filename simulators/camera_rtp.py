"""H.264 in RTP (RFC 3550, RFC 6184): single NAL units and FU-A, sender reports, and the SDP that describes them."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLOCK_HZ: Final = 90_000
MAX_PAYLOAD: Final = 1400
VIDEO_TYPE: Final = 96
VIDEO_TRACK: Final = "trackID=1"
AUDIO_TRACK: Final = "trackID=2"
_VERSION: Final = 0x80
_MARKER: Final = 0x80
_FU_A: Final = 28
_FU_START, _FU_END = 0x80, 0x40
_SENDER_REPORT: Final = 200
_NTP_EPOCH_S: Final = 2_208_988_800
_NS: Final = 1_000_000_000


class Packetiser:
    """Numbers the packets of one RTP source."""

    def __init__(self, *, source: int, sequence: int) -> None:
        self._source = source
        self._sequence = sequence
        self._packets = 0
        self._bytes = 0

    def packets(self, units: Sequence[bytes], *, timestamp: int) -> list[bytes]:
        """Return one picture's NAL units as RTP packets; the last one has the marker."""
        payloads = [payload for unit in units for payload in fragments(unit)]
        return [
            self._packet(payload, timestamp, last=number == len(payloads)) for number, payload in enumerate(payloads, 1)
        ]

    def report(self, *, timestamp: int, now_ns: int) -> bytes:
        """Return an RTCP sender report: picture time `timestamp` was `now_ns` (UTC)."""
        seconds, rest = divmod(now_ns, _NS)
        ntp = (seconds + _NTP_EPOCH_S) % 2**32 << 32 | (rest << 32) // _NS
        head = struct.pack("!BBHI", _VERSION, _SENDER_REPORT, 6, self._source)
        counts = (self._packets % 2**32, self._bytes % 2**32)
        return head + struct.pack("!QIII", ntp, timestamp % 2**32, *counts)

    def _packet(self, payload: bytes, timestamp: int, *, last: bool) -> bytes:
        kind = VIDEO_TYPE | (_MARKER if last else 0)
        head = struct.pack("!BBHII", _VERSION, kind, self._sequence, timestamp % 2**32, self._source)
        self._sequence = (self._sequence + 1) % 2**16
        self._packets += 1
        self._bytes += len(payload)
        return head + payload


def fragments(unit: bytes) -> Iterator[bytes]:
    """Yield a NAL unit as it is, or as FU-A fragments if it is too long for one packet."""
    if len(unit) <= MAX_PAYLOAD:
        yield unit
        return
    indicator, kind, data = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F, unit[1:]
    step = MAX_PAYLOAD - 2
    for at in range(0, len(data), step):
        edge = (_FU_START if at == 0 else 0) | (_FU_END if at + step >= len(data) else 0)
        yield bytes((indicator, edge | kind)) + data[at : at + step]


def interleaved(channel: int, packet: bytes) -> bytes:
    """Return a packet as it stands between RTSP messages (RFC 2326, 10.12)."""
    return struct.pack("!cBH", b"$", channel, len(packet)) + packet


def sdp(*, sps: bytes, pps: bytes, fps: int, audio: bool) -> str:
    """Return the session's description; `audio` offers a G.711 track beside the video."""
    sets = ",".join(base64.b64encode(item).decode() for item in (sps, pps))
    lines = [
        "v=0",
        "o=- 1 1 IN IP6 ::",
        "s=campus-sim camera",
        "c=IN IP6 ::",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {VIDEO_TYPE}",
        f"a=rtpmap:{VIDEO_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{VIDEO_TYPE} packetization-mode=1;profile-level-id={sps[1:4].hex()};sprop-parameter-sets={sets}",
        f"a=framerate:{fps}",
        f"a=control:{VIDEO_TRACK}",
    ]
    if audio:
        lines += ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", f"a=control:{AUDIO_TRACK}"]
    return "\r\n".join(lines) + "\r\n"
