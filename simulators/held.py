"""A device process held without an event loop: for tests, synchronous or not, of any project."""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from simulators.control import Request, ask
from simulators.launch import READY_S, STOP_S, command, environment
from simulators.spec import NETWORKED, DeviceSpec, Ready, default_units
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEVER_SENT: Final = "did not become ready"


class HeldDevice:
    """A running simulated device. Its calls block for milliseconds, so they may stand in async tests too."""

    def __init__(self, spec: DeviceSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        # No context manager: the process lives until `stop`.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        try:
            self.ready = self._wait_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def endpoint(self) -> str:
        """Where to open it: the stable link of a port, or host:port."""
        return self.ready.link or self.ready.endpoint

    @property
    def link(self) -> str:
        """The port's stable link; empty for TCP."""
        return self.ready.link

    @property
    def host(self) -> str:
        """Address a TCP device listens on; empty for a port."""
        return self.ready.host

    @property
    def port(self) -> int:
        """Port a TCP device listens on; 0 for a serial port."""
        return self.ready.port

    @property
    def url(self) -> str:
        """Where a camera's pictures are; empty for others."""
        return self.ready.url

    def fault(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Begin a fault (`campus-sim list` names them); parameters: seconds, device, rate, point, per_sample.

        Raises Refusal where the device has no such fault.
        """
        return ask(self.ready.control, Request(op="fault", fault=name, **parameters))

    def clear(self, name: str = "") -> dict[str, Any]:
        """End all faults, or all called `name`."""
        return ask(self.ready.control, Request(op="clear", fault=name))

    def present(self, card: str, *, frames: int = 5) -> int:
        """Lay a card (ten hex digits) on the reader; return the presence's number in the journal."""
        return int(ask(self.ready.control, Request(op="present", card=card, frames=frames))["n"])

    def begin(self) -> None:
        """Start the card schedule of a reader made with `hold=True`."""
        ask(self.ready.control, Request(op="start"))

    def state(self) -> dict[str, Any]:
        """Return the device's state: endpoint, open, faults, devices, counters."""
        return ask(self.ready.control, Request(op="state"))

    def said(self) -> list[dict[str, Any]]:
        """Return what was really said, in the order it was said: the truth to compare your readings with."""
        with contextlib.suppress(OSError):
            # A round trip: what left the device before it is in the journal after it. A stopped one has written all.
            self.state()
        path = self._folder / "said.jsonl"
        data = path.read_bytes() if path.exists() else b""
        return [msgspec.json.decode(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def stop(self) -> None:
        """End the process and wait for it; the journal is complete then."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _wait_ready(self) -> Ready:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise DeviceUnavailable("the device process has no pipes")
        stdin.write(msgspec.json.encode(self.spec) + b"\n")
        stdin.flush()
        if select.select([stdout], [], [], READY_S)[0] and (line := stdout.readline()):
            return msgspec.json.decode(line, type=Ready)
        self._process.kill()
        _out, complaint = self._process.communicate()
        raise DeviceUnavailable(f"simulated {self.spec.kind} {_NEVER_SENT}: {complaint.decode().strip()}")


class Shelf:
    """Makes devices and keeps them until `stop`: what the `campus_device` fixture hands out."""

    def __init__(self) -> None:
        self._held: list[tuple[HeldDevice, tempfile.TemporaryDirectory[str]]] = []

    def __call__(
        self, kind: str, *, name: str = "", model: str = "", units: Sequence[int] = (1,), **options: Any
    ) -> HeldDevice:
        """Start a device of `kind` (rdm6300, modbus-rtu, modbus-tcp, ble-bands, camera); `options` are DeviceSpec's.

        Raises DeviceUnavailable with the reason if it cannot be what was asked for.
        """
        # Not pytest's tmp_path: a Unix socket's path must be short.
        folder = tempfile.TemporaryDirectory(prefix="campus-sim-")
        name = name or kind
        spec = msgspec.convert(
            {
                "kind": kind,
                "name": name,
                "units": default_units(kind, name, model=model, units=units),
                "said": str(Path(folder.name) / "said.jsonl"),
                "link": "" if kind in NETWORKED else str(Path(folder.name) / "port"),
                **options,
            },
            DeviceSpec,
        )
        try:
            device = HeldDevice(spec, Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        self._held.append((device, folder))
        return device

    def stop(self) -> None:
        """Stop all devices."""
        while self._held:
            device, folder = self._held.pop()
            device.stop()
            folder.cleanup()
