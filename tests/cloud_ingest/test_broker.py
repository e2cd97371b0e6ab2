"""How a connection begins, and how it may fail."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from cloud_ingest.broker import V5, V311, BrokerClient, HungUp, VersionRefused, connect, subscribe
from cloud_ingest.settings import MqttSettings
from telemetry.counters import Counters
from telemetry.errors import AuthError
from tests.servers import MakeServer, Server, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def run_in(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@asynccontextmanager
async def impostor(answer: bytes | None) -> AsyncIterator[str]:
    """Something that listens, reads a greeting and answers `answer`, hanging up; with none it keeps silent."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(200)
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    try:
        yield f"mqtt://[::1]:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "protocol", "error"),
    [
        (b"", V5, HungUp),
        (b"\x20\x02\x00\x01", V5, VersionRefused),
        (b"\x20\x03\x00\x84\x00", V5, VersionRefused),
        (b"\x20\x02\x00\x04", V311, AuthError),
        (b"\x20\x02\x00\x05", V311, AuthError),
        (b"\x20\x03\x00\x87\x00", V5, AuthError),
        (b"\x20\x02\x00\x03", V311, aiomqtt.MqttError),
        (b"\x20\x03\x00\x88\x00", V5, aiomqtt.MqttError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", V5, aiomqtt.MqttError),
        (None, V5, aiomqtt.MqttError),
    ],
)
async def test_refusals_are_told_apart(answer, protocol, error, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.broker.CONNECT_S", 0.5)
    async with impostor(answer) as url:
        with pytest.raises(error):
            await connect(MqttSettings(url=url), protocol, Counters())


async def test_nobody_there() -> None:
    with pytest.raises(aiomqtt.MqttError):
        await connect(MqttSettings(url=f"mqtt://[::1]:{free_port()}"), V5, Counters())


@pytest.mark.parametrize("protocol", [V5, V311])
async def test_logins_and_access_rules(make_mosquitto: MakeServer, tmp_path: Path, protocol) -> None:
    run_in(tmp_path, "mosquitto_passwd", "-b", "-c", "passwords", "ingest", "right")
    (tmp_path / "acl").write_text("user ingest\ntopic read campus/#\n")
    for name in ("passwords", "acl"):
        (tmp_path / name).chmod(0o644)
    extra = f"allow_anonymous false\npassword_file {tmp_path}/passwords\nacl_file {tmp_path}/acl"
    broker = make_mosquitto(extra=extra)
    url = f"mqtt://{broker.authority}"
    with pytest.raises(AuthError, match="refuses our login"):
        await connect(MqttSettings(url=url), protocol, Counters())
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    settings = MqttSettings(url=url, username="ingest", password_file=secret)
    with pytest.raises(AuthError, match="refuses our login"):
        await connect(settings, protocol, Counters())
    secret.write_text("right\n")
    client = await connect(settings, protocol, Counters())
    await subscribe(client, "campus/v1/+/+/telemetry/#", 1)
    await client.__aexit__(None, None, None)


# paho forgets to close the socket of a handshake that fails; it is closed when collected, which Python mentions.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_tls_with_an_own_authority(make_mosquitto: MakeServer, tmp_path: Path) -> None:
    def openssl(*arguments: str) -> None:
        run_in(tmp_path, "openssl", *arguments)

    # Python 3.13 asks of an authority that it says so.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    authority = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", *usage)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *authority)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost")
    (tmp_path / "names").write_text("subjectAltName=IP:::1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    sign = ("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    openssl(*sign, "-out", "cert.pem", "-extfile", "names")
    broker = make_mosquitto(
        extra=f"allow_anonymous true\ncertfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\n"
        f"cafile {tmp_path}/ca.pem\nrequire_certificate true"
    )
    url = f"mqtts://{broker.authority}"
    own = {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}
    client = await connect(MqttSettings(url=url, ca_file=tmp_path / "ca.pem", **own), V5, Counters())
    await subscribe(client, "campus/#", 1)
    await client.__aexit__(None, None, None)
    with pytest.raises(aiomqtt.MqttError, match="certificate verify failed"):
        await connect(MqttSettings(url=url, **own), V5, Counters())
    gc.collect()


async def test_messages_wait_for_our_acknowledgement(mosquitto: Server) -> None:
    """Receive Maximum holds the broker back, and an old connection's message is never acknowledged on a new one."""
    settings = MqttSettings(url=f"mqtt://{mosquitto.authority}", receive_maximum=3)
    client = await connect(settings, V5, Counters())
    await subscribe(client, "t", 1)

    async def take(source: BrokerClient, count: int) -> list[aiomqtt.Message]:
        async with asyncio.timeout(5):
            return [await anext(source.messages) for _ in range(count)]

    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as sender:
        for number in range(8):
            await sender.publish("t", str(number), qos=1)
        first = await take(client, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(client.messages)
        client.acknowledge(first[0].mid, first[0].qos)
        (fourth,) = await take(client, 1)
        assert fourth.payload == b"3"
        await client.__aexit__(None, None, None)

        again = await connect(settings, V5, Counters())
        await subscribe(again, "t", 1)
        for number in range(8):
            await sender.publish("t", str(number), qos=1)
        await take(again, 3)
        for message in first:
            client.acknowledge(message.mid, message.qos)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(again.messages)
        await again.__aexit__(None, None, None)


async def test_what_does_not_fit_is_counted_and_ends_the_connection(mosquitto: Server) -> None:
    counters = Counters()
    client = await connect(MqttSettings(url=f"mqtt://{mosquitto.authority}"), V311, counters)
    await subscribe(client, "t", 0)
    client._queue._maxsize = 5
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as sender:
        for number in range(8):
            await sender.publish("t", str(number), qos=1)
        async with asyncio.timeout(5):
            while not client.overflowed or counters.get("mqtt.dropped_messages") < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await client.__aexit__(None, None, None)
