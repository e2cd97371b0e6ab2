"""The password, in a real Chromium and on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.cloud_ingest.console.test_pages import sound

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud_ingest.console.conftest import MakeConsole, OpenWindow

PASSWORD = "correct horse 电池"  # noqa: S105 - of this test


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return str(path)


@pytest.mark.server("chromium")
@pytest.mark.parametrize(("size", "lang"), [("desktop", "zh"), ("phone", "en")])
async def test_only_who_knows_the_password_comes_in(
    make_console: MakeConsole, open_window: OpenWindow, password_file: str, size: str, lang: str
) -> None:
    console = make_console(password_file=password_file)
    window = await open_window(console.url, size=size, lang=lang)
    page = window.page
    await window.go(f"/{lang}/room/r101")
    assert "/login?to=" in page.url
    await window.shot(f"login-{size}-{lang}")
    await page.fill("input[type=password]", "not the password")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[role=alert]")
    assert {"zh": "密码不对", "en": "not the password"}[lang] in await window.text("[role=alert]")
    window.complaints.clear()
    await page.fill("input[type=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{console.url}{lang}/room/r101")
    await page.wait_for_selector(".plot svg")
    await sound(window, lang)
    await page.click({"zh": "text=退出登录", "en": "text=Log out"}[lang])
    await page.wait_for_selector("input[type=password]")
    await window.go(f"/{lang}/gateways")
    assert await page.is_visible("input[type=password]")
    assert [told for told in window.complaints if "fonts" not in told] == []


async def test_nothing_but_the_login_page_is_served_to_strangers(make_console: MakeConsole, password_file: str) -> None:
    console = make_console(password_file=password_file)
    async with aiohttp.ClientSession(console.url) as client:
        for path in ("/", "/zh/", "/en/gateways", "/anything"):
            async with client.get(path, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"].startswith("/login?to=")
        for path in ("/_nicegui/3/static/nicegui.js", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"):
            async with client.get(path, allow_redirects=False) as answer:
                assert answer.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/_nicegui_ws/socket.io/?EIO=4&transport=websocket")
        assert refused.value.status == 403
        forged = {"Cookie": "campus_console=9999999999.0011223344556677.AAAA"}
        async with client.get("/zh/", allow_redirects=False, headers=forged) as answer:
            assert answer.status == 303


async def test_guessing_is_slowed_down(make_console: MakeConsole, password_file: str) -> None:
    console = make_console(password_file=password_file)
    async with aiohttp.ClientSession(console.url) as client:
        for _ in range(5):
            async with client.post("/login", data={"password": "guess"}) as answer:
                assert answer.status == 403
        async with client.post("/login", data={"password": PASSWORD}) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 30
    assert "wrong password from ::1" in console.log()
    assert "guess" not in console.log()


async def test_a_login_leads_to_no_other_site_and_lasts_over_a_restart(
    make_console: MakeConsole, password_file: str
) -> None:
    console = make_console(password_file=password_file)
    for target in ("//evil.example", "https://evil.example/", "/\\evil.example", "/login", "javascript:alert(1)"):
        async with (
            aiohttp.ClientSession(console.url) as client,
            client.post("/login", params={"to": target}, data={"password": PASSWORD}, allow_redirects=False) as answer,
        ):
            assert answer.status == 303
            assert answer.headers["Location"] == "/"
            cookie = answer.cookies["campus_console"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    key = console.folder / "data" / "console" / "session.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert console.stop() == 0
    again = make_console(password_file=password_file, data=console.folder / "data")
    assert await _status(again.url, cookie.value) == 200
    key.unlink()
    fresh = make_console(password_file=password_file, data=console.folder / "data")
    assert await _status(fresh.url, cookie.value) == 303


async def _status(url: str, cookie: str) -> int:
    async with (
        aiohttp.ClientSession(url) as client,
        client.get("/zh/", allow_redirects=False, headers={"Cookie": f"campus_console={cookie}"}) as answer,
    ):
        return answer.status
