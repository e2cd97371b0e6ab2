"""A strict imitation of the documented InfluxDB 2 API, as far as the ingest uses it; keeps points in memory.

Anything the documentation does not allow is noted in `violations`, which every test asserts to be empty.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

ORG, BUCKET, TOKEN = "school", "campus", "s3cret-token"
_LINE = re.compile(r"^((?:\\.|[^ \\])+) (.+) (\d+)$", re.DOTALL)
_SELECT = re.compile(
    r'^SELECT (.+) FROM "([^"]+)"(?: WHERE (.+?))? GROUP BY (time\((\d+)ns\), )?\*(?: fill\(none\))?(.*)$'
)


@dataclass
class Influx2:
    version: str | None = "v2.7.1"
    delete_works: bool = True
    rights: frozenset[str] = frozenset({"write", "read", "create"})
    """What the token may do to the bucket; without `read` it cannot even see it."""
    exists: bool = True
    org_by_id: bool = False
    cut: bool = False
    """Marks answers as partial, as a server with a max-row-limit does."""
    shadowed: bool = False
    """Another bucket was mapped under the name of ours."""
    old_lists: bool = False
    """Lists system buckets beside what was asked for, as some 2.0 did, and has no mappings by name."""
    down: bool = False
    """Answers 503 to everything, as while it starts."""
    slow_s: float = 0.0
    """How long it thinks before each write."""
    hanging: bool = False
    """Takes requests to write and answers nothing."""
    first_times: list[int] = field(default_factory=list)
    """The time of the first point of each body it wrote, in the order of arrival."""
    points: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    mappings: list[dict[str, Any]] = field(default_factory=list)
    retention_s: int = 0
    answers: list[web.Response] = field(default_factory=list)
    """Responses to give to the next writes instead of taking them."""
    largest_body: int = 10_000_000
    violations: list[str] = field(default_factory=list)
    writes: int = 0
    encodings: set[str] = field(default_factory=set)
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=50_000_000)
        app.add_routes(
            [
                web.get("/ping", self.ping),
                web.get("/health", self.health),
                web.post("/api/v2/write", self.write),
                web.post("/api/v2/delete", self.delete),
                web.get("/api/v2/buckets", self.buckets),
                web.post("/api/v2/buckets", self.create_bucket),
                web.get("/api/v2/orgs", self.orgs),
                web.patch("/api/v2/buckets/{id}", self.patch_bucket),
                web.get("/api/v2/dbrps", self.list_mappings),
                web.post("/api/v2/dbrps", self.add_mapping),
                web.get("/query", self.query),
            ]
        )
        return app

    def _need(self, request: web.Request, **wanted: str | None) -> web.Response | None:
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return fail(401, "unauthorized", "unauthorized access")
        unknown = set(request.query) - set(wanted)
        if unknown:
            self.violations.append(f"{request.path}: undocumented parameters {unknown}")
        for name, value in wanted.items():
            if value is not None and request.query.get(name) != value:
                self.violations.append(f"{request.path}: {name}={request.query.get(name)!r}, wanted {value!r}")
        return None

    async def ping(self, _request: web.Request) -> web.Response:
        if self.down:
            return fail(503, "unavailable", "starting")
        headers = {} if self.version is None else {"X-Influxdb-Version": self.version, "X-Influxdb-Build": "OSS"}
        return web.Response(status=204, headers=headers)

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": "influxdb", "status": "pass", "version": self.version})

    async def write(self, request: web.Request) -> web.Response:
        self.writes += 1
        if self.down:
            await request.read()
            return fail(503, "unavailable", "starting", **{"Retry-After": "0.5"})
        while self.hanging:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(self.slow_s)
        org = "0" * 16 if self.org_by_id else ORG
        return self._need(request, org=org, bucket=None, precision="ns") or await self._write(request)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """What is looked at before the points, in the server's order."""
        if request.query.get("bucket") != BUCKET or not self.exists:
            return fail(404, "not found", f'bucket "{request.query.get("bucket")}" not found')
        if "write" not in self.rights:
            return fail(403, "forbidden", "insufficient permissions for write")
        if request.content_length == 0:
            return fail(400, "invalid", "writing requires points")
        if not request.headers.get("Content-Type", "").startswith("text/plain"):
            self.violations.append("write: body is not text/plain")
        return self.answers.pop(0) if self.answers else None

    async def _write(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        self.encodings.add(request.headers.get("Content-Encoding", "identity"))
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        if len(body) > self.largest_body:
            return fail(413, "request too large", "unable to read data: points batch is too large")
        points = [self._parse(line) for line in body.decode().split("\n")]
        self.first_times.append(points[0][1])
        bad = [index for index, (_, _, fields) in enumerate(points) if not self._types_fit(fields)]
        old_v3 = (self.version or "").startswith(("3", "v3"))
        if bad and not old_v3:
            message = f"partial write: field type conflict dropped={len(bad)}"
            self._keep([point for index, point in enumerate(points) if index not in bad])
            return fail(422, "unprocessable entity", message)
        self._keep([point for index, point in enumerate(points) if index not in bad])
        return fail(400, "invalid", "partial write of line protocol occurred") if bad else web.Response(status=204)

    def _parse(self, line: str) -> tuple[str, int, dict[str, Any]]:
        found = _LINE.match(line)
        if not found:
            self.violations.append(f"write: not line protocol: {line[:80]!r}")
            return "", 0, {}
        fields = {}
        for part in re.findall(r'((?:\\.|[^=,\\])+)=("(?:\\.|[^"\\])*"|[^,]+)', found[2]):
            text = part[1]
            if text.startswith('"'):
                value: Any = re.sub(r"\\(.)", r"\1", text[1:-1])
            else:
                value = {"true": True, "false": False}.get(text)
                value = float(text) if value is None else value
            fields[part[0]] = value
        return found[1], int(found[3]), fields

    def _types_fit(self, fields: dict[str, Any]) -> bool:
        return all(self.types.get(name, type(value).__name__) == type(value).__name__ for name, value in fields.items())

    def _keep(self, points: list[tuple[str, int, dict[str, Any]]]) -> None:
        for key, at, fields in points:
            self.types.update({name: type(value).__name__ for name, value in fields.items()})
            self.points.setdefault((key, at), {}).update(fields)

    async def delete(self, request: web.Request) -> web.Response:
        refusal = self._need(request, org=ORG, bucket=BUCKET)
        if refusal is not None:
            return refusal
        asked = msgspec.json.decode(await request.read())
        if set(asked) != {"start", "stop", "predicate"}:
            self.violations.append(f"delete: {asked}")
        found = re.fullmatch(r'(\w+)="(\w+)"', asked["predicate"])
        if not found:
            return fail(400, "invalid", "bad predicate")
        if self.delete_works:
            tag = f",{found[1]}={found[2]}"
            self.points = {key: value for key, value in self.points.items() if tag not in key[0]}
        return web.Response(status=204)

    def _bucket(self) -> dict[str, Any]:
        rules = [{"type": "expire", "everySeconds": self.retention_s}]
        return {"id": "b" * 16, "orgID": "0" * 16, "name": BUCKET, "retentionRules": rules}

    async def buckets(self, request: web.Request) -> web.Response:
        refusal = self._need(request, name=None, **self._org_asked(request))
        if refusal is not None:
            return refusal
        found = [self._bucket()] if request.query["name"] == BUCKET and self.exists else []
        if not found and not self.old_lists:
            return fail(404, "not found", f'bucket "{request.query["name"]}" not found')
        if "read" not in self.rights:
            found = []  # what a token may not see is left out, without an error
        system = [{**self._bucket(), "id": "a" * 16, "name": "_tasks"}] if self.old_lists else []
        return web.json_response({"buckets": found + system})

    @staticmethod
    def _org_asked(request: web.Request) -> dict[str, str]:
        return {"orgID": "0" * 16} if "orgID" in request.query else {"org": ORG}

    async def orgs(self, request: web.Request) -> web.Response:
        return self._need(request, **self._org_asked(request)) or web.json_response(
            {"orgs": [{"id": "0" * 16, "name": ORG}]}
        )

    async def create_bucket(self, request: web.Request) -> web.Response:
        refusal = self._need(request)
        if refusal is not None:
            return refusal
        asked = msgspec.json.decode(await request.read())
        if "create" not in self.rights:
            return fail(401, "unauthorized", f"write:orgs/{'0' * 16}/buckets is unauthorized")
        if asked["name"] == BUCKET and self.exists:
            return fail(422, "unprocessable entity", f"bucket with name {BUCKET} already exists")
        if asked["name"] != BUCKET or asked["orgID"] != "0" * 16:
            self.violations.append(f"bucket created: {asked}")
        self.exists = True
        return web.json_response(self._bucket(), status=201)

    async def patch_bucket(self, request: web.Request) -> web.Response:
        refusal = self._need(request)
        if refusal is not None:
            return refusal
        (rule,) = msgspec.json.decode(await request.read())["retentionRules"]
        if 0 < rule["everySeconds"] < 3600:
            return fail(422, "unprocessable entity", "retention policy duration must be at least 1h0m0s")
        self.retention_s = rule["everySeconds"]
        return web.json_response(self._bucket())

    def _all_mappings(self) -> list[dict[str, Any]]:
        base = {"orgID": "0" * 16, "database": BUCKET, "retention_policy": "autogen", "default": True}
        by_name = {**base, "id": "b" * 16, "bucketID": "b" * 16, "virtual": True}
        other = {**base, "id": "f" * 16, "bucketID": "c" * 16, "virtual": False}
        return [*self.mappings, *([other] if self.shadowed else []), *([] if self.old_lists else [by_name])]

    async def list_mappings(self, request: web.Request) -> web.Response:
        refusal = self._need(request, orgID="0" * 16, bucketID=None, db=None, rp=None)
        names = {"bucketID": "bucketID", "db": "database", "rp": "retention_policy"}
        asked = {names[key]: value for key, value in request.query.items() if key in names}
        found = [one for one in self._all_mappings() if all(one[key] == value for key, value in asked.items())]
        return refusal or web.json_response({"content": found})

    async def add_mapping(self, request: web.Request) -> web.Response:
        refusal = self._need(request)
        if refusal is not None:
            return refusal
        asked = msgspec.json.decode(await request.read())
        mapping = {**asked, "id": "d" * 16, "virtual": False}
        self.mappings.append(mapping)
        return web.json_response(mapping, status=201)

    async def query(self, request: web.Request) -> web.Response:
        refusal = self._need(request, q=None, epoch="ns", db=None, rp=None)
        if refusal is not None:
            return refusal
        asked_for = (request.query["db"], request.query.get("rp"))
        if (self.version or "").startswith("v2"):
            # What somebody mapped goes before what a name implies.
            all_found = sorted(self._all_mappings(), key=lambda one: one["virtual"])
            found_ids = [m["bucketID"] for m in all_found if (m["database"], m["retention_policy"]) == asked_for]
            if not found_ids or "read" not in self.rights:
                return fail(404, "not found", "no dbrp mapping found")
            if found_ids[0] != "b" * 16:
                return answer([])
        elif asked_for[0] != BUCKET:
            self.violations.append(f"query: {asked_for}")
        text = request.query["q"]
        if text in {"SHOW MEASUREMENTS", 'SHOW TAG VALUES WITH KEY = "subject"'}:
            return self._subjects() if "TAG" in text else self._measurements()
        found = _SELECT.match(text)
        if not found:
            return web.json_response({"results": [{"statement_id": 0, "error": f"cannot parse {text}"}]})
        series = self._select(found)
        return answer([{**one, "partial": True} for one in series] if self.cut else series)

    def _measurements(self) -> web.Response:
        names = sorted({key.split(",")[0] for key, _ in self.points})
        return answer([{"name": "measurements", "columns": ["name"], "values": [[n] for n in names]}] if names else [])

    def _subjects(self) -> web.Response:
        tags = {pair for key, _ in self.points for pair in key.split(",")[1:] if pair.startswith("subject=")}
        values = [["subject", pair.removeprefix("subject=")] for pair in sorted(tags)]
        return answer([{"name": "attendance", "columns": ["key", "value"], "values": values}] if values else [])

    def _select(self, asked: re.Match[str]) -> list[dict[str, Any]]:
        every, tail = int(asked[5] or 0), asked[6]
        conditions = re.findall(r"\"(\w+)\" = '([^']*)'", asked[3] or "")
        since = int((re.search(r"time >= (-?\d+)", asked[3] or "") or [0, "0"])[1])
        until = int((re.search(r"time < (-?\d+)", asked[3] or "") or [0, str(1 << 63)])[1])
        wanted = re.findall(r'(?:^|, )(?:mean\()?"(\w+)"', asked[1])
        series: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for (key, at), fields in sorted(self.points.items(), key=lambda item: item[0][1]):
            measurement, *pairs = key.split(",")
            tags = dict(pair.split("=") for pair in pairs)
            if measurement != asked[2] or not since <= at < until or any(tags.get(t, "") != v for t, v in conditions):
                continue
            kept = {n: v for n, v in fields.items() if (not wanted or n in wanted) and (not every or type(v) is float)}
            if kept:
                series.setdefault(key, []).append((at, kept))
        return [one_series(key, rows, every, tail) for key, rows in series.items()]


def one_series(key: str, rows: list[tuple[int, dict[str, Any]]], every: int, tail: str) -> dict[str, Any]:
    measurement, *pairs = key.split(",")
    if every:
        buckets: dict[int, dict[str, list[float]]] = {}
        for at, fields in rows:
            for name, value in fields.items():
                buckets.setdefault(at - at % every, {}).setdefault(name, []).append(value)
        rows = [(at, {f"mean_{n}": sum(v) / len(v) for n, v in means.items()}) for at, means in buckets.items()]
    if "DESC" in tail:
        rows = rows[::-1]
    if "LIMIT 1" in tail:
        rows = rows[:1]
    columns = sorted({name for _, fields in rows for name in fields})
    values = [[at, *(whole(fields.get(name)) for name in columns)] for at, fields in rows]
    tags = dict(pair.split("=") for pair in pairs)
    return {"name": measurement, "tags": tags, "columns": ["time", *columns], "values": values}


def whole(value: Any) -> Any:
    """Go's JSON writes a whole float without its fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def answer(series: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"results": [{"statement_id": 0, **({"series": series} if series else {})}]})


def fail(status: int, code: str, message: str, **headers: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status, headers=headers)
