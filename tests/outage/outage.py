"""One outage from beginning to end: healthy, out, days in minutes, back, drained, compared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.outage.observer import Observer
from tests.outage.processes import SITE, Gateway, Plan, Watched
from tests.outage.stored import Held, in_influxdb, in_sqlite
from tests.outage.truth import expected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers import Server

MB = 1_000_000
_PAUSE_NS = 1_500_000_000
"""So long a gateway may still keep to the pause that it was told, once it hears that something is stored."""
_OWN = 30
"""Values of the gateway itself that are always on their way; fewer than its devices say at once."""


class Store(Protocol):
    """Where the values end, and how it goes away."""

    url: str

    def out(self) -> None:
        """Let it answer nobody."""
        ...

    def back(self) -> None:
        """Let it go on."""
        ...

    def held(self, from_ns: int) -> Held:
        """What it holds from then on, which is all."""
        ...


class Sqlite:
    """A file; somebody else's transaction keeps it locked."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path
        self._locking: sqlite3.Connection | None = None

    def out(self) -> None:
        self._locking = sqlite3.connect(self._path, isolation_level=None, timeout=10, check_same_thread=False)
        self._locking.execute("BEGIN IMMEDIATE")

    def back(self) -> None:
        assert self._locking is not None
        self._locking.execute("ROLLBACK")
        self._locking.close()

    def held(self, from_ns: int) -> Held:  # noqa: ARG002 - it takes no longer to count all
        return in_sqlite(self._path)

    def values(self) -> int:
        """All values of all kinds in it."""
        with contextlib.closing(sqlite3.connect(self._path)) as db:
            return int(db.execute("SELECT count(*) FROM value").fetchone()[0])


class Influxdb:
    """A server; stopped in the midst of its work, it takes connections and answers nobody."""

    def __init__(self, server: Server) -> None:
        self.url = f"influx1://{server.authority}/outage"
        self._server = server

    def out(self) -> None:
        assert self._server.process is not None
        self._server.process.send_signal(signal.SIGSTOP)

    def back(self) -> None:
        assert self._server.process is not None
        self._server.process.send_signal(signal.SIGCONT)

    def held(self, from_ns: int) -> Held:
        return in_influxdb(self._server.authority, "outage", from_ns=from_ns, to_ns=time.time_ns())


