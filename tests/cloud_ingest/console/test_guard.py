"""What the guard refuses, and the headers that every answer carries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.cloud_ingest.console.conftest import MakeConsole

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


async def test_every_page_has_a_strict_policy_and_a_new_nonce(make_console: MakeConsole) -> None:
    console = make_console()
    nonces = set()
    async with aiohttp.ClientSession(console.url) as client:
        for path in ("/zh/", "/en/gateways", "/en/room/r101", "/en/nothing"):
            async with client.get(path) as answer:
                body = await answer.text()
                policy = answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "Server" not in answer.headers
            assert "default-src 'none'" in policy
            scripts = policy.partition("script-src")[2].partition(";")[0]
            assert "unsafe-inline" not in scripts
            found = re.findall(r"<script nonce=\"([^\"]+)\"", body)
            assert len(set(found)) == 1
            assert f"'nonce-{found[0]}'" in scripts
            assert len(found) == body.count("<script")
            nonces.add(found[0])
        assert len(nonces) == 4
        async with client.get("/assets/console.css") as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with client.get("/docs") as answer:
            assert answer.status == 404


@pytest.mark.parametrize("name", ["evil.example", "evil.example:{port}", "[::2]:{port}", "localhost.evil.example", ""])
async def test_another_name_is_refused_on_loopback(make_console: MakeConsole, name: str) -> None:
    console = make_console()
    headers = {"Host": name.format(port=urlsplit(console.url).port)}
    async with aiohttp.ClientSession(console.url) as client:
        async with client.get("/zh/", headers=headers, allow_redirects=False) as answer:
            assert answer.status == 421
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(SOCKET, headers=headers)
        assert refused.value.status == 403


async def test_names_of_the_settings_are_let_in(make_console: MakeConsole) -> None:
    console = make_console(hosts=["console.school.example"])
    async with (
        aiohttp.ClientSession(console.url) as client,
        client.get("/zh/", headers={"Host": "console.school.example"}) as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://[::1]"])
async def test_other_sites_reach_no_socket(make_console: MakeConsole, origin: str) -> None:
    console = make_console()
    async with aiohttp.ClientSession(console.url, headers={"Origin": origin}) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(SOCKET)
        assert refused.value.status == 403
        async with client.get(SOCKET.replace("websocket", "polling")) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_our_own_pages_reach_the_socket(make_console: MakeConsole) -> None:
    console = make_console()
    async with (
        aiohttp.ClientSession(console.url, headers={"Origin": console.url.rstrip("/")}) as client,
        client.ws_connect(SOCKET) as channel,
    ):
        assert (await channel.receive_str()).startswith("0{")
