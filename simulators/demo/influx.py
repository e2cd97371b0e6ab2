"""An InfluxDB 1.x of the demo's own, on loopback and in one folder: a database whose process can be killed.

`python -m simulators.demo.influx FOLDER --port 0` prints `{"host": …, "port": …}` when it listens; SIGTERM stops it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_LEASH: Final = str(Path(__file__).with_name("leash.py"))
_PROGRAMS: Final = ("influxd", "/usr/bin/influxd", "/usr/sbin/influxd")
_READY_S: Final = 20.0
_LOOK_S: Final = 0.02
_HOST: Final = "127.0.0.1"
_CONFIG: Final = """\
reporting-disabled = true
bind-address = "{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{http}"
  log-enabled = false
  flux-enabled = false
  auth-enabled = {auth}
"""


def installed() -> str | None:
    """Return the server's program; none where it is not installed."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


def command(folder: Path) -> list[str]:
    """Return the command that serves what is in `folder`."""
    return [sys.executable, "-m", "simulators.demo.influx", str(folder), "--port", "0"]


def settings(folder: Path, *, http: str, rpc: str, auth: bool = False) -> str:
    """Return the server's settings: its files below `folder`; `http` and `rpc` are HOST:PORT to listen on."""
    return _CONFIG.format(folder=folder, http=http, rpc=rpc, auth=str(auth).lower())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
        return True
    return False


def serve(program: str, folder: Path, port: int) -> int:
    """Run the server until it ends; return its exit code, 0 if it was asked to stop."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    config = folder / "influxdb.conf"
    config.write_text(settings(folder, http=f"{_HOST}:{port}", rpc=f"{_HOST}:{_free_port()}"), encoding="utf-8")
    started = [sys.executable, "-E", "-S", _LEASH, str(os.getpid()), program, "-config", str(config)]
    asked = False
    with subprocess.Popen(started, stdin=subprocess.DEVNULL) as server:  # noqa: S603 - our own command, no shell

        def stop(*_: object) -> None:
            nonlocal asked
            asked = True
            server.terminate()

        signal.signal(signal.SIGTERM, stop)
        end = time.monotonic() + _READY_S
        while not _answers(port) and server.poll() is None and time.monotonic() < end:
            time.sleep(_LOOK_S)
        if server.poll() is None:
            print(json.dumps({"host": _HOST, "port": port}), flush=True)  # noqa: T201 - the answer to our starter
        code = server.wait()
    return 0 if asked else code or 1


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m simulators.demo.influx", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    arguments = parser.parse_args()
    program = installed()
    if program is None:
        sys.exit("influxd is not installed → apt-get install influxdb")
    sys.exit(serve(program, arguments.folder.absolute(), arguments.port))


if __name__ == "__main__":
    main()
