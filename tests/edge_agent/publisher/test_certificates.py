"""Pain 16, as far as it goes without enrolment: renewed files are taken when the next connection is made."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.edge_agent.publisher.helpers import broker_of, ingest, published, until
from tests.servers import free_port, wait_for_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import MakeServer


def renew(certificates: Path) -> None:
    """Make a second client certificate of the same CA, `renewed`."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "the fixture has used it"
    request = "req -newkey rsa:2048 -nodes -keyout renewed.key -out renewed.csr -subj /CN=renewed"
    signing = "x509 -req -in renewed.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out renewed.pem"
    for words in (request, signing):
        subprocess.run([openssl, *words.split()], cwd=certificates, check=True, capture_output=True, timeout=30)


def given(folder: Path, certificates: Path, name: str) -> None:
    """Put `name`'s certificate and key where the agent reads them, each file at once, as a renewal does."""
    for kind in ("pem", "key"):
        shutil.copy(certificates / f"{name}.{kind}", folder / f"new.{kind}")
        (folder / f"new.{kind}").replace(folder / f"gateway.{kind}")


@pytest.mark.server("mosquitto")
async def test_pain_16_renewed_certificates_are_taken_at_the_next_connection(
    make_mosquitto: MakeServer,
    certificates: Path,
    tmp_path: Path,
) -> None:
    plain = free_port("::1")
    server = make_mosquitto(
        extra=f"allow_anonymous true\ncafile {certificates}/ca.pem\n"
        f"certfile {certificates}/server.pem\nkeyfile {certificates}/server.key\n"
        f"require_certificate true\nuse_identity_as_username true\nlistener {plain} ::1\n"
    )
    assert server.process is not None
    wait_for_port("::1", plain, server.process, server.log)
    server_plain = type(server)(command=[], host="::1", port=plain, folder=server.folder)

    def logged_in_as(name: str) -> int:
        return server.log.read_text(errors="replace").count(f"u'{name}'")

    renew(certificates)
    given(tmp_path, certificates, "client")
    broker = broker_of(
        server,
        tls=True,
        ca_file=certificates / "ca.pem",
        cert_file=tmp_path / "gateway.pem",
        key_file=tmp_path / "gateway.key",
    )
    async with published(broker) as (publisher, outbox, counters):
        async with ingest(server_plain):
            outbox.put(*range(5))
            await until(lambda: len(outbox.stored) == 5)
            given(tmp_path, certificates, "renewed")
            outbox.put(*range(5, 10))
            await until(lambda: len(outbox.stored) == 10)
            assert (counters.get("publisher.connections"), publisher.connected) == (1, True)
        assert (logged_in_as("client"), logged_in_as("renewed")) == (1, 0)
        server.kill()
        await until(lambda: not publisher.connected)
        server.start()
        wait_for_port("::1", plain, server.process, server.log)
        async with ingest(server_plain):
            outbox.put(*range(10, 15))
            await until(lambda: len(outbox.stored) == 15)
        assert (logged_in_as("client"), logged_in_as("renewed")) == (1, 1)
        assert publisher.problem is None
