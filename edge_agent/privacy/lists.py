"""An officer's lists (one line a person) turned into what stands in a document. No error quotes an identifier."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from telemetry.errors import ConfigError, Problem
from telemetry.sample import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge_agent.privacy.keys import GatewayKeys

_UNDER_14: Final = {"under14": True, "14+": False}
_SEE: Final = "docs/guides/privacy-officer.md"


def bindings(lines: Iterable[str], keys: GatewayKeys, purpose: str, *, band_kind: str, pupil_kind: str) -> list[str]:
    """Return `[lesson.bindings]` from lines `band,pupil`. Raises ConfigError."""
    made: dict[str, str] = {}
    for number, (band, pupil) in _fields(lines, "band,pupil"):
        worn = _handle(keys, purpose, band_kind, band)
        if worn in made:
            raise _wrong(number, "the band stands there twice", "a band has one wearer in a lesson")
        made[worn] = _handle(keys, purpose, pupil_kind, pupil)
    return ["[lesson.bindings]", *(f'{worn} = "{wearer}"' for worn, wearer in made.items())]


def consents(
    lines: Iterable[str], keys: GatewayKeys, purpose: str, *, kind: str, utc_offset: str = "+08:00"
) -> list[str]:
    """Return `[[consent]]` tables from lines `identifier,guardian,under14,2027-07-15`. Raises ConfigError."""
    made: list[str] = []
    seen: set[str] = set()
    form = "identifier,guardian,under14,2027-07-15"
    for number, (identifier, given_by, age, until) in _fields(lines, form):
        if given_by not in {"guardian", "self"} or age not in _UNDER_14:
            raise _wrong(number, f"is not '{form}'", "who: guardian or self; age: under14 or 14+")
        if age == "under14" and given_by == "self":
            raise _wrong(number, "a child under 14 cannot consent itself", "ask a guardian")
        try:
            last = date.fromisoformat(until)
        except ValueError:
            raise _wrong(number, "its date is none", "write the last day as 2027-07-15") from None
        who = _handle(keys, purpose, kind, identifier)
        if who in seen:
            raise _wrong(number, "somebody stands there twice", "keep one line for each person")
        seen.add(who)
        made += [
            "",
            "[[consent]]",
            f'handle = "{who}"',
            f'purpose = "{purpose}"',
            f'given_by = "{given_by}"',
            f"under_14 = {str(_UNDER_14[age]).lower()}",
            f"valid_until = {last}T23:59:59{utc_offset}",
        ]
    return made


def _fields(lines: Iterable[str], form: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split(",")]
        if len(words) != form.count(",") + 1 or not all(words):
            raise _wrong(number, f"is not '{form}'", "one person a line, without a heading")
        yield number, words


def _handle(keys: GatewayKeys, purpose: str, kind: str, identifier: str) -> str:
    return keys.handle(purpose, Subject(kind=kind, identifier=identifier)) or ""


def _wrong(number: int, what: str, mend: str) -> ConfigError:
    return ConfigError([Problem(where=f"line {number}", what=what, mend=f"{mend}; see {_SEE}")])
