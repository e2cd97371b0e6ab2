"""The gateways: who is there, what waits, what was withheld or dropped, and their devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import DeviceState, DocumentState, DropKind
from cloud_ingest.console.parts import Age, box, icon, simulated_mark, words
from cloud_ingest.console.rooms_page import acquired_ms
from cloud_ingest.console.texts import counted, pick, text
from cloud_ingest.console.vocabulary import DOCUMENT_NAMES
from cloud_ingest.console.wording import document_words, drop_words, duration, gate_words, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nicegui.element import Element
    from nicegui.elements.mixins.text_element import TextElement

    from cloud_ingest.console.frame import Visit
    from cloud_ingest.console.hub import Snapshot
    from cloud_ingest.console.model import DeviceView, DocumentView, Drop, GatewayView
    from cloud_ingest.console.texts import Lang

_FACTS: Final = ("last_contact", "backlog", "oldest", "hours_left", "clock", "uptime", "version", "audit")
_AGES: Final = frozenset({"last_contact", "oldest"})
_DROP_TITLES: Final[Mapping[DropKind, str]] = {
    DropKind.DROPPED: "dropped_title",
    DropKind.ALARM: "alarm_title",
    DropKind.WITHHELD: "withheld_title",
}
_DEVICE_TONES: Final[Mapping[DeviceState, tuple[str, str]]] = {
    DeviceState.UP: ("good", "ok"),
    DeviceState.DOWN: ("beyond", "bad"),
    DeviceState.STARTING: ("stale", "clock"),
    DeviceState.UNKNOWN: ("stale", "clock"),
}


_DOCUMENT_TONES: Final[Mapping[DocumentState, tuple[str, str]]] = {
    DocumentState.IN_FORCE: ("good", "ok"),
    DocumentState.NOT_YET_VALID: ("stale", "clock"),
    DocumentState.UNKNOWN: ("stale", "clock"),
}
"""All others are for somebody to look at."""


def facts(gateway: GatewayView, lang: Lang) -> dict[str, str]:
    """Return what is told of a gateway in words; an empty text is not shown. Ages are told by `Age`."""
    unknown = text("unknown", lang)
    synced = gateway.clock_synced
    backlog = unknown
    if gateway.backlog_batches is not None:
        backlog = counted("batches", lang, gateway.backlog_batches) if gateway.backlog_batches else ""
        if gateway.backlog_batches and gateway.backlog_values is not None:
            amount = size(gateway.backlog_bytes or 0)
            backlog = text("backlog_more", lang, batches=backlog, values=f"{gateway.backlog_values:,}", bytes=amount)
        backlog = backlog or text("none_waiting", lang)
    hours = gateway.hours_left
    return {
        "backlog": backlog,
        "hours_left": unknown if hours is None else text("hours_about", lang, time=duration(hours * 3600, lang)),
        "clock": unknown if synced is None else text("clock_synced" if synced else "clock_unsynced", lang),
        "uptime": unknown if gateway.uptime_s is None else duration(gateway.uptime_s, lang),
        "version": gateway.version or "",
        "audit": _audit(gateway, lang),
    }


def _audit(gateway: GatewayView, lang: Lang) -> str:
    if gateway.audit_broken:
        return text("audit_broken", lang)
    head = gateway.audit
    return "" if head is None else text("audit_head", lang, n=f"{head.entries:,}", digest=head.digest)


class _Device:
    def __init__(self, visit: Visit, device: DeviceView) -> None:
        self._lang = visit.lang
        self._shown: DeviceView | None = None
        lang = visit.lang
        with box("tr"):
            with box("th", scope="row", data_label=text("device", lang)):
                words("span", device.name)
            with box("td", data_label=text("room", lang)):
                if device.room:
                    words("a", device.room, href=visit.link(f"room/{device.room}"))
            with box("td", data_label=text("model", lang)):
                words("span", device.profile or "", "quiet")
            with box("td", data_label=text("state", lang)) as self._cell:
                with box("span", "pill"):
                    self._icon = icon("")
                    self._state = words("span", "")
                self._error = words("span", "", "error-text", lang="en")
            with box("td", data_label=text("last_reading", lang)):
                self._age = Age()
                self._never = words("span", "", "quiet")

    def show(self, device: DeviceView, at_ns: int) -> None:
        age_s = device.last_sample_age_s
        self._age.show(None if age_s is None else acquired_ms(at_ns, age_s))
        self._never.text = text("never", self._lang) if age_s is None else ""
        if device == self._shown:
            return
        self._shown = device
        tone, sign = _DEVICE_TONES[device.state]
        self._state.text = text(device.state.value, self._lang)
        self._icon.classes(replace=f"icon icon-{sign}")
        self._cell.classes(replace=f"tone-{tone}")
        self._error.text = device.error or ""


class _Document:
    """How one signed document stands."""

    def __init__(self, document: DocumentView, lang: Lang) -> None:
        self._lang = lang
        with box("div", "fact"):
            words("dt", pick(DOCUMENT_NAMES[document.kind], lang))
            with box("dd") as self._cell:
                with box("span", "pill"):
                    self._icon = icon("")
                    self._state = words("span", "")
                self._problem = words("span", "", "error-text", lang="en")

    def show(self, document: DocumentView) -> None:
        tone, sign = _DOCUMENT_TONES.get(document.state, ("beyond", "bad"))
        # A school without bands needs no roster.
        if (document.kind, document.state) == ("roster", DocumentState.NONE):
            tone, sign = "stale", "clock"
        self._state.text = document_words(document, self._lang)
        self._icon.classes(replace=f"icon icon-{sign}")
        self._cell.classes(replace=f"tone-{tone}")
        self._problem.text = document.problem or ""


class _Gateway:
    def __init__(self, visit: Visit, gateway: GatewayView) -> None:
        self._visit = visit
        self._texts: dict[str, TextElement] = {}
        self._ages: dict[str, Age] = {}
        self._drops: tuple[Drop, ...] | None = None
        lang = visit.lang
        with box("li", "panel gateway"):
            with box("div", "card-head"):
                words("h2", gateway.gateway, "card-title")
                words("span", gateway.site, "quiet")
                if gateway.simulated:
                    simulated_mark(lang)
                with box("span", "pill") as self._pill:
                    self._icon = icon("")
                    self._online = words("span", "")
            with box("div", "notice gate-closed gone", role="status") as self._gate:
                words("strong", text("gate_closed", lang))
                words("span", text("gate_closed_note", lang))
                self._why = words("span", "")
            with box("dl", "facts"):
                for key in _FACTS:
                    if (key == "version" and not gateway.version) or (key == "audit" and not _audit(gateway, lang)):
                        continue
                    with box("div", "fact"):
                        words("dt", text(key, lang))
                        with box("dd"):
                            if key in _AGES:
                                self._ages[key] = Age()
                            self._texts[key] = words("span", "")
            self._documents = _documents(gateway.documents, lang)
            self._counters = box("div", "drops")
            if gateway.devices:
                words("h3", text("devices", lang))
                self._devices = _devices_table(visit, gateway.devices)
            else:
                self._devices = []

    def show(self, gateway: GatewayView, at_ns: int) -> None:
        lang = self._visit.lang
        tone, sign, key = {
            True: ("good", "ok", "online"),
            False: ("beyond", "bad", "offline"),
            None: ("stale", "clock", "unknown"),
        }[gateway.online]
        self._online.text = text(key, lang)
        self._icon.classes(replace=f"icon icon-{sign}")
        self._pill.classes(replace=f"pill tone-{tone}")
        self._why.text = text("gate_closed_why", lang, why=gate_words(gateway, lang))
        self._gate.classes(replace=f"notice gate-closed{'' if gateway.gate_problem else ' gone'}")
        for shown, document in zip(self._documents, gateway.documents, strict=True):
            shown.show(document)
        for fact, told in facts(gateway, lang).items():
            if fact in self._texts:
                self._texts[fact].text = told
        ages = {"last_contact": gateway.last_contact_age_s, "oldest": gateway.oldest_age_s}
        for fact, age_s in ages.items():
            self._ages[fact].show(None if age_s is None else acquired_ms(at_ns, age_s))
            nothing = "none_waiting" if fact == "oldest" and gateway.backlog_batches == 0 else "unknown"
            self._texts[fact].text = text(nothing, lang) if age_s is None else ""
        if gateway.drops != self._drops:
            self._drops = gateway.drops
            self._counters.clear()
            with self._counters:
                _tell_drops(gateway.drops, lang)
        for row, device in zip(self._devices, gateway.devices, strict=True):
            row.show(device, at_ns)


def _documents(documents: Sequence[DocumentView], lang: Lang) -> list[_Document]:
    if not documents:
        return []
    words("h3", text("documents", lang))
    with box("dl", "facts documents"):
        return [_Document(document, lang) for document in documents]


def _devices_table(visit: Visit, devices: Sequence[DeviceView]) -> list[_Device]:
    lang = visit.lang
    with box("table", "devices", aria_label=text("devices", lang)):
        with box("thead"), box("tr"):
            for key in ("device", "room", "model", "state", "last_reading"):
                words("th", text(key, lang), scope="col")
        with box("tbody"):
            return [_Device(visit, device) for device in devices]


def _tell_drops(drops: Sequence[Drop], lang: Lang) -> None:
    if not drops:
        words("p", text("no_drops", lang), "hint")
        return
    for kind, title in _DROP_TITLES.items():
        some = [drop for drop in drops if drop.kind is kind]
        if not some:
            continue
        with box("div", f"drop-group drop-{kind.value}"):
            with box("h3"):
                words("span", text(title, lang))
                words("span", text("since_start", lang), "quiet")
            with box("ul"):
                for drop in some:
                    with box("li"):
                        words("span", drop_words(drop, lang), title=drop.counter)
                        words("b", f"{drop.count:,}")


def _shape(gateway: GatewayView) -> tuple[object, ...]:
    devices = tuple((device.name, device.room, device.profile) for device in gateway.devices)
    documents = tuple(document.kind for document in gateway.documents)
    told = (gateway.simulated, gateway.version, gateway.audit is None and not gateway.audit_broken)
    return gateway.site, gateway.gateway, *told, devices, documents


class GatewaysPage:
    """All gateways of a site."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._cards: list[_Gateway] = []
        self._shown: list[tuple[object, ...]] | None = None
        with box("div", "page-head"):
            words("h1", text("gateways_title", visit.lang))
            self._summary = words("p", "", "summary", role="status")
        self._list: Element = box("ul", "gateways")
        with box("div", "empty gone") as self._empty:
            words("h2", text("no_gateways", visit.lang))
            words("p", text("no_gateways_hint", visit.lang))

    def show(self, snapshot: Snapshot) -> None:
        """Show the snapshot; built anew only when gateways or their devices changed."""
        some = [one for one in snapshot.gateways if self._visit.site in (None, one.site)]
        shapes = [_shape(one) for one in some]
        if shapes != self._shown:
            self._shown = shapes
            self._list.clear()
            with self._list:
                self._cards = [_Gateway(self._visit, one) for one in some]
            self._empty.classes(replace="empty gone" if some else "empty")
        for card, one in zip(self._cards, some, strict=True):
            card.show(one, snapshot.at_ns)
        lang = self._visit.lang
        offline = sum(one.online is False for one in some)
        down = sum(device.state is DeviceState.DOWN for one in some for device in one.devices)
        parts = [counted("sum_gateways", lang, len(some))] if some else []
        closed = sum(one.gate_problem is not None for one in some)
        counts = (("sum_offline", offline), ("sum_gates_closed", closed), ("sum_devices_down", down))
        parts += [counted(key, lang, n) for key, n in counts if n]
        self._summary.text = " · ".join(parts)
