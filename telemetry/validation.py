"""Tables from people (TOML) to typed records; every problem at once, each with place and mend."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from telemetry.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = TypeVar("Record")

_MENDS: Final = {
    "unexpected_keyword_argument": "remove the key or correct its spelling",
    "extra_forbidden": "remove the key or correct its spelling",
    "missing": "add the key",
    "missing_argument": "add the key",
    "missing_keyword_only_argument": "add the key",
}
_CREDENTIALS: Final = re.compile(r"//[^/]*@")
"""User and password in an address: an error must not repeat them."""


def problems_of(error: ValidationError, where: str, see: str) -> list[Problem]:
    """Return the library's findings as Problems below `where`; `see` names what explains the keys."""
    return [
        Problem(
            where=_place(where, item["loc"]),
            what=_text(item["msg"], item["input"], item["type"]),
            mend=_MENDS.get(item["type"], f"see {see}"),
        )
        for item in error.errors()
    ]


def validated(
    kind: type[Record], table: Mapping[str, Any], where: str, problems: list[Problem], *, see: str
) -> Record | None:
    """Return `table` as a `kind`; or none, with everything that is wrong added to `problems`."""
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        problems.extend(problems_of(error, where, see))
        return None


def _place(where: str, keys: tuple[int | str, ...]) -> str:
    path = ".".join(str(key) for key in keys)
    if not path:
        return where.removesuffix(":")
    return f"{where}{' ' if where.endswith(':') else '.'}{path}" if where else path


def _text(message: str, given: object, kind: str) -> str:
    plain = message.removeprefix("Value error, ")
    if kind in _MENDS or isinstance(given, dict | list):
        return plain
    return f"{plain} (it is {_CREDENTIALS.sub('//…@', repr(given))})"
