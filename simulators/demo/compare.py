"""Truth against store: reads both, asks the verdict. The store is read as any user would, by `cloud-ingest query`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulators.demo import truth
from simulators.demo.programs import program
from simulators.demo.scene import ATTENDANCE, ENVIRONMENT, OCCUPANCY, VITALS
from simulators.demo.verdict import silent
from simulators.demo.verdict_attendance import judge_attendance
from simulators.demo.verdict_environment import judge_environment
from simulators.demo.verdict_occupancy import PEOPLE, judge_occupancy
from simulators.demo.verdict_vitals import judge_vitals
from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulators.demo.config import Site
    from simulators.demo.scene import Scene
    from simulators.demo.verdict import Conditions, Family, Look, Reading, Row

MEASUREMENTS: Final = ("environment", "attendance", "gateway", "energy", "occupancy", "lesson", "vitals")
"""All there are: all are searched for leaks."""
POLLED: Final = (ENVIRONMENT, OCCUPANCY)
"""Families whose devices speak when the agent asks them; all others speak by themselves, heard or not."""
_QUERY_S: Final = 30.0


class QueryFailed(CampusError):
    """The store cannot be read now; the text is what the query command said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of what was said, by family."""

    families: Mapping[str, Family]
    silent: Sequence[str] = ()
    """Devices that were not read any more before they were stopped."""

    @property
    def broken(self) -> int:
        """How much of it breaks the promise, or has not arrived yet."""
        return sum(family.broken for family in self.families.values())


async def query(store: str, measurement: str, site: str, *, env: Mapping[str, str]) -> list[Row]:
    """Return this site's rows of `measurement`. Raises QueryFailed."""
    command = [
        *program("cloud-ingest"), "query", "--store", store, "--measurement", measurement, "--last", "all",
        "--where", f"site={site}", "--format", "json",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_QUERY_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise QueryFailed(f"query of {measurement} did not end within {_QUERY_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise QueryFailed(f"query of {measurement} failed ({process.returncode}): {err.decode(errors='replace')}")
    rows: Any = json.loads(out)
    return [row for row in rows if row.get("site") == site]


async def queries(store: str, measurements: Sequence[str], site: str, *, env: Mapping[str, str]) -> list[list[Row]]:
    """Return this site's rows of each measurement, asked for at the same time. Raises QueryFailed."""
    answers = await asyncio.gather(
        *(query(store, measurement, site, env=env) for measurement in measurements), return_exceptions=True
    )
    rows: list[list[Row]] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        rows.append(answer)
    return rows


def _occupancy(said: Path, scene: Scene, looks: Sequence[Look], rows: list[Row], conditions: Conditions) -> Family:
    shown, sounds = truth.shown(said, scene)
    family = judge_occupancy(looks, shown, rows, conditions)
    if not family.broken:
        family.truths = len({look.values[PEOPLE] for look in looks if PEOPLE in look.values})
    if sounds:
        family.leaked += sounds
        family.note(f"a camera's sound was set up {sounds} times")
    return family


async def compare(
    said: Path,
    agent: Path,
    scene: Scene,
    site: Site,
    *,
    store: str,
    conditions: Conditions,
    vitals: bool,
    env: Mapping[str, str],
) -> Comparison:
    """Read journals and store, and judge. Raises QueryFailed.

    `agent`: folder of the agent's files. `vitals`: the policy has a rule for them.
    """
    names = scene.families
    rows = dict(zip(names, await queries(store, names, site.name, env=env), strict=True))
    readings, looks = truth.readings(said, scene), truth.looks(agent, scene)
    last_ns = {device: 0 for device, family in scene.kinds.items() if family in POLLED}
    heard: list[Reading | Look] = [*readings, *looks]
    for one in heard:
        last_ns[one.device] = max(last_ns[one.device], one.at_ns)
    judges: dict[str, Callable[[list[Row]], Family]] = {
        ATTENDANCE: lambda rows: judge_attendance(truth.taps(said, scene, site.card), rows, conditions),
        ENVIRONMENT: lambda rows: judge_environment(readings, rows, conditions),
        VITALS: lambda rows: judge_vitals(truth.beats(said, scene, site.band), rows, conditions, closed=not vitals),
        OCCUPANCY: lambda rows: _occupancy(said, scene, looks, rows, conditions),
    }
    families = {name: judges[name](rows[name]) for name in names}
    return Comparison(families=families, silent=silent(last_ns, conditions))
