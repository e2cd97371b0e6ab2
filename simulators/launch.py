"""Starts device processes and holds them: what `campus-sim run`, the demo and the pytest plugin drive devices with."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from simulators.control import Request, ask_async
from simulators.spec import DeviceSpec, Ready
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY_S: Final = 20.0
STOP_S: Final = 5.0


def command() -> list[str]:
    """Return the command of a device process; it reads a DeviceSpec from standard input."""
    return [sys.executable, "-m", "simulators.process"]


def environment() -> dict[str, str]:
    """Return the environment of a device process: as ours, with this very package importable."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def fault_request(name: str, **parameters: Any) -> Request:
    """Return the request that begins fault `name`; unknown parameters raise TypeError."""
    return Request(op="fault", fault=name, **parameters)


class DeviceProcess:
    """A running device. Stops with `stop` (SIGTERM) or `kill`, and by itself when this process dies."""

    def __init__(self, spec: DeviceSpec, ready: Ready, process: asyncio.subprocess.Process) -> None:
        self.spec = spec
        self.ready = ready
        self._process = process

    @property
    def endpoint(self) -> str:
        """Where to open it: the stable link of a port, or host:port."""
        return self.ready.link or self.ready.endpoint

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.returncode is None

    async def ask(self, request: Request) -> dict[str, Any]:
        """Ask on the control socket. Raises Refusal, or OSError or TimeoutError if the device is gone."""
        return await ask_async(self.ready.control, request)

    async def state(self) -> dict[str, Any]:
        """Return the device's state: endpoint, open, faults, devices, counters."""
        return await self.ask(Request(op="state"))

    async def fault(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Begin a fault; parameters are those of `control.Request`: seconds, device, rate, point, per_sample."""
        return await self.ask(fault_request(name, **parameters))

    async def clear(self, name: str = "") -> dict[str, Any]:
        """End all faults, or all called `name`."""
        return await self.ask(Request(op="clear", fault=name))

    async def present(self, card: str, *, frames: int = 5) -> int:
        """Lay a card on the reader; return the presence's number in the journal."""
        answer = await self.ask(Request(op="present", card=card, frames=frames))
        return int(answer["n"])

    async def begin(self) -> None:
        """Start the card schedule of a device launched with `hold`."""
        await self.ask(Request(op="start"))

    async def stop(self) -> int:
        """Stop gracefully, with journals complete; kill after 5 s. Return the exit code."""
        if self.running:
            self._process.terminate()
        return await self._end()

    async def kill(self) -> int:
        """Kill at once: no goodbye, the journal ends in the middle. Return the exit code."""
        if self.running:
            self._process.kill()
        return await self._end()

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return await self._process.wait()

    async def _end(self) -> int:
        try:
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()


async def launch(spec: DeviceSpec, *, ready_s: float = READY_S) -> DeviceProcess:
    """Start a device process and wait until it can be talked to. Its complaints go to our standard error.

    Raises DeviceUnavailable if it ends or is not ready within `ready_s`.
    """
    process = await asyncio.create_subprocess_exec(
        *command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment()
    )
    ready = None
    try:
        if process.stdin is None or process.stdout is None:
            raise DeviceUnavailable("the device process has no pipes")
        process.stdin.write(msgspec.json.encode(spec) + b"\n")
        async with asyncio.timeout(ready_s):
            line = await process.stdout.readline()
        ready = msgspec.json.decode(line, type=Ready)
        return DeviceProcess(spec, ready, process)
    except (TimeoutError, OSError, msgspec.DecodeError) as error:
        raise DeviceUnavailable(
            f"simulated {spec.kind} {spec.name!r} did not become ready: see its error above"
        ) from error
    finally:
        if ready is None:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def launch_all(specs: Mapping[str, DeviceSpec]) -> dict[str, DeviceProcess]:
    """Start several devices at once, under the same keys; if one fails, none is left."""
    started = await asyncio.gather(*(launch(spec) for spec in specs.values()), return_exceptions=True)
    devices = [item for item in started if isinstance(item, DeviceProcess)]
    failed = [item for item in started if isinstance(item, BaseException)]
    if failed:
        await stop_all(devices)
        raise failed[0]
    return dict(zip(specs, devices, strict=True))


async def stop_all(devices: Sequence[DeviceProcess]) -> None:
    """Stop several devices at once."""
    await asyncio.gather(*(device.stop() for device in devices))
