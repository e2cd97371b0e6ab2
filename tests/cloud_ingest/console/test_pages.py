"""Every page in a real Chromium, in both languages, on desktop and phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud_ingest.console.conftest import LANG_TAGS, SHOTS, SIZES

if TYPE_CHECKING:
    from tests.cloud_ingest.console.conftest import ConsoleProcess, MakeConsole, OpenWindow, Watched

pytestmark = pytest.mark.server("chromium")

ROOMS = {
    "zh": ("房间一览", "6 个房间", "二氧化碳", "1,240 ppm", "高于限值", "低于限值", "1–4 人", "已旧 21 分钟前"),
    "en": ("All rooms", "6 rooms", "CO₂", "1,240 ppm", "above limit", "below limit", "1–4 people", "21 min ago"),
}
MORE_ROOMS = {
    "zh": (
        "无读数：设备没有应答",
        "无读数：传感器预热中",
        "班级平均心率 · 5a 138 次/分",
        "班级平均心率 · 5b 121 次/分",
        "参与平均的人数 · 5a 40–44 人",
        "今日刷卡 412 次",
        "模拟数据",
    ),
    "en": (
        "the device does not answer",
        "warming up",
        "mean heart rate · 5a 138 /min",
        "Pupils in that mean · 5b 25–29 people",
        "Taps today 412",
        "Simulated",
    ),
}
GATEWAYS = {
    "zh": (
        "gw-101",
        "在线",
        "离线",
        "84 批",
        "15,120",
        "约 2 天 13 小时",
        "未同步",
        "3 天 4 小时",
        "考勤：没有同意 14",
    ),
    "en": (
        "gw-101",
        "online",
        "offline",
        "84 batches",
        "15,120",
        "about 2 d 13 h",
        "not synchronised",
        "no consent 14",
    ),
}
MORE_GATEWAYS = {
    "zh": (
        "隐私闸门对人关闭与人有关的数据一律不离开网关；空气和能耗数据照常发送。原因：策略已过期。",
        "1 个对人关闭",
        "策略 生效，序号 7，还有 196 天",
        "同意名单 生效，序号 41，还有 22 小时",
        "课表名册 未设置",
        "策略 已过期，序号 6，1 天 1 小时前失效",
        "同意名单 已拒绝",
        "which is not trusted here",
        "课表名册 尚未生效，序号 3，1 小时前签发",
        "审计记录 1,204 条（8f0b19ae…）",
        "审计记录 写不进去",
        "90 分钟前",
        "缓冲已满，丢弃的数值",
        "r104-air",
        "故障",
        "unit 4 does not answer",
    ),
    "en": (
        "90 min ago",
        "The privacy gate is closed for people",
        "Nothing about people leaves; air and energy go on. Why: Policy expired.",
        "1 closed for people",
        "List of consents in force, serial 41, 22 h left",
        "Policy expired, serial 6, ended 1 d 1 h ago",
        "Roster not set",
        "Audit log 1,204 entries (8f0b19ae…)",
        "Audit log cannot be written",
        "buffer was full",
        "r104-air",
        "down",
        "unit 4 does not answer",
    ),
}
ABOUT = {"zh": ("从不显示", "姓名、学号、卡号"), "en": ("never shown", "Names, numbers of pupils")}
TITLES = {"zh": "房间 · 校园环境控制台", "en": "Rooms · Campus console"}

# For every text that is seen: its colour against what lies behind it, by WCAG 2's formula.
CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll("#app *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(ink).slice(0, 3)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 40)}`);
  }
  return poor;
}"""
UNNAMED = """() => [...document.querySelectorAll("a, button, input, select")].filter((e) =>
  e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())
).map((e) => e.outerHTML)"""


def squeezed(text: str) -> str:
    """Return `text` without spaces: between elements it is the style that makes them."""
    return "".join(text.split())


