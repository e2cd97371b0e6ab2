"""The demo itself: starts every process in order, breaks and mends them on demand, and ends with a report.

async with Demo(options) as demo:
    await demo.kill("agent")
    await demo.start_process("agent")
    report = await demo.finish()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from simulators.control import Request, ask_async
from simulators.demo import clocks, influx
from simulators.demo.config import link_settings, new_site, write_agent, write_ingest
from simulators.demo.options import WINDOW_S, broker_url
from simulators.demo.processes import Process, ProcessFailed
from simulators.demo.programs import environment, program
from simulators.demo.proxy import Proxy
from simulators.demo.sabotage import Sabotage, Saboteur
from simulators.demo.scene import make_scene
from simulators.demo.tap import Tap
from simulators.demo.troubles import DEVICE, Down, Fault, device, ends, outages, sick
from simulators.demo.verdict import Conditions
from simulators.launch import command as device_command
from simulators.ledger import write_plan
from simulators.spec import NETWORKED

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from simulators.demo.options import DemoOptions

AGENT: Final = "agent"
INGEST: Final = "ingest"
BROKER: Final = "broker"
DATABASE: Final = "database"
WORKERS: Final = "workers"
"""The cameras' worker processes, which the agent starts and starts again."""
READY_S: Final = 30.0
STOP_S: Final = 5.0
"""How long a process may take to stop on SIGTERM."""
_LONG_PATH: Final = 50
_SAMPLE_S: Final = 1.0
_TAP_S: Final = 5.0
_LOOK_S: Final = 0.05
_LOOKS: Final = 100
_WORKER: Final = b"camera_people.worker"