class Outage:
    """The processes, and what was seen of them."""

    def __init__(self, folder: Path, plan: Plan, broker: Server, store: Store) -> None:
        self.plan = plan
        self.broker = broker
        self.store = store
        self.gateways = [Gateway.make(folder / f"gw-{n:02d}", n, plan, broker.authority) for n in range(plan.gateways)]
        (folder / "ingest").mkdir()
        command = [str(Path(sys.executable).with_name("cloud-ingest")), "run", "--mqtt", f"mqtt://{broker.authority}"]
        command += ["--store", store.url, "--data", str(folder / "ingest" / "data")]
        self.ingest = Watched("ingest", command, folder / "ingest")
        self.observer = Observer(broker)
        self.drain_s = 0.0
        self.made_s = 0.0
        self._back_at = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start all, and end all. What was noticed meanwhile, such as a process that ended, is raised at the end."""
        observing = asyncio.create_task(self.observer.run(), name="observer")
        watching = asyncio.create_task(self._watch(), name="watch")
        try:
            self.ingest.start()
            for gateway in self.gateways:
                gateway.start()
            yield
            self._look()
        finally:
            for task in (observing, watching):
                task.cancel()
            ended = await asyncio.gather(observing, watching, return_exceptions=True)
            for one in (*self.gateways, self.ingest):
                await asyncio.to_thread(one.stop)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._look()

    def _look(self) -> None:
        for one in (*self.gateways, self.ingest):
            one.look()

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait for something; show where it stands when it does not come."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"{one.name}: {one.log}" for one in (self.ingest, *self.gateways[:3]))
            raise AssertionError(f"not within {within_s} s; {self.observer.health}\n{logs}") from None

    def _all(self, test: Callable[[str], bool]) -> bool:
        return all(test(gateway.name) for gateway in self.gateways)

    def waits(self, name: str) -> int:
        """How many values a gateway says that it keeps; many while it says nothing."""
        return int(self.observer.health.get(name, {}).get("buffer", {}).get("values", 10**9))

    async def healthy(self) -> None:
        """Wait until everything of everybody is stored at once; what the processes take then is what they need."""
        await self.until(lambda: self._all(lambda name: name in self.observer.first_stored_at_ns), 60)
        await asyncio.sleep(2.0)
        for one in (*self.gateways, self.ingest):
            one.rest()

    async def out(self, *, broker: bool) -> None:
        """Take the broker away, or the database."""
        if broker:
            self.broker.kill()
        else:
            await asyncio.to_thread(self.store.out)

    async def hours_pass(self) -> None:
        """Let the gateways' clocks run through the outage."""
        began = time.monotonic()
        for gateway in self.gateways:
            gateway.tell("fast")
        await self.until(lambda: all(one.phases(2) is not None for one in self.gateways), 600)
        self.made_s = time.monotonic() - began

    async def back(self, *, broker: bool) -> None:
        """Bring it back, and wait until each gateway has heard of something stored."""
        self.observer.forget()
        self._back_at = time.monotonic()
        if broker:
            await asyncio.to_thread(self.broker.start)
        else:
            self.store.back()
        await self.until(lambda: self._all(lambda name: name in self.observer.first_stored_at_ns), 120)

    async def drained(self) -> None:
        """Wait until no more waits than is on its way anyway."""
        recent = 20 * 7 * self.plan.devices
        await self.until(lambda: self._all(lambda name: self.waits(name) < recent), 600)
        self.drain_s = time.monotonic() - self._back_at
        await asyncio.sleep(1.0)

    async def quiet(self) -> None:
        """Let the devices fall silent, and wait until the buffers are empty: of its own each gateway has little."""
        for gateway in self.gateways:
            gateway.tell("quiet")
        await self.until(lambda: all(one.phases(3) is not None for one in self.gateways), 20)
        await asyncio.sleep(1.0)  # what is told now was reckoned after the last word
        self.observer.health.clear()
        await self.until(lambda: self._all(lambda name: self.waits(name) < _OWN), 120)

    def wrong(self) -> dict[str, tuple[object, object]]:
        """Where the store and the arithmetic differ: device, point and hour → (count, sum) here and there."""
        wrong: dict[str, tuple[object, object]] = {}
        said = [(gateway.devices, gateway.phases(3) or []) for gateway in self.gateways]
        count, total = self.store.held(min(phases[0].first_at_ns for _, phases in said))
        seen = 0
        for devices, phases in said:
            expected_count, expected_total = expected(devices, phases)
            seen += sum(expected_count.values())
            for key, number in expected_count.items():
                if (count[key], total.get(key)) != (number, expected_total[key]):
                    wrong[str(key)] = ((number, expected_total[key]), (count[key], total.get(key)))
        if sum(count.values()) != seen:
            wrong["in all"] = (seen, sum(count.values()))
        return wrong

    def late(self) -> tuple[float, int, list[str]]:
        """The longest that a live sample took during the drain and after it, how many there were, and those unseen."""
        longest, number, unseen = 0.0, 0, []
        for gateway in self.gateways:
            phases = gateway.phases(3)
            assert phases is not None
            live = phases[-1]
            from_ns = max(self.observer.first_stored_at_ns[gateway.name], self.observer.connected_at_ns) + _PAUSE_NS
            for tick in range(live.first_tick, live.first_tick + live.ticks):
                at_ns = live.at_ns(tick)
                if at_ns <= from_ns:
                    continue
                for device in gateway.devices:
                    took_s = self.observer.took_s.get((device, at_ns))
                    if took_s is None:
                        unseen.append(f"{device}: {(at_ns - from_ns) / 1e9:.3f} s after it might go on")
                    else:
                        longest, number = max(longest, took_s), number + 1
        return longest, number, unseen

    def counted(self, name: str) -> int:
        """The sum of the counters so called (or that begin so) over all gateways."""
        return sum(
            amount
            for health in self.observer.health.values()
            for counter, amount in health["counters"].items()
            if counter.startswith(name)
        )

    @property
    def written_values(self) -> int:
        """How many values the ingest wrote, in all its life."""
        counters = json.loads((self.ingest.folder / "data" / "counters.json").read_bytes())["counters"]
        return int(counters["writer.stored_values"])

    def report(self) -> str:
        """What was measured, in one line."""
        longest, number, unseen = self.late()
        agents = max(gateway.grown for gateway in self.gateways) / MB
        fill = max(gateway.disk_peak / gateway.max_bytes for gateway in self.gateways)
        return (
            f"{self.plan.values} values of {self.plan.hours:g} h said in {self.made_s:.0f} s, drained in "
            f"{self.drain_s:.0f} s; agents grew by {agents:.1f} MB at most, ingest by {self.ingest.grown / MB:.1f} MB; "
            f"buffers {fill:.0%} full; {number} live samples took {longest:.2f} s at most, {len(unseen)} unseen; "
            f"sent again {self.counted('publisher.resent_batches')}, pauses {self.counted('publisher.pauses')}"
        )


__all__ = ["MB", "SITE", "Influxdb", "Outage", "Plan", "Sqlite"]
