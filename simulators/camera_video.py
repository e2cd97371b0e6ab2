"""Pictures as H.264 and as JPEG, by PyAV (extra `camera-sim`)."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
from av.video.frame import PictureType

from simulators.camera_scenes import HEIGHT, WIDTH

if TYPE_CHECKING:
    import random

    from av.video.codeccontext import VideoCodecContext

    from simulators.camera_picture import Picture

BIT_RATE: Final = 1_000_000
JPEG_QUALITY: Final = 4
"""Quantiser of the MJPEG encoder: 2 is best, 31 is worst."""
_START: Final = b"\0\0\1"
_SPS, _PPS, _IDR = 7, 8, 5
_TYPE: Final = 0x1F
_IMPOSSIBLE: Final = b"\x87\xff\xff\0\0\3\0\xff\xff"
"""A slice of type 30, a PPS of SPS 30, or an SPS whose number is beyond 2^24: the standard knows none of these."""


class H264:
    """One stream. A keyframe each second, and SPS and PPS before each of them."""

    def __init__(self, *, fps: int) -> None:
        codec: VideoCodecContext = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        codec.framerate, codec.time_base = Fraction(fps), Fraction(1, fps)
        codec.gop_size, codec.bit_rate, codec.thread_count = fps, BIT_RATE, 1
        codec.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "repeat-headers=1:annexb=1"}
        self._codec = codec
        self._frames = 0

    def encode(self, picture: Picture, *, key: bool = False) -> list[bytes]:
        """Return the NAL units of one picture; `key` makes it one that a decoder can start at."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = self._frames
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._frames += 1
        return nal_units(b"".join(bytes(packet) for packet in self._codec.encode(frame)))


def jpeg(picture: Picture) -> bytes:
    """Return `picture` as JPEG."""
    codec: VideoCodecContext = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    codec.time_base, codec.thread_count = Fraction(1, 25), 1
    codec.options = {"qmin": str(JPEG_QUALITY), "qmax": str(JPEG_QUALITY)}
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def nal_units(stream: bytes) -> list[bytes]:
    """Return the NAL units of an Annex B byte stream, without start codes."""
    # What stands before a start code is zeros: a unit's own last byte never is one.
    return [unit.rstrip(b"\0") for unit in stream.split(_START)[1:]]


def noise(unit: bytes, rng: random.Random) -> bytes:
    """Return a NAL unit of the same type and about the same length that surely nobody can decode.

    Noise alone is a slice to a decoder now and then, which it fills up with what it showed before.
    """
    # No zeros, or the noise might hold the start of another unit.
    return unit[:1] + _IMPOSSIBLE + rng.randbytes(len(unit) - 1).replace(b"\0", b"\xff")


def jpeg_noise(length: int, rng: random.Random) -> bytes:
    """Return bytes that begin like a JPEG and surely are none: no marker is among them."""
    return b"\xff\xd8" + rng.randbytes(length).replace(b"\xff", b"\0")


def is_key(units: list[bytes]) -> bool:
    """Tell whether a decoder can start at these NAL units."""
    return any(unit[0] & _TYPE == _IDR for unit in units)


def parameter_sets(units: list[bytes]) -> tuple[bytes, bytes]:
    """Return SPS and PPS, which stand before a keyframe."""
    by_type = {unit[0] & _TYPE: unit for unit in units}
    return by_type[_SPS], by_type[_PPS]
