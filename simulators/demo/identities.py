"""What must be found nowhere: card numbers, bands' ids, addresses and names, passwords; and how each is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.scenario import camera_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulators.bands import Band
    from simulators.demo.scene import Scene

_SEPARATORS: Final = (":", "-", " ", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One identifier in its forms; never printed, only named by `who`."""

    who: str
    """Its place in the plan, such as `card 3`."""
    texts: Mapping[str, str]
    """How it is written → text."""
    binary: Mapping[str, bytes]
    hashed: Mapping[str, bytes]
    """Further bytes that are only looked for hashed: too short to look for as they are."""
    usual: tuple[str, ...]
    """Keys of `texts`: those that are also looked for encoded and escaped."""


def identities(scene: Scene) -> list[Identity]:
    """Return everything personal that the scene's devices say."""
    found = [card_identity(number, card) for number, card in enumerate(scene.cards)]
    for number, wearer in enumerate(scene.bands):
        found += band_identities(number, wearer.band)
    found += [
        Identity(
            who=f"password of camera {number}",
            texts={"password": camera_password(scene.seed, name)},
            binary={},
            hashed={},
            usual=("password",),
        )
        for number, name in enumerate(scene.cameras)
    ]
    return found


def card_identity(number: int, card: str) -> Identity:
    """Return the forms of a card number of ten hex digits: the whole, and its tag without the version byte."""
    raw = bytes.fromhex(card)
    texts = dict(_number_texts("card", raw)) | dict(_number_texts("tag", raw[1:]))
    facility, code = raw[2], int.from_bytes(raw[3:], "big")
    for separator in (",", ":", "-", "."):
        texts[f"Wiegand 26 with {separator!r}"] = f"{facility:03d}{separator}{code:05d}"
    texts["Wiegand 26"] = f"{facility:03d}{code:05d}"
    return Identity(
        who=f"card {number}",
        texts=texts,
        binary={"raw": raw, "raw reversed": raw[::-1]},
        hashed={"raw tag": raw[1:]},
        usual=("card hex", "card HEX", "tag hex", "tag HEX", "card decimal", "tag decimal"),
    )


def band_identities(number: int, band: Band) -> Sequence[Identity]:
    """Return the forms of a band's static id, of its address, and of its name."""
    numbers = (("id", band.id), ("address", bytes.fromhex(band.address.replace(":", ""))))
    return [
        *(
            Identity(
                who=f"{part} of band {number}",
                texts=dict(_number_texts(part, raw)),
                binary={"raw": raw, "raw reversed": raw[::-1]},
                hashed={},
                usual=tuple(
                    f"{part}{order} {form}"
                    for order in ("", " reversed")
                    for form in ("hex", "HEX", "hex with ':'", "HEX with ':'")
                ),
            )
            for part, raw in numbers
        ),
        Identity(
            who=f"name of band {number}",
            texts={"name": band.name, "NAME": band.name.upper()},
            binary={},
            hashed={},
            usual=("name",),
        ),
    ]


def _number_texts(name: str, raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield (how, text) for each common way to write a number of a few bytes."""
    for order, data in (("", raw), (" reversed", raw[::-1])):
        digits = data.hex()
        number = int.from_bytes(data, "big")
        yield f"{name}{order} hex", digits
        yield f"{name}{order} HEX", digits.upper()
        for separator in _SEPARATORS:
            yield f"{name}{order} hex with {separator!r}", data.hex(separator)
            yield f"{name}{order} HEX with {separator!r}", data.hex(separator).upper()
        yield f"{name}{order} decimal", str(number)
        yield f"{name}{order} decimal, ten digits", f"{number:010d}"