class Stage:
    """One run of the whole path; enter it to start, leaving it ends every process."""

    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        self.scene = make_scene(options.scenario, seed=options.seed)
        self.site = new_site(options.seed)
        self.processes: dict[str, Process] = {}
        self.downs: list[Down] = []
        self.failures: list[str] = []
        """Processes that ended by themselves, or did not stop in time."""
        self.proxy: Proxy | None = None
        self.ingest_proxy: Proxy | None = None
        self.saboteur: Saboteur | None = None
        self.began = time.monotonic()
        self.env = environment()
        self.clocks: clocks.Clocks | None = None
        self.wrong_clock: list[tuple[int, int]] = []
        """From when until when the agent's clock was wrong, with the time that it needs to see that it is right."""
        self._faults: list[Fault] = []
        self._lives: dict[str, int] = {}
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._run_folder = Path()
        self.tap: Tap

    @property
    def said(self) -> Path:
        """Folder of the devices' journals."""
        return self.options.data / "said"

    def conditions(self) -> Conditions:
        """Return what the verdict must know beside what was said and stored."""
        placed = {name: [device.name for device in devices] for name, devices in self.scene.scenario.links.items()}
        return Conditions(
            window_s=WINDOW_S,
            outages=[*outages(self.downs, AGENT)],
            ends=ends(self.downs, self._faults, placed),
            sick=sick(self._faults, placed),
            wrong_clock=self.wrong_clock,
            rules=self.scene.rules,
        )

    async def __aenter__(self) -> Self:
        """Start everything. Raises ConfigError, ProcessFailed; then nothing is left running."""
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what still runs and remove the folder of sockets."""
        await self.close()

    async def start(self) -> None:
        """Start broker, devices, ingest and agent, then the card readers' schedule."""
        self._run_folder = _short_folder()
        self.env["TMPDIR"] = str(self._run_folder)  # what a killed process leaves there goes with the folder
        self.options.data.mkdir(parents=True, exist_ok=True)
        if self.options.database:
            await self._start_database()
        options = self.options
        specs = self.scene.specs()
        write_plan(
            options.data / "ledger.jsonl",
            specs.values(),
            scenario=self.scene.scenario.name,
            seed=options.seed,
            seconds=options.seconds,
        )
        self.began = time.monotonic()
        host, port = options.broker_address() or await self._start_broker()
        self.tap = Tap(host, port, site=self.site.name, file=options.data / "mqtt.tap")
        self._background(self.tap.run(), "tap")
        await together({f"start-{link}": self._start_device(link) for link in specs})
        await self._tap_connected(host, port)
        agent_side = broker_url(host, port)
        if options.sabotage is not None:
            self.saboteur = Saboteur(options.sabotage, numbers=self._numbers(options.sabotage))
        if options.proxy or self.saboteur is not None:
            self.proxy = await self._stack.enter_async_context(Proxy(host, port, rewrite=self.saboteur))
            agent_side = broker_url(self.proxy.host, self.proxy.port)
        ingest_side = broker_url(host, port)
        if options.ingest_proxy:
            self.ingest_proxy = await self._stack.enter_async_context(Proxy(host, port))
            ingest_side = broker_url(self.ingest_proxy.host, self.ingest_proxy.port)
        self._write_programs(agent_side, ingest_side)
        await together({f"start-{name}": self.start_process(name) for name in (INGEST, AGENT)})
        await together({f"begin-{link}": self._begin(link) for link, spec in specs.items() if spec.hold})
        self._background(self._watch(), "watch")

    async def _begin(self, link: str) -> None:
        """Let a link's cards or bands begin, when somebody listens; or else after a while."""
        for _ in range(_LOOKS):
            if (await self.ask(link, Request(op="state")))["open"]:
                break
            await asyncio.sleep(_LOOK_S)
        await self.ask(link, Request(op="start"))

    async def _tap_connected(self, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(_TAP_S):
                await self.tap.connected.wait()
        except TimeoutError:
            what = f"no MQTT broker answers at {broker_url(host, port)} within {_TAP_S:g} s"
            raise ProcessFailed(f"{what} → start one there, or leave --mqtt out") from None

    async def _start_broker(self) -> tuple[str, int]:
        command = [sys.executable, "-m", "simulators.demo.broker", "--port", "0"]
        process = self._process(BROKER, command, says_ready=True)
        await process.start(ready_s=READY_S)
        address: tuple[str, int] = process.answer["host"], process.answer["port"]
        process.command = [*command[:-1], str(address[1]), "--host", address[0]]  # it must come back where it was
        return address

    async def _start_database(self) -> None:
        folder = self.options.data / DATABASE
        command = influx.command(folder)
        process = self._process(DATABASE, command, says_ready=True)
        await process.start(ready_s=READY_S)
        host, port = process.answer["host"], process.answer["port"]
        process.command = [*command[:-1], str(port)]  # it must come back where it was
        self.options = replace(self.options, store=f"influx1://{host}:{port}/campus")

    async def _start_device(self, link: str) -> None:
        life = self._lives[link] = self._lives.get(link, 0) + 1
        folder = self.said if life == 1 else self.said / f"life-{life}"
        earlier = self.processes.get(device(link))
        spec = self.scene.specs()[link]
        spec = msgspec.structs.replace(
            spec,
            said=str(folder),
            control=str(self._run_folder / f"{link}.control"),
            link=str(self._run_folder / link) if spec.kind not in NETWORKED else "",
            port=earlier.answer.get("port", 0) if earlier else 0,  # it must come back where it was
        )
        folder.mkdir(parents=True, exist_ok=True)
        process = earlier or self._process(device(link), device_command(), says_ready=True)
        process.stdin = msgspec.json.encode(spec) + b"\n"
        await process.start(ready_s=READY_S)

    def _process(self, name: str, command: list[str], *, says_ready: bool = False) -> Process:
        file = name.replace(":", "-")
        process = self.processes[name] = Process(
            name=name,
            command=command,
            env={**self.env, **(self.clocks.environment(name) if self.clocks and name in self.options.clocks else {})},
            log=self.options.data / "log" / f"{file}.log",
            notify=self._run_folder / f"{file}.notify",
            says_ready=says_ready,
        )
        return process

    def _write_programs(self, agent_side: str, ingest_side: str) -> None:
        options = self.options
        faketime = clocks.library() if options.clocks else None
        if faketime is not None:
            self.clocks = clocks.Clocks(options.data / "clock", faketime)
        links = {
            link: link_settings(devices[0], self.processes[device(link)].answer)
            for link, devices in self.scene.scenario.links.items()
        }
        agent = write_agent(
            options.data / AGENT,
            self.scene,
            self.site,
            mqtt=agent_side,
            protocol=options.spoken,
            links=links,
            vitals=options.vitals,
            sync_file=self.clocks.sync_file if self.clocks and AGENT in options.clocks else None,
        )
        ingest = write_ingest(
            options.data / INGEST, self.site, mqtt=ingest_side, protocol=options.spoken, store=options.store_url
        )
        self._process(AGENT, [*program("edge-agent"), "run", "--config", str(agent)])
        console = [] if options.console is None else ["--console", "--console-listen", options.console]
        self._process(INGEST, [*program("cloud-ingest"), "run", "--config", str(ingest), *console])

    def _numbers(self, kind: Sabotage) -> Sequence[str]:
        """Return what a leak leaks: cards, or the addresses of bands."""
        if kind is Sabotage.LEAK_BAND:
            return [wearer.band.address for wearer in self.scene.bands]
        return self.scene.cards

    @property
    def console_url(self) -> str | None:
        """Where the web console is; none as long as there is none."""
        ingest = self.processes.get(INGEST)
        return ingest.told.get("X_CONSOLE_URL") if ingest is not None and ingest.running else None

    async def kill(self, name: str) -> None:
        """Kill -9 the process `name`: `agent`, `ingest`, `broker`, `database`, `workers` or `device:<link>`."""
        self.downs.append(Down(name=name, from_ns=time.time_ns(), killed=True))
        if name == WORKERS:
            self._signal_workers(signal.SIGKILL)
            return
        await self.processes[name].kill()
        if name.startswith(DEVICE):
            # It could not take its link away, whose port's number goes to the next one that is made: another device's.
            (self._run_folder / name.removeprefix(DEVICE)).unlink(missing_ok=True)

    async def stop(self, name: str) -> float:
        """SIGTERM the process `name`; return how many seconds it took. Too slow, or a wrong exit, is a failure."""
        process = self.processes[name]
        self.downs.append(Down(name=name, from_ns=time.time_ns(), killed=False))
        took = await process.stop(within_s=STOP_S)
        if process.exit_code:
            what = f"did not stop within {STOP_S:g} s of SIGTERM" if took >= STOP_S else f"exited {process.exit_code}"
            self.failures.append(f"{name} {what}")
        return took

    async def start_process(self, name: str) -> None:
        """Start `name`, or start it again, and wait until it is ready. Raises ProcessFailed."""
        if name == WORKERS:
            pass  # whoever started them starts them again
        elif name.startswith(DEVICE):
            link = name.removeprefix(DEVICE)
            await self._start_device(link)
            if self.scene.specs()[link].hold:
                await self._begin(link)
        else:
            await self.processes[name].start(ready_s=READY_S)
        self._up(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP the process `name` and its helpers."""
        self.downs.append(Down(name=name, from_ns=time.time_ns(), killed=False, frozen=True))
        if name == WORKERS:
            self._signal_workers(signal.SIGSTOP)
        else:
            self.processes[name].freeze()

    def thaw(self, name: str) -> None:
        """SIGCONT the process `name`: it goes on where it was."""
        if name == WORKERS:
            self._signal_workers(signal.SIGCONT)
        else:
            self.processes[name].thaw()
        self._up(name)

    def _signal_workers(self, number: signal.Signals) -> None:
        for pid in self.processes[AGENT].own_processes(_WORKER):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _up(self, name: str) -> None:
        for down in self.downs:
            if down.name == name and down.until_ns is None:
                down.until_ns = time.time_ns()

    async def ask(self, link: str, request: Request) -> dict[str, Any]:
        """Ask a device process through its control socket: state, fault, clear, present, start."""
        if request.op == "fault":
            self._faults.append(Fault(name=request.fault, link=link, from_ns=time.time_ns(), seconds=request.seconds))
        return await ask_async(self.processes[device(link)].answer["control"], request)

    async def run(self) -> None:
        """Let it run for `options.seconds` from its start."""
        await asyncio.sleep(max(0.0, self.began + self.options.seconds - time.monotonic()))

    async def close(self) -> None:
        """End every process and task, in the order of the path; what does not stop is killed. May be called twice."""
        names = list(self.processes)
        try:
            for group in ([name for name in names if name.startswith(DEVICE)], [AGENT, INGEST], [BROKER, DATABASE]):
                found = [self.processes[name] for name in group if name in self.processes]
                await asyncio.gather(*(process.stop(within_s=STOP_S) for process in found))
        finally:
            for process in self.processes.values():
                process.kill_now()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for process in self.processes.values():
                await process.gone()
            await self._stack.aclose()
            if self._run_folder != Path():
                shutil.rmtree(self._run_folder, ignore_errors=True)

    def _background(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _watch(self) -> None:
        """Measure every process each second, and notice those that end by themselves."""
        reported: set[str] = set()
        while True:
            for name, process in self.processes.items():
                process.measure()
                wanted = not any(down.name == name and down.until_ns is None for down in self.downs)
                if wanted and not process.running and name not in reported:
                    reported.add(name)
                    self.failures.append(f"{name} ended by itself with exit code {process.exit_code}")
            await asyncio.sleep(_SAMPLE_S)


def _short_folder() -> Path:
    """Return a new folder for sockets, whose paths have 108 bytes at most: not below a long TMPDIR."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="campus-sim-", dir=usual if len(usual) < _LONG_PATH else "/tmp"))  # noqa: S108


async def together(work: dict[str, Coroutine[Any, Any, None]]) -> None:
    """Do named pieces of work at the same time; the first that fails cancels the others and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for name, piece in work.items():
                group.create_task(piece, name=name)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
