"""Small pieces that pages are made of: plain, named HTML elements; nothing is sent when nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from cloud_ingest.console.texts import text

if TYPE_CHECKING:
    from cloud_ingest.console.texts import Lang
    from cloud_ingest.console.wording import Told

_AGE_MOVED_MS: Final = 700
"""An acquisition time that moves by less is the same one, told a moment later."""


def box(tag: str, classes: str = "", **attributes: str) -> Element:
    """Return an element; `aria_label` becomes the attribute `aria-label`."""
    element = Element(tag)
    _dress(element, classes, attributes)
    return element


def words(tag: str, told: str, classes: str = "", **attributes: str) -> TextElement:
    """Return an element that holds text."""
    element = TextElement(tag=tag, text=told)
    _dress(element, classes, attributes)
    return element


def _dress(element: Element, classes: str, attributes: dict[str, str]) -> None:
    # Keys are ours; values are never parsed, so no name of a room can become markup.
    if classes:
        element.classes(classes)
    for name, value in attributes.items():
        element.props[name.strip("_").replace("_", "-")] = value


def icon(name: str) -> Element:
    """Return an icon; words beside it say the same."""
    return box("span", f"icon icon-{name}" if name else "icon", aria_hidden="true")


def simulated_mark(lang: Lang) -> TextElement:
    """Return the mark of simulated data."""
    return words("span", text("simulated", lang), "tag tag-simulated", title=text("simulated_note", lang))


class Age:
    """How long ago something was; the browser lets it grow by itself, also while the connection is lost."""

    def __init__(self) -> None:
        self._element = box("time", "age")
        self._at_ms: int | None = None

    def show(self, at_ms: int | None) -> None:
        """Show the age of `at_ms` (UTC milliseconds); none shows nothing."""
        old = self._at_ms
        if old is not None and at_ms is not None and abs(at_ms - old) < _AGE_MOVED_MS:
            return
        if old == at_ms:
            return
        self._at_ms = at_ms
        self._element.props["data-at"] = "" if at_ms is None else str(at_ms)


class Reading:
    """One value of a room: name, number, unit, state in words with an icon, age where it is worth telling."""

    def __init__(self, told: Told, *, with_limit: bool = False) -> None:
        self._told: Told | None = None
        with box("div", "value") as self._row:
            self._name = words("dt", told.name)
            with box("dd", "reading"):
                self._value = words("span", "", "number")
                self._unit = words("span", "", "unit")
            with box("dd", "state"):
                self._icon = icon("")
                self._state = words("span", "", "words")
                self._limit = words("span", "", "limit") if with_limit else None
                self._age = Age()

    def show(self, told: Told, aged_at_ms: int | None) -> None:
        """Show `told`; with `aged_at_ms` its own age too."""
        self._age.show(aged_at_ms)
        if told == self._told:
            return
        self._told = told
        self._name.text = told.name
        self._value.text = told.value
        # A space that does not break, so that the number is copied and read aloud with its unit.
        self._unit.text = f"\u00a0{told.unit}" if told.unit else ""
        self._state.text = told.state
        if self._limit is not None:
            self._limit.text = told.limit
        self._icon.classes(replace=f"icon icon-{told.icon}" if told.icon else "icon")
        self._row.classes(replace=f"value tone-{told.tone}{'' if told.value else ' no-value'}")
        if self._row.props.get("title", "") != told.note:
            self._row.props["title"] = told.note