async def sound(window: Watched, lang: str) -> None:
    """Check what holds for each page."""
    page = window.page
    assert await page.get_attribute("html", "lang") == LANG_TAGS[lang]
    assert await page.evaluate(CONTRAST) == []
    assert await page.evaluate(UNNAMED) == []
    assert await page.evaluate("document.querySelectorAll('h1').length") == 1
    assert await page.evaluate("document.querySelectorAll('main').length") == 1
    overflow = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    assert window.complaints == []


@pytest.mark.parametrize("lang", LANG_TAGS)
@pytest.mark.parametrize("size", SIZES)
async def test_pages_say_everything_in_both_languages_on_desktop_and_phone(
    shared_console: ConsoleProcess, open_window: OpenWindow, size: str, lang: str
) -> None:
    window = await open_window(shared_console.url, size=size, lang=lang)
    await window.go("/")
    await window.until("document.querySelectorAll('.card time:not(:empty)').length >= 6")
    assert window.page.url == f"{shared_console.url}{lang}/"
    assert await window.page.title() == TITLES[lang]
    told = await window.text("body")
    for text in (*ROOMS[lang], *MORE_ROOMS[lang]):
        assert squeezed(text) in squeezed(told), text
    await sound(window, lang)
    await window.shot(f"rooms-{size}-{lang}")

    await window.go(f"/{lang}/gateways")
    await window.until("document.querySelectorAll('.gateway time:not(:empty)').length >= 4")
    told = await window.text("body")
    for text in (*GATEWAYS[lang], *MORE_GATEWAYS[lang]):
        assert squeezed(text) in squeezed(told), text
    await sound(window, lang)
    await window.shot(f"gateways-{size}-{lang}")

    await window.go(f"/{lang}/room/r101")
    await window.until("document.querySelectorAll('.plot svg path').length > 20")
    await sound(window, lang)
    await window.shot(f"room-{size}-{lang}")

    await window.go(f"/{lang}/room/g1")
    await window.until("document.querySelectorAll('.plot svg').length === 2")
    told = squeezed(await window.text(".figures"))
    for name in (
        ("班级平均心率", "参与平均的人数") if lang == "zh" else ("Class mean heart rate", "Pupils in that mean")
    ):
        assert squeezed(name) in told
    await sound(window, lang)

    await window.go(f"/{lang}/about")
    told = await window.text("body")
    for text in ABOUT[lang]:
        assert squeezed(text) in squeezed(told), text
    await sound(window, lang)
    await window.shot(f"about-{size}-{lang}")


@pytest.mark.parametrize(("size", "lang"), [("desktop", "zh"), ("desktop", "en"), ("phone", "zh")])
async def test_an_everyday_picture(make_console: MakeConsole, open_window: OpenWindow, size: str, lang: str) -> None:
    """The pictures of docs/images are copies of these."""
    console = make_console()
    console.scene.set("everyday", "yes")
    window = await open_window(console.url, size=size, lang=lang)
    await window.go(f"/{lang}/")
    await window.until("document.querySelectorAll('.card time:not(:empty)').length >= 6")
    await sound(window, lang)
    SHOTS.mkdir(parents=True, exist_ok=True)
    await window.page.screenshot(path=SHOTS / f"everyday-{size}-{lang}.png")


