"""The end of a demo: devices stop first, everything said arrives, the rest stops, then truth and store are compared."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from simulators.demo.compare import MEASUREMENTS, Comparison, QueryFailed, compare, queries
from simulators.demo.identities import identities
from simulators.demo.leaks import Leak, Scanner
from simulators.demo.options import redacted
from simulators.demo.report import ProcessReport, Report, judge, withheld, withheld_by_agent
from simulators.demo.search import search
from simulators.demo.verdict import Family

if TYPE_CHECKING:
    from simulators.demo.stage import Stage

DRAIN_S: Final = 15.0
DRAIN_AFTER_OUTAGE_S: Final = 45.0
"""How long what was said may take to be stored after the devices have stopped."""
_LOOK_S: Final = 0.5
_CHEAP_LOOKS: Final = 4
"""Every so many looks the store is compared, though batches seem to be under way: the listener may have missed some."""
_SETTLED: Final = 2
"""Looks without a change, with nothing of before left in the buffer, after which waiting longer is of no use."""
_LAST_HEALTH_S: Final = 1.5


class Finale:
    """Plays the end of `demo`, once."""

    def __init__(self, demo: Stage) -> None:
        self._demo = demo
        self._reasons: list[str] = []

    async def play(self) -> Report:
        """Return the report."""
        demo = self._demo
        seconds = time.monotonic() - demo.began
        harmed = bool(demo.downs) or demo.proxy is not None or demo.ingest_proxy is not None
        devices = [name for name in demo.processes if name.startswith("device:")]
        await asyncio.gather(*(demo.stop(name) for name in devices))
        await self._drain(DRAIN_AFTER_OUTAGE_S if harmed else DRAIN_S)
        for name in ("agent", "ingest"):
            if demo.processes[name].running:
                asked_ns = time.time_ns()
                await demo.stop(name)
                if name == "agent":
                    await self._last_health(asked_ns)
        comparison = await self._compare() or Comparison(families={name: Family() for name in demo.scene.families})
        report = self._report(comparison, seconds)
        began = time.monotonic()
        leaks = await self._leaks(report)
        report.leak_scan_s = round(time.monotonic() - began, 2)
        if "broker" in demo.processes and demo.processes["broker"].running:
            await demo.stop("broker")
        judge(report, comparison, leaks, unobserved_share=self._unobserved_share(seconds))
        report.reasons += self._reasons + demo.failures
        report.verdict = "red" if report.reasons else "green"
        return report

    async def _drain(self, within_s: float) -> None:
        """Wait until everything said is stored, or nothing moves any more, or the time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        stopped_ns = time.time_ns()
        last, settled, waited = -1, 0, 0
        while loop.time() < end:
            await asyncio.sleep(_LOOK_S)
            waited += 1
            if self._demo.tap.under_way and waited % _CHEAP_LOOKS:
                continue
            comparison = await self._compare(final=False)
            if comparison is not None and not comparison.broken:
                return
            broken = comparison.broken if comparison is not None else -1
            settled = settled + 1 if broken == last and self._left(stopped_ns) else 0
            if settled >= _SETTLED:
                return
            last = broken

    def _left(self, stopped_ns: int) -> bool:
        """Whether everything from before `stopped_ns` has left the gateway; failed readings come for ever."""
        health = self._demo.tap.health
        buffer = health.get("buffer")
        if not buffer or health["at_ns"] < stopped_ns:
            return False
        oldest_s = buffer["oldest_age_s"]
        return oldest_s is None or health["at_ns"] - oldest_s * 1e9 > stopped_ns

    async def _last_health(self, since_ns: int) -> None:
        """Wait for the health that the agent publishes when it stops, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_HEALTH_S):
                await self._demo.tap.health_since(since_ns)

    async def _compare(self, *, final: bool = True) -> Comparison | None:
        demo = self._demo
        options = demo.options
        try:
            return await compare(
                demo.said,
                options.data / "agent",
                demo.scene,
                demo.site,
                store=options.store_url,
                conditions=demo.conditions(),
                vitals=options.vitals,
                env=demo.env,
            )
        except QueryFailed as error:
            if final:
                self._reasons.append(f"the store cannot be read: {error}")
            return None

    def _report(self, comparison: Comparison, seconds: float) -> Report:
        demo = self._demo
        options = demo.options
        firsts = {
            name: round(at - demo.began, 2)
            for name, at in sorted(demo.tap.first_stored.items(), key=lambda item: item[1])
        }
        for process in demo.processes.values():
            process.measure()
        return Report(
            families={name: family.counts() for name, family in comparison.families.items()},
            withheld=withheld(comparison, lambda family: family.withheld),
            withheld_by_agent=self._withheld_by_agent(),
            first_stored_s=min(firsts.values(), default=None),
            first_stored_by_family_s={name: firsts.get(name) for name in comparison.families},
            seconds=round(seconds, 1),
            processes={
                name: ProcessReport(rss_mb=round(usage.peak_rss_mb, 1), cpu_s=round(usage.cpu_s, 2))
                for process in demo.processes.values()
                for name, usage in ((process.name, process.usage), (f"{process.name}'s helpers", process.helpers))
                if usage.peak_rss_mb
            },
            outages=[f"{down.name} {down.how}" for down in demo.downs if down.until_ns],
            store=redacted(options.store_url),
            mqtt=options.mqtt or "embedded",
            site=demo.site.name,
            seed=options.seed,
            sabotaged_batches=demo.saboteur.harmed if demo.saboteur is not None else None,
        )

    def _withheld_by_agent(self) -> dict[str, int] | None:
        """Return the agent's own counters; none if it was restarted (from zero then) or frozen (it may hear late)."""
        demo = self._demo
        if any(down.name == "agent" and down.until_ns for down in demo.downs):
            return None
        return withheld_by_agent(demo.tap.health.get("counters", {}))

    def _unobserved_share(self, seconds: float) -> float:
        """So much may be unheard: the allowance, and the share of time in which the agent was away."""
        away_ns = sum(outage.until_ns - outage.from_ns for outage in self._demo.conditions().outages)
        return self._demo.options.unobserved_share + away_ns / 1e9 / max(seconds, 1.0)

    async def _leaks(self, report: Report) -> list[Leak]:
        demo = self._demo
        texts: dict[str, object] = {"the report": report.document(), "the last health document": demo.tap.health}
        # An SQLite store of our own is a file among the others; any other store is asked for all it has of this site.
        measurements = MEASUREMENTS if demo.options.store else ()
        try:
            answers = await queries(demo.options.store_url, measurements, demo.site.name, env=demo.env)
            texts |= {f"rows of {name}": rows for name, rows in zip(measurements, answers, strict=True)}
        except QueryFailed as error:
            self._reasons.append(f"the store cannot be searched for leaks: {error}")
        demo.tap.flush()
        scanner = Scanner(identities(demo.scene))
        return search(scanner, demo.options.data, elsewhere=demo.options.store_files, texts=texts)
