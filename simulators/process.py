"""A device process: is what its DeviceSpec says, prints one Ready line, runs until SIGTERM or SIGINT.

Run as `python -m simulators.process`, it reads the spec as one JSON line from standard input and also ends when that
closes: with whoever started it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from simulators.build import Journals, Scheduled, build, check, link_path
from simulators.control import ControlServer, Refusal, Request, socket_path
from simulators.faults import CORRUPTION, DRIFT, DROP, FAULTS, Active, Faults
from simulators.rdm6300 import CardReader
from simulators.spec import CAMERA_URLS, NETWORKED, DeviceSpec, Ready
from telemetry.counters import Counters
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.build import Device

EXIT_UNAVAILABLE: Final = 69
EXIT_BAD_CONFIG: Final = 78


class Hand:
    """What the control socket can do to a device."""

    def __init__(self, *, spec: DeviceSpec, device: Device, faults: Faults, counters: Counters) -> None:
        self._spec = spec
        self._device = device
        self._faults = faults
        self._counters = counters

    def handle(self, request: Request) -> dict[str, Any]:
        """Do what is asked and return the state after it. Raises Refusal."""
        if request.op == "fault":
            self._begin(request)
        elif request.op == "clear":
            self._faults.clear(request.fault or None)
        elif request.op == "present":
            return {"n": self._present(request), **self._state()}
        elif request.op == "start" and isinstance(self._device, Scheduled):
            self._device.begin()
        return self._state()

    def _begin(self, request: Request) -> None:
        kind = FAULTS.get(request.fault)
        if kind is None or self._spec.kind not in kind.kinds:
            known = ", ".join(name for name, item in FAULTS.items() if self._spec.kind in item.kinds)
            raise Refusal(f"{self._spec.kind} has no fault {request.fault!r} → choose one of {known}")
        for parameter in kind.parameters:
            if getattr(request, parameter) is None:
                raise Refusal(f"fault {request.fault!r} needs {parameter!r}")
        if request.device is not None and request.device not in self._device.devices:
            raise Refusal(f"no device {request.device!r} here → choose one of {', '.join(self._device.devices)}")
        if request.fault == DRIFT and request.point not in self._device.points:
            raise Refusal(f"no point {request.point!r} → choose one of {', '.join(sorted(self._device.points))}")
        if request.rate is not None and not 0 <= request.rate <= 1:
            raise Refusal(f"rate {request.rate} is not a probability → choose 0 to 1")
        fault = Active(
            name=request.fault,
            device=request.device,
            rate=request.rate or 0.0,
            point=request.point or "",
            per_sample=request.per_sample or 0.0,
        )
        self._faults.begin(fault, seconds=request.seconds)

    def _present(self, request: Request) -> int:
        if not isinstance(self._device, CardReader):
            raise Refusal(f"{self._spec.kind} reads no cards → ask an rdm6300")
        try:
            return self._device.present(request.card, request.frames)
        except ValueError as error:
            raise Refusal(str(error)) from error

    def _state(self) -> dict[str, Any]:
        return {
            "kind": self._spec.kind,
            "name": self._spec.name,
            "endpoint": self._device.endpoint,
            "open": self._device.is_open,
            "faults": self._faults.names(),
            "devices": self._device.devices,
            "counters": self._counters.snapshot(),
        }


async def run_device(spec: DeviceSpec, *, ready: Callable[[Ready], None], with_stdin: bool = False) -> None:
    """Be the device until a signal, `spec.seconds`, or (with_stdin) the end of standard input.

    Raises ConfigError if the spec is wrong, OSError if an address or path cannot be had.
    """
    check(spec)
    private = Path(tempfile.mkdtemp(prefix="campus-sim-"))
    journals = Journals(spec.said)
    try:
        await _run(spec, private, journals, ready=ready, with_stdin=with_stdin)
    finally:
        journals.close()
        shutil.rmtree(private)


async def _run(
    spec: DeviceSpec, private: Path, journals: Journals, *, ready: Callable[[Ready], None], with_stdin: bool
) -> None:
    try:
        control_path = socket_path(spec.control, private / "control")
    except ValueError as error:
        raise ConfigError([Problem(where="control", what=str(error), mend="use a shorter path")]) from error
    counters, faults, stop = Counters(), Faults(), asyncio.Event()
    link = link_path(spec, private / f"usb-campus-sim-{spec.name}") if spec.kind not in NETWORKED else Path()
    device = build(spec, link=link, faults=faults, journals=journals, counters=counters)
    for name, rate in ((CORRUPTION, spec.corrupt), (DROP, spec.drop)):
        if rate:
            faults.begin(Active(name=name, rate=rate))
    faults.on_change = device.faults_changed
    hand = Hand(spec=spec, device=device, faults=faults, counters=counters)
    control = ControlServer(control_path, hand.handle)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_stdin:
        loop.add_reader(0, _ended, loop, stop)
    try:
        async with asyncio.TaskGroup() as group:
            await device.start(group)
            await control.start(group)
            ready(_ready(spec, device, control_path, link))
            await _until(stop, spec.seconds)
    except* _Stop:
        # The tasks are cancelled and have ended; what they said is journalled.
        pass
    finally:
        control.close()
        device.close()


class _Stop(Exception):
    """The device was told to stop."""


def _ended(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 1024):
        loop.remove_reader(0)
        stop.set()


async def _until(stop: asyncio.Event, seconds: float) -> NoReturn:
    """Wait for the signal, or `seconds` if not 0; then raise _Stop, which ends the task group it is awaited in."""
    try:
        async with asyncio.timeout(seconds or None):
            await stop.wait()
    except TimeoutError as error:
        raise _Stop from error
    raise _Stop


def _ready(spec: DeviceSpec, device: Device, control: Path, link: Path) -> Ready:
    networked = spec.kind in NETWORKED
    scheme, path = CAMERA_URLS[spec.capture]
    return Ready(
        kind=spec.kind,
        name=spec.name,
        endpoint=device.endpoint,
        control=str(control),
        pid=os.getpid(),
        devices=list(device.devices),
        link="" if networked else str(link),
        host=spec.host if networked else "",
        port=int(device.endpoint.rpartition(":")[2]) if networked else 0,
        url=f"{scheme}://{device.endpoint}{path}" if spec.kind == "camera" else "",
    )


def print_ready(ready: Ready) -> None:
    """Write the Ready line to standard output."""
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


def exit_code(run: Callable[[], None]) -> int:
    """Run and return the exit code: 0, 78 for a wrong spec, 69 for an address or path that cannot be had."""
    code = 0
    try:
        run()
    except* ConfigError as group:
        sys.stderr.write("".join(f"{error}\n" for error in group.exceptions))
        code = EXIT_BAD_CONFIG
    except* OSError as group:
        sys.stderr.write("".join(f"{error} → choose another address or path\n" for error in group.exceptions))
        code = EXIT_UNAVAILABLE
    return code


def main() -> int:
    """Be the device that standard input asks for."""

    def run() -> None:
        line = sys.stdin.buffer.readline()
        try:
            spec = msgspec.json.decode(line, type=DeviceSpec)
        except msgspec.MsgspecError as error:
            raise ConfigError([Problem(where="standard input", what=str(error), mend="send a DeviceSpec")]) from error
        asyncio.run(run_device(spec, ready=print_ready, with_stdin=True))

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