async def test_a_chart_has_lines_for_limits_and_gaps_for_gaps(
    shared_console: ConsoleProcess, open_window: OpenWindow
) -> None:
    window = await open_window(shared_console.url)
    await window.go("/en/room/r101?day=2026-03-02")
    await window.until("document.querySelectorAll('.plot svg').length === 5")
    drawn = await window.text(".figure:first-child .plot")
    assert "≤ 1,000 ppm · GB/T 17226-2017" in drawn
    # The school's wall clock, though this browser's is half a day away.
    assert "04:00 08:00 12:00 16:00 20:00 00:00 00:00" in drawn
    # A gap breaks the line into two runs: its path begins twice.
    paths: list[str] = await window.page.eval_on_selector_all(
        ".figure:first-child .plot path[stroke='#0072B2'][fill='none']", "all => all.map((e) => e.getAttribute('d'))"
    )
    assert max(path.count("M") for path in paths) == 2
    dashed = await window.page.eval_on_selector_all(
        ".figure:first-child .plot path[stroke='#A33F00']", "all => all.map((e) => e.getAttribute('stroke-dasharray'))"
    )
    assert len(dashed) == 1
    assert dashed[0]
    described: str = await window.page.get_attribute(".figure:first-child .chart", "aria-label") or ""
    assert "2026-03-02" in described
    assert "≤ 1,000 ppm" in described
    assert "highest 1,310 ppm" in described
    assert "beyond its limit for 4 h" in await window.text(".figure:first-child .figure-summary")
    # Early in the morning somebody was there: the chart's pointer tells no exact number of few.
    plot = window.page.locator(".figure:last-child .plot")
    await plot.scroll_into_view_if_needed()
    box = await plot.bounding_box()
    assert box is not None
    told = set()
    for place in range(60):
        await window.page.mouse.move(box["x"] + box["width"] * (0.3 + place / 400), box["y"] + box["height"] / 2)
        told.update((await plot.inner_text()).split())
    assert "1–4" in told
    await window.page.click("[aria-label='Next day']")
    await window.page.wait_for_url("**day=2026-03-03")
    await window.page.fill("input[type=date]", "2026-03-05")
    await window.page.wait_for_url("**day=2026-03-05")
    assert window.complaints == []


async def test_the_language_is_switched_in_place_and_remembered(
    shared_console: ConsoleProcess, open_window: OpenWindow
) -> None:
    window = await open_window(shared_console.url, lang="en")
    await window.go("/en/room/r102?day=2026-03-02")
    await window.page.click("text=中文")
    await window.page.wait_for_url(f"{shared_console.url}zh/room/r102?day=2026-03-02")
    assert "当天曲线" in await window.text("body")
    await window.go("/")
    assert window.page.url == f"{shared_console.url}zh/"


async def test_everything_can_be_reached_by_keyboard(shared_console: ConsoleProcess, open_window: OpenWindow) -> None:
    window = await open_window(shared_console.url)
    await window.go("/en/")
    reached: list[dict[str, Any]] = []
    for _ in range(24):
        await window.page.keyboard.press("Tab")
        reached.append(
            await window.page.evaluate(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                return {told: (e.ariaLabel || e.textContent).trim(), outline: s.outlineStyle} }"""
            )
        )
    told = [one["told"] for one in reached]
    assert told[:6] == ["Skip to content", "Campus console", "Rooms", "Gateways", "Privacy", "中文"]
    assert "Charts of r104" in told
    assert [one for one in reached[:18] if one["outline"] != "solid"] == []
    await window.go("/en/")
    await window.page.keyboard.press("Tab")
    await window.page.keyboard.press("Enter")
    assert await window.page.evaluate("document.activeElement.id") == "content"


async def test_several_schools_have_a_switch(make_console: MakeConsole, open_window: OpenWindow) -> None:
    console = make_console()
    console.scene.set("sites", "demo-school east-school")
    window = await open_window(console.url)
    await window.go("/en/")
    await window.page.select_option("select[name=site]", "east-school")
    await window.page.wait_for_url("**site=east-school")
    await window.until("document.querySelectorAll('.card').length === 1")
    assert "1 room" in await window.text(".summary")
    await window.page.click("text=Gateways")
    await window.page.wait_for_url("**/gateways?site=east-school")
    assert "No gateway has been heard" in await window.text("body")


async def test_pages_that_do_not_exist_say_so(shared_console: ConsoleProcess, open_window: OpenWindow) -> None:
    window = await open_window(shared_console.url)
    await window.go("/en/nothing/here")
    assert "There is no such page" in await window.text("body")
    await window.go("/en/room/%3Cimg%20src=x%20onerror=alert(1)%3E")
    assert await window.text("h1") == "<img src=x onerror=alert(1)>"
    assert "There are no data of this room" in await window.text("body")
    assert [told for told in window.complaints if not told.startswith("404") and "404" not in told] == []
