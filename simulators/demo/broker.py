"""An MQTT 3.1.1 broker for demo and tests: amqtt, anonymous, loopback only, nothing on disk.

`python -m simulators.demo.broker --port 0` prints `{"host": …, "port": …}` on its first line once it listens,
reports READY=1 on $NOTIFY_SOCKET if there is one, and stops on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from importlib import import_module

from simulators.demo.loopback import listening_socket
from simulators.demo.notify import notify

_STOP_S = 3.0


async def serve(host: str | None, port: int) -> None:
    """Run the broker until SIGTERM or SIGINT. Raises OSError if it cannot listen."""
    adapters, amqtt = import_module("amqtt.adapters"), import_module("amqtt.broker")  # slow, an extra, and untyped

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # "external": we own the listening socket (amqtt cannot tell which free port it got) and hand connections over.
    broker = amqtt.Broker(
        {
            "listeners": {"default": {"type": "external"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ends = adapters.StreamReaderAdapter(reader), adapters.StreamWriterAdapter(writer)
            await broker.external_connected(*ends, listener_name="default")
        finally:
            writer.close()

    bound = listening_socket(host, port)
    server = await asyncio.start_server(connected, sock=bound)
    address = bound.getsockname()
    print(json.dumps({"host": address[0], "port": address[1]}), flush=True)  # noqa: T201 - the answer to whoever started us
    notify("READY=1")
    await stop.wait()
    server.close()
    async with asyncio.timeout(_STOP_S):
        await broker.shutdown()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m simulators.demo.broker", description=__doc__)
    parser.add_argument("--host", help="address to listen on (default: ::1, else 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(arguments.host, arguments.port))
    except ModuleNotFoundError as error:
        sys.exit(f"The embedded broker needs {error.name}: pip install 'campus-edge[demo]', or give --mqtt URL.")
    except TimeoutError:
        # amqtt may wait for ever for a client that is gone. It keeps nothing on disk, so nothing is lost by leaving it.
        sys.stderr.write(f"amqtt did not stop within {_STOP_S} s: left as it is.\n")


if __name__ == "__main__":
    main()
