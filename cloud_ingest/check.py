"""`cloud-ingest check`: tries broker, stores and own files, and names every problem at once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import aiomqtt
import msgspec

from cloud_ingest.broker import V5, VERSIONS, HungUp, VersionRefused, connect, subscribe
from cloud_ingest.clikit import FAILED, UNAVAILABLE
from cloud_ingest.deadletter import FILE_NAME, DeadLetters
from cloud_ingest.service import COUNTERS_NAME
from cloud_ingest.stores.base import refusal
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import AuthError, CampusError, ConfigError
from telemetry.sample import DataClass
from telemetry.topics import all_telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloud_ingest.settings import Settings
    from cloud_ingest.stores.base import Store

_STORE_S: Final = 15.0
_DROPS: Final = re.compile(
    r"[._](dropped|shed|refused|conflicts|poison|unsent|unfinished|failed|unrouted|shared|lost"
    r"|too_many|unwritten|rewritten|shortened)(?![a-z])"
)
State = Literal["ok", "warning", "failed", "unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried."""

    what: str
    state: State
    detail: str


async def run_checks(settings: Settings | None, data: Path) -> list[Finding]:
    """Return what was found about broker, stores, dead letters and counters; without settings the files alone."""
    findings: list[Finding] = []
    if settings is not None:
        tried = await asyncio.gather(
            _broker(settings),
            *(_store(url, classes, settings) for url, classes in _by_url(settings).items()),
            *(_try_store("mirror", open_store(url)) for url in settings.store.mirrors),
        )
        findings += [finding for found in tried for finding in found]
    return findings + await asyncio.to_thread(_files, data)


def _by_url(settings: Settings) -> dict[str, list[DataClass]]:
    urls: dict[str, list[DataClass]] = {}
    for data_class in DataClass:
        urls.setdefault(settings.store.url_of(data_class), []).append(data_class)
    return urls


async def _broker(settings: Settings) -> list[Finding]:
    return [await _try_broker(settings)]


async def _try_broker(settings: Settings) -> Finding:
    what = f"broker {settings.mqtt.url}"
    # The running ingest's own name must not be taken over: the broker would throw it out.
    mqtt = settings.mqtt.model_copy(update={"client_id": f"{settings.mqtt.client_id[:56]}-check"})
    problem = ""
    for protocol in VERSIONS[mqtt.protocol]:
        try:
            client = await connect(mqtt, protocol, Counters())
        except AuthError as error:
            return Finding(what=what, state="failed", detail=f"{error}: correct username, password_file or cert_file")
        except (VersionRefused, HungUp) as error:
            problem = f"does not speak MQTT {mqtt.protocol} ({error}): set mqtt.protocol = auto"
            continue
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            return Finding(what=what, state="unavailable", detail=f"{error}: is it running, and is the URL right?")
        try:
            await subscribe(client, all_telemetry(mqtt.share_group or None), 0)
        except (AuthError, aiomqtt.MqttError) as error:
            return Finding(what=what, state="failed", detail=str(error))
        finally:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)
        return Finding(what=what, state="ok", detail=f"MQTT {'5' if protocol is V5 else '3.1.1'}, may subscribe")
    return Finding(what=what, state="failed", detail=problem)


async def _store(url: str, classes: Sequence[DataClass], settings: Settings) -> list[Finding]:
    store = open_store(url)
    findings = await _try_store("store", store)
    for data_class in classes:
        reason = store.capabilities.why_not(data_class)
        if reason is not None:
            # As at start: what was routed on purpose, and a store that cannot even keep open data, are errors.
            fatal = data_class in settings.store.routes or data_class is DataClass.OPEN
            problem = refusal(store, data_class, reason)
            state: State = "failed" if fatal else "warning"
            findings.append(Finding(what=problem.where, state=state, detail=f"{problem.what}; {problem.mend}"))
    return findings


async def _try_store(role: str, store: Store) -> list[Finding]:
    what = f"{role} {store.name}"
    try:
        async with asyncio.timeout(_STORE_S):
            await store.prepare()
            version = await store.health()
    except TimeoutError:
        return [Finding(what=what, state="unavailable", detail=f"no answer within {_STORE_S:g} s")]
    except AuthError as error:
        return [Finding(what=what, state="failed", detail=f"{error}: correct user, password or token")]
    except ConfigError as error:
        return [Finding(what=what, state="failed", detail=str(error))]
    except CampusError as error:
        return [Finding(what=what, state="unavailable", detail=str(error))]
    finally:
        await store.close()
    return [Finding(what=what, state="ok", detail=version)]


def _files(data: Path) -> list[Finding]:
    findings: list[Finding] = []
    if (data / FILE_NAME).is_file():
        findings.append(_dead_letters(data / FILE_NAME))
    try:
        counters = msgspec.json.decode((data / COUNTERS_NAME).read_bytes())["counters"]
    except FileNotFoundError:
        detail = f"{data} holds none: the ingest has not run with it"
        return [*findings, Finding(what="counters", state="warning", detail=detail)]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        return [*findings, Finding(what="counters", state="failed", detail=f"cannot be read: {error}")]
    for name, value in counters.items():
        bad = value and _DROPS.search(name)
        findings.append(Finding(what=f"counter {name}", state="warning" if bad else "ok", detail=str(value)))
    return findings


def _dead_letters(path: Path) -> Finding:
    what = "dead letters"
    try:
        dead = DeadLetters(path, max_bytes=sys.maxsize, counters=Counters())
        try:
            count, size = len(dead.entries()), dead.total_bytes()
        finally:
            dead.close()
    except (OSError, sqlite3.Error) as error:
        return Finding(
            what=what, state="failed", detail=f"{path} cannot be read: {error}: allow it, or restore the file"
        )
    detail = f"{count} letters, {size} bytes" + ("; see `cloud-ingest deadletter list`" if count else "")
    return Finding(what=what, state="warning" if count else "ok", detail=detail)


def show(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print the findings; return the exit code: 0, 1 if one failed, 69 if something does not answer."""
    if as_json:
        document = [asdict(finding) for finding in findings]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.state:>11}  {finding.what}: {finding.detail}\n")
    states = {finding.state for finding in findings}
    if "failed" in states:
        return FAILED
    return UNAVAILABLE if "unavailable" in states else 0
