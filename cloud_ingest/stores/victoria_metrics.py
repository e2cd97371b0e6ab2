"""VictoriaMetrics (single node, 1.79 and later): a mirror for dashboards, never a source of "stored".

It answers a write before anything is on disk, keeps a row sent twice twice, knows no texts, cuts times to whole ms and
numbers to about 15 digits, and deletes a series only from its answers.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from cloud_ingest.stores.base import Capabilities, Outcome, Record, Selection
from cloud_ingest.stores.influx_http import QUERY_S, InfluxHttp, login
from cloud_ingest.stores.metricsql import MS, Chunk, Means, Rows, Tags, one_of, quoted, selector, tags_of
from telemetry.errors import ConfigError, Problem, StoreBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud_ingest.addresses import StoreAddress
    from cloud_ingest.series import Row

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FLAG: Final = re.compile(r'^flag\{name="([^"]*)", ?value="([^"]*)"', re.MULTILINE)
_VERSION: Final = re.compile(r'^vm_app_version\{.*short_version="([^"]*)"', re.MULTILINE)
_NAMING: Final = {
    "influxMeasurementFieldSeparator": "_",
    "influxSkipMeasurement": "false",
    "influxSkipSingleField": "false",
}
"""Flags that name metrics, and the only values we can read back."""
_SAMPLES_A_LINE: Final = 10_000
_DAY_S: Final = 86_400
_AHEAD_S: Final = 2 * _DAY_S
"""How far in the future a sample may lie: the ingest believes a day."""
_LOOK_BACK_S: Final = (3600, _DAY_S, 30 * _DAY_S)
"""Where the newest sample is looked for: only a series not found is looked for further back, at last everywhere."""
_TOGETHER_MS: Final = 60_000
"""Newest rows that lie so close to each other are fetched in one go."""
_MENDING_S: Final = 30.0
_T = TypeVar("_T")


class _Series(msgspec.Struct, frozen=True):
    """Answer about series: their labels."""

    data: list[dict[str, str]]


class _Instant(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]
    """Seconds, and the value as text."""


class _Instants(msgspec.Struct, frozen=True):
    result: list[_Instant]


class _Vector(msgspec.Struct, frozen=True):
    """Answer to an instant query."""

    data: _Instants


class VictoriaMetricsStore:
    """One single-node server."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._http = InfluxHttp(address, login(address))
        self._chunks = msgspec.json.Decoder(Chunk)

    @property
    def name(self) -> str:
        """The URL without user and password."""
        return self._address.name

    @property
    def capabilities(self) -> Capabilities:
        """Nothing that an acknowledgement could rest upon."""
        return Capabilities(durable=False, idempotent=False, strings=False, precision="ms", can_erase=False)

    async def prepare(self) -> None:
        """Nothing: there is nothing to create."""

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Hand over `rows`, which must be free of texts. Not durable: about the last second is lost with the server."""
        refused = {index: reason for index, row in enumerate(rows) if (reason := _why_not(row)) is not None}
        if refused:
            rows = [row for index, row in enumerate(rows) if index not in refused]
        if rows:
            await self._http.write("/api/v2/write", {"precision": "ns"}, rows)
        return Outcome(refused=refused)

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time; a truth value is 1.0 or 0.0. A new series may be missing for seconds."""
        if not all(_LABEL.fullmatch(tag) for tag, _ in selection.where):
            return []
        wanted = selector(selection.measurement, selection.fields, selection.where)
        since_ms = 0 if selection.since_ns is None else selection.since_ns // MS
        until_ms = (time.time_ns() + _AHEAD_S * 10**9 if selection.until_ns is None else selection.until_ns - 1) // MS
        collector: Rows | Means = Rows(selection.measurement)
        if selection.every_ns is not None:
            collector = Means(selection.measurement, selection.every_ns)
        await self._export(wanted, max(since_ms, 0), until_ms, collector.add)
        return collector.records()

    async def latest(self, measurement: str, *, since_ns: int | None = None) -> list[Record]:
        """Return the newest row of each series that has one since then."""
        newest = await self._newest(measurement, 0 if since_ns is None else max(since_ns, 0) // MS)
        records: list[Record] = []
        times = sorted(set(newest.values()))
        while times:
            together = [at for at in times if at <= times[0] + _TOGETHER_MS]
            times = times[len(together) :]
            rows = Rows(measurement)
            await self._export(selector(measurement), together[0], together[-1], rows.add)
            records += rows.records(newest)
        return records

    async def delete_subject(self, subject: str) -> int:
        """Take a handle's series out of all answers; it may stay on the server's disk. Returns how many there were."""
        wanted = f"{{subject={quoted(subject)}}}"
        # What was written in the last second is in no index yet, and a deletion would pass it by.
        await self._done("/internal/force_flush", {})
        count = len(await self._series(wanted))
        await self._done("/api/v1/admin/tsdb/delete_series", {"match[]": wanted})
        await self._done("/internal/force_flush", {})
        left = len(await self._series(wanted))
        if left:
            raise StoreBusy(f"{self.name} still has {left} series of the subject", retry_after_s=5.0)
        return count

    async def set_retention(self, seconds: int | None) -> None:
        """Raise ConfigError: how long it keeps rows is said when the server is started."""
        mend = f"start it with -retentionPeriod={'100y' if seconds is None else f'{max(seconds // _DAY_S, 1)}d'}"
        raise ConfigError([Problem(where=f"retention of {self.name}", what="cannot be set from outside", mend=mend)])

    async def health(self) -> str:
        """Return version and retention, as far as it tells. Raises ConfigError if it names metrics another way."""
        answer = await self._http.request("GET", "/health", deadline_s=5.0)
        if answer.status != HTTPStatus.OK or answer.body.strip() != b"OK":
            message = f"{self.name} does not answer as a VictoriaMetrics: HTTP {answer.status}"
            raise StoreBusy(message, retry_after_s=5.0)
        # Its health is told to anybody, this only to those with the password.
        login_tried = await self._http.request("GET", "/api/v1/status/buildinfo", deadline_s=5.0)
        if login_tried.status != HTTPStatus.OK:
            raise self._http.error_of(login_tried)
        told = await self._http.request("GET", "/metrics", deadline_s=5.0)
        # They may be locked by a key of their own; that does not concern us.
        text = told.body.decode(errors="replace") if told.status == HTTPStatus.OK else ""
        flags = dict(_FLAG.findall(text))
        wrong = [name for name, value in _NAMING.items() if flags.get(name, value) != value]
        if wrong:
            what, mend = f"names metrics as -{wrong[0]} says", f"start it without -{', -'.join(wrong)}"
            raise ConfigError([Problem(where=self.name, what=what, mend=mend)])
        version = _VERSION.search(text)
        period = flags.get("retentionPeriod", "")
        keeps = f", keeps {period}{' months' if period.isdecimal() else ''}" if period else ""
        return f"VictoriaMetrics {version[1] if version else ''}".rstrip() + keeps

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _newest(self, measurement: str, since_ms: int) -> dict[Tags, int]:
        """Return the time of each series' newest row, in ms."""
        missing = await self._series(selector(measurement), since_ms // 1000)
        now_s = int(time.time())
        # A window that begins (but for what it reads beyond) before 1970 is answered with nothing.
        longest_s = min(now_s - since_ms // 1000 + 1, now_s - _DAY_S)
        newest: dict[Tags, int] = {}
        for look_back_s in (*(span for span in _LOOK_BACK_S if span < longest_s), longest_s):
            if not missing:
                break
            devices = one_of("device", (dict(tags).get("device", "") for tags in missing))
            wanted = f"{selector(measurement)[:-1]},{devices}}}"
            query = f"tlast_over_time({wanted}[{_AHEAD_S + look_back_s}s]) keep_metric_names"
            params = {"query": query, "time": str(now_s + _AHEAD_S), "nocache": "1"}
            for found in (await self._ask("/api/v1/query", params, _Vector)).data.result:
                tags, at_ms = tags_of(found.metric), round(float(found.value[1]) * 1000)
                newest[tags] = max(newest.get(tags, at_ms), at_ms)
            missing -= newest.keys()
        return {tags: at_ms for tags, at_ms in newest.items() if at_ms >= since_ms}

    async def _series(self, wanted: str, since_s: int = 1) -> set[Tags]:
        """Return the tags of the series that are known to have samples since then, to the day."""
        params = {"match[]": wanted, "start": str(max(since_s, 1)), "end": str(int(time.time()) + _AHEAD_S)}
        return {tags_of(metric) for metric in (await self._ask("/api/v1/series", params, _Series)).data}

    async def _export(self, wanted: str, since_ms: int, until_ms: int, add: Callable[[Chunk], None]) -> None:
        params = {
            "match[]": wanted,
            "start": f"{since_ms / 1000:.3f}",
            "end": f"{until_ms / 1000:.3f}",
            "max_rows_per_line": str(_SAMPLES_A_LINE),
        }
        if until_ms < since_ms:
            return

        def take(line: bytes) -> None:
            try:
                add(self._chunks.decode(line))
            except (msgspec.DecodeError, KeyError, ValueError) as error:
                raise StoreBusy(f"{self.name} answers no export", retry_after_s=_MENDING_S) from error

        await self._http.read_lines("/api/v1/export", params, take)

    async def _ask(self, path: str, params: dict[str, str], form: type[_T]) -> _T:
        answer = await self._http.request("GET", path, params=params, deadline_s=QUERY_S)
        if answer.status != HTTPStatus.OK:
            raise self._http.error_of(answer)
        try:
            return msgspec.json.decode(answer.body, type=form)
        except msgspec.DecodeError as error:
            raise StoreBusy(f"{self.name} answers no query result", retry_after_s=_MENDING_S) from error

    async def _done(self, path: str, params: dict[str, str]) -> None:
        answer = await self._http.request("POST", path, params=params, deadline_s=QUERY_S)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            raise self._http.error_of(answer)


def _why_not(row: Row) -> str | None:
    if row.time_ns <= 0:
        return "VictoriaMetrics would put the time of arrival in place of this time"
    if any(isinstance(value, str) for value in row.fields.values()):
        return "VictoriaMetrics would store 0 in place of a text"
    return None
