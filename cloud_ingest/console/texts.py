"""Every text of the console in both languages, in one table; which language a visitor wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from cloud_ingest.console.model import Words

if TYPE_CHECKING:
    from collections.abc import Mapping

Lang = Literal["zh", "en"]
LANGS: Final[tuple[Lang, ...]] = ("zh", "en")
DEFAULT: Final[Lang] = "zh"
LANG_TAGS: Final[Mapping[Lang, Literal["zh-CN", "en-US"]]] = {"zh": "zh-CN", "en": "en-US"}
LANG_COOKIE: Final = "campus_lang"


def _w(zh: str, en: str) -> Words:
    return Words(zh=zh, en=en)


TEXTS: Final[Mapping[str, Words]] = {
    # Frame
    "product": _w("校园环境控制台", "Campus console"),
    "skip": _w("跳到正文", "Skip to content"),
    "main_nav": _w("主导航", "Main"),
    "rooms": _w("房间", "Rooms"),
    "gateways": _w("网关", "Gateways"),
    "about": _w("隐私与说明", "Privacy"),
    "site": _w("学校", "School"),
    "other_language": _w("English", "中文"),
    "log_out": _w("退出登录", "Log out"),
    "simulated": _w("模拟数据", "Simulated data"),
    "simulated_note": _w("此处显示的是模拟数据，不是真实测量。", "What you see here is simulated, not measured."),
    "store_problem": _w(
        "数据库暂时没有应答：显示的是之前读到的数值，其时间照常计算。",
        "The database does not answer: you see what was read before; the ages are true.",
    ),
    "broker_problem": _w(
        "消息代理暂时连不上：网关的状态可能已过时。",
        "The message broker cannot be reached: what is said of gateways may be out of date.",
    ),
    # Rooms
    "rooms_title": _w("房间一览", "All rooms"),
    "no_rooms": _w("还没有数据", "No data yet"),
    "no_rooms_hint": _w(
        "网关送来第一批读数后，房间会自动出现在这里。请在“网关”页查看网关是否在线。",
        "Rooms appear here by themselves with their first readings. See under Gateways whether one is online.",
    ),
    "sum_rooms": _w("{n} 个房间", "{n} rooms"),
    "sum_rooms_1": _w("1 个房间", "1 room"),
    "sum_fine": _w("全部正常", "nothing to see to"),
    "sum_beyond": _w("{n} 项超出限值", "{n} beyond a limit"),
    "sum_bad": _w("{n} 项没有有效读数", "{n} without a reading"),
    "sum_stale": _w("{n} 项读数已旧", "{n} out of date"),
    "updated": _w("更新于", "updated"),
    "taps_today": _w("今日刷卡", "Taps today"),
    "taps": _w("\u00a0次", ""),
    "open_room": _w("{room} 的当天曲线", "Charts of {room}"),
    "details": _w("当天曲线", "Day's charts"),
    # State of a value
    "within": _w("正常", "within limit"),
    "above": _w("高于限值", "above limit"),
    "below": _w("低于限值", "below limit"),
    "unjudged": _w("", ""),
    "stale": _w("已旧", "out of date"),
    "bad": _w("无读数", "no reading"),
    "bad_because": _w("无读数：{why}", "no reading: {why}"),
    "withheld_because": _w("{what}：{why}", "{what}: {why}"),
    "suspect": _w("存疑", "doubtful"),
    "clock_uncertain": _w("时间不准", "time uncertain"),
    "yes": _w("是", "yes"),
    "no": _w("否", "no"),
    "at_most": _w("≤ {high}", "≤ {high}"),
    "at_least": _w("≥ {low}", "≥ {low}"),
    "between": _w("{low}–{high}", "{low}–{high}"),
    "limit": _w("限值 {limit}（{label}，{source}）", "Limit {limit} ({label}, {source})"),
    # Room detail
    "back": _w("返回房间一览", "All rooms"),
    "day": _w("日期", "Day"),
    "previous_day": _w("前一天", "Previous day"),
    "next_day": _w("后一天", "Next day"),
    "today": _w("今天", "Today"),
    "now": _w("当前", "Now"),
    "no_chart": _w("这一天没有数据。", "There are no data of this day."),
    "chart_failed": _w(
        "数据库没有应答，曲线暂时画不出来。稍后会自动重试。",
        "The database does not answer; the charts are tried again soon.",
    ),
    "lowest": _w("最低", "lowest"),
    "highest": _w("最高", "highest"),
    "mean": _w("平均", "mean"),
    "beyond_for": _w("超出限值 {time}", "beyond its limit for {time}"),
    "never_beyond": _w("全天未超出限值", "never beyond its limit"),
    "gaps_note": _w(
        "曲线中断处没有有效读数，不做插值。", "Where a line is broken there was no good reading; nothing is filled in."
    ),
    "chart_aria": _w("{quantity} 曲线，{day}。{summary}", "Chart of {quantity}, {day}. {summary}"),
    "no_room": _w("没有这个房间的数据。", "There are no data of this room."),
    # Gateways
    "gateways_title": _w("网关", "Gateways"),
    "no_gateways": _w("还没有网关报到", "No gateway has been heard"),
    "no_gateways_hint": _w(
        "网关连上消息代理后会自动出现在这里。",
        "A gateway appears here by itself once it reaches the message broker.",
    ),
    "online": _w("在线", "online"),
    "offline": _w("离线", "offline"),
    "unknown": _w("未知", "unknown"),
    "last_contact": _w("最近联系", "Last contact"),
    "backlog": _w("待发积压", "Waiting to be sent"),
    "batches": _w("{n} 批", "{n} batches"),
    "batches_1": _w("1 批", "1 batch"),
    "backlog_more": _w("{batches}（{values} 个数值，{bytes}）", "{batches} ({values} values, {bytes})"),
    "none_waiting": _w("无", "nothing"),
    "oldest": _w("最早一批", "Oldest of it"),
    "hours_left": _w("断网可存", "Room without network"),
    "hours_about": _w("约 {time}", "about {time}"),
    "clock": _w("时钟", "Clock"),
    "clock_synced": _w("已同步", "synchronised"),
    "clock_unsynced": _w("未同步：读数等待校时", "not synchronised: readings wait"),
    "uptime": _w("已运行", "Running for"),
    "version": _w("版本", "Version"),
    "gate_closed": _w("隐私闸门对人关闭", "The privacy gate is closed for people"),
    "gate_closed_note": _w(
        "与人有关的数据一律不离开网关；空气和能耗数据照常发送。", "Nothing about people leaves; air and energy go on."
    ),
    "gate_closed_why": _w("原因：{why}。", "Why: {why}."),
    "gate_document": _w("{document}{state}", "{document} {state}"),
    "sum_gates_closed": _w("{n} 个对人关闭", "{n} closed for people"),
    "sum_gates_closed_1": _w("1 个对人关闭", "1 closed for people"),
    "documents": _w("隐私文件", "Privacy documents"),
    "serial": _w("序号 {n}", "serial {n}"),
    "issued_ago": _w("{time}前签发", "issued {time} ago"),
    "valid_for": _w("还有 {time}", "{time} left"),
    "over_since": _w("{time}前失效", "ended {time} ago"),
    "audit": _w("审计记录", "Audit log"),
    "audit_head": _w("{n} 条（{digest}…）", "{n} entries ({digest}…)"),
    "audit_broken": _w("写不进去", "cannot be written"),
    "withheld_title": _w("按隐私规则留在教室", "Kept in the room by the privacy rules"),
    "dropped_title": _w("丢失或拒收", "Lost or refused"),
    "alarm_title": _w("需要留意", "To look at"),
    "no_drops": _w("没有丢弃，也没有扣留。", "Nothing was dropped or withheld."),
    "since_start": _w("自网关启动以来", "since the gateway started"),
    "devices": _w("设备", "Devices"),
    "device": _w("设备", "Device"),
    "room": _w("房间", "Room"),
    "model": _w("型号", "Model"),
    "state": _w("状态", "State"),
    "last_reading": _w("最近读数", "Last reading"),
    "up": _w("正常", "works"),
    "down": _w("故障", "down"),
    "starting": _w("启动中", "starting"),
    "never": _w("从未", "never"),
    "sum_gateways": _w("{n} 个网关", "{n} gateways"),
    "sum_gateways_1": _w("1 个网关", "1 gateway"),
    "sum_offline": _w("{n} 个离线", "{n} offline"),
    "sum_devices_down": _w("{n} 台设备故障", "{n} devices down"),
    "sum_devices_down_1": _w("1 台设备故障", "1 device down"),
    "sum_offline_1": _w("1 个离线", "1 offline"),
    # Login
    "login_title": _w("登录", "Log in"),
    "password": _w("密码", "Password"),
    "log_in": _w("登录", "Log in"),
    "wrong_password": _w("密码不对。", "That is not the password."),
    "too_many": _w("尝试次数太多，请 {n} 秒后再试。", "Too many tries. Try again in {n} s."),
    "login_hint": _w("密码由信息中心管理员设置。", "The password is set by your school's IT."),
    # Errors
    "not_found": _w("没有这个页面", "There is no such page"),
}


def text(key: str, lang: Lang, **values: object) -> str:
    """Return text `key` in `lang` with `values` filled in. Raises KeyError for an unknown key."""
    words = TEXTS[key]
    chosen = words.zh if lang == "zh" else words.en
    return chosen.format(**values) if values else chosen


def pick(words: Words, lang: Lang) -> str:
    """Return `words` in `lang`."""
    return words.zh if lang == "zh" else words.en


def counted(key: str, lang: Lang, number: int) -> str:
    """Return text `key` with the number, in its singular form for 1 where the language has one."""
    return text(f"{key}_1", lang) if number == 1 else text(key, lang, n=number)


def preferred(cookie: str | None, accept_language: str) -> Lang:
    """Return the language of a visitor who asks for no page in particular."""
    for lang in LANGS:
        if cookie == lang:
            return lang
    for entry in accept_language.lower().split(","):
        name = entry.strip()
        if name.startswith("zh"):
            return "zh"
        if name.startswith("en"):
            return "en"
    return DEFAULT
