"""Scenes as pictures: RGB arrays, equal byte for byte for the same scene. Needs the extra `camera-sim`.

All people are the astronaut Eileen Collins, from a portrait by NASA in the public domain that scikit-image brings as
a test picture. A strip in the lower left corner says the picture's number, so that whoever reads the stream can tell
a new picture from one that came again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import numpy as np
from skimage.data import astronaut

from simulators.camera_scenes import HEIGHT, MOVES, WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulators.camera_scenes import Person, Scene

    Picture = NDArray[np.uint8]
    Numbers = NDArray[np.float32]

DARKNESS: Final = 0.03
"""What is left of the light in the dark. The strip stays lit, as the clock that cameras draw on their picture does."""
COUNTER_BITS: Final = 16
BLOCK: Final = 16
"""Side of one bit of the counter, px; as large as a macroblock, so that no codec smears it."""
_UNLIT, _LIT = 16, 235
_SWAY: Final = 2
"""The camera shakes by less than this many pixels: no two pictures are quite the same, as from a real sensor."""
_PORTRAIT: Final = (slice(10, 260), slice(100, 350))
_HEAD: Final = ((225, 98), (82, 92))
_SHOULDERS: Final = ((222, 285), (128, 135))
"""Ellipses in the astronaut's picture: centre and radii (x, y)."""
_EDGE: Final = 0.12
"""Width of a portrait's soft edge, in radii."""
_NOISE: Final = 3.0
_COVER: Final = 95.0
"""Of what covers a lens, close before it: one grey."""
_PACE: Final = (0, 1, 0, -1)
"""A person who moves is so many reaches beside the seat."""


class Studio:
    """Renders pictures; keeps the last scene, so that a picture costs a copy and a stamp."""

    def __init__(self, *, seed: int, name: str) -> None:
        self._seed = f"{seed}/{name}"
        portrait: Numbers = astronaut().astype(np.float32)  # type: ignore[no-untyped-call]
        self._portrait = portrait[_PORTRAIT]
        ellipses = [_ellipse(portrait.shape, centre, radii) for centre, radii in (_HEAD, _SHOULDERS)]
        self._mask = np.maximum(*ellipses)[_PORTRAIT][:, :, None]
        self._room = _room()
        self._last: tuple[tuple[int, bool, int], Picture] | None = None

    def picture(self, scene: Scene, *, number: int, dark: bool = False) -> Picture:
        """Return picture `number` of the camera, which shows `scene`."""
        step = number // _SWAY % MOVES if scene.moves else 0
        if self._last is None or self._last[0] != (scene.n, dark, step):
            self._last = ((scene.n, dark, step), self._rendered(scene, dark=dark, step=step))
        left, top = number % _SWAY, number // _SWAY % _SWAY
        picture = self._last[1][top : top + HEIGHT, left : left + WIDTH].copy()
        stamp(picture, number)
        return picture

    def _rendered(self, scene: Scene, *, dark: bool, step: int) -> Picture:
        canvas = np.full_like(self._room, _COVER) if scene.covered else self._room.copy()
        for person in scene.people:
            self._seat(canvas, person, step)
        noise = f"{self._seed}/noise/{scene.n}" + (f"/{step}" if step else "")
        rng = np.random.default_rng(random.Random(noise).getrandbits(64))
        canvas *= scene.light
        if dark:
            canvas *= DARKNESS
        canvas += rng.normal(0.0, _NOISE, canvas.shape).astype(np.float32)
        return np.clip(canvas.round(), 0, 255).astype(np.uint8)

    def _seat(self, canvas: Numbers, person: Person, step: int) -> None:
        portrait, mask = _resized(self._portrait, person.side), _resized(self._mask, person.side)
        if person.mirrored:
            portrait, mask = portrait[:, ::-1], mask[:, ::-1]
        seen = round(person.side * (1 - person.hidden))
        left = min(person.x + _PACE[step] * person.reach, canvas.shape[1] - person.side)
        place = canvas[person.y : person.y + seen, left : left + person.side]
        lit = np.clip(portrait * person.brightness, 0, 255)
        rows, columns = place.shape[:2]
        place += mask[:rows, :columns] * (lit[:rows, :columns] - place)


def stamp(picture: Picture, number: int) -> None:
    """Draw `number` into the lower left corner of `picture`: bit 0 leftmost, lit is 1."""
    for bit in range(COUNTER_BITS):
        picture[-BLOCK:, bit * BLOCK : (bit + 1) * BLOCK] = _LIT if number >> bit & 1 else _UNLIT


def read_stamp(picture: Picture) -> int:
    """Return the number in the corner of a picture that came back from a decoder."""
    strip = picture[-BLOCK:, : COUNTER_BITS * BLOCK].mean(axis=2)
    lit = strip.reshape(BLOCK, COUNTER_BITS, BLOCK).mean(axis=(0, 2)) > (_UNLIT + _LIT) / 2
    return sum(1 << bit for bit in range(COUNTER_BITS) if lit[bit])


def _room() -> Numbers:
    """Return an empty classroom, a little larger than the picture: a wall, a board, rows of desks."""
    height, width = HEIGHT + _SWAY, WIDTH + _SWAY
    shade = np.linspace(205.0, 150.0, height, dtype=np.float32)[:, None, None]
    room = np.broadcast_to(shade, (height, width, 3)) * np.array([0.98, 1.0, 0.94], dtype=np.float32)
    room[30:110, 190:450] = (62, 96, 78)
    for top in (118, 268, 430):
        for left in range(14, WIDTH, WIDTH // 5):
            room[top : top + 30, left : left + 100] = (168, 136, 98)
    return room


def _ellipse(shape: tuple[int, ...], centre: tuple[int, int], radii: tuple[int, int]) -> Numbers:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    inside: Numbers = np.clip((1 - distance) / _EDGE + 1, 0, 1)
    return inside


def _resized(picture: Numbers, side: int) -> Numbers:
    """Return a square picture made smaller: each new pixel is the mean of those it covers."""
    return _shrunk(_shrunk(picture, side).swapaxes(0, 1), side).swapaxes(0, 1)


def _shrunk(picture: Numbers, rows: int) -> Numbers:
    # By running sums, not matrices: those may come out a little different on each machine.
    sums = np.concatenate([np.zeros_like(picture[:1]), picture]).cumsum(axis=0, dtype=np.float64)
    edges = np.arange(rows + 1) * (len(picture) / rows)
    whole = np.minimum(edges.astype(np.intp), len(picture) - 1)
    part = (edges - whole).reshape(-1, *[1] * (picture.ndim - 1))
    means: Numbers = (np.diff(sums[whole] + part * picture[whole], axis=0) * (rows / len(picture))).astype(np.float32)
    return means
