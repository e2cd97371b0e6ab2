"""What the console shows and what it never shows, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import Words
from cloud_ingest.console.parts import box, words
from cloud_ingest.console.texts import pick, text

if TYPE_CHECKING:
    from cloud_ingest.console.texts import Lang

_SECTIONS: Final[tuple[tuple[Words, tuple[Words, ...]], ...]] = (
    (
        Words(zh="这里显示什么", en="What is shown"),
        (
            Words(
                zh="房间的空气、光照、噪声等环境读数，以及它们与限值的比较。",
                en="Air, light and noise of rooms, and how they stand to their limits.",
            ),
            Words(
                zh="房间里的人数。1 至 4 人只显示为“1–4”，因为人少时确切的数字可能指向某个人。",
                en="How many people are in a room. One to four are shown as “1–4”: so few could be guessed.",
            ),
            Words(
                zh="每个房间今天的刷卡次数，只有总数。",
                en="How many cards were tapped in a room today, as a total.",
            ),
            Words(
                zh="体育课上的班级平均心率，每分钟一次，由网关对固定的小组整组计算：有人来去也推不出谁的心率。参与的人数只按五人一档显示。",
                en="In PE lessons a class's mean heart rate, once a minute. The gateway makes it of whole fixed "
                "groups, so nobody's rate follows from who comes and goes. How many pupils are in it is told in fives.",
            ),
            Words(
                zh="网关和设备是否正常工作，隐私文件是否有效，有多少数据在等待、被扣留或被丢弃。",
                en="Whether gateways and devices work, whether privacy documents are in force, and how much waits, was "
                "withheld or was dropped.",
            ),
        ),
    ),
    (
        Words(zh="这里从不显示什么", en="What is never shown"),
        (
            Words(
                zh="姓名、学号、卡号，或任何可以代表某个人的代号。",
                en="Names, numbers of pupils or cards, or any code that stands for a person.",
            ),
            Words(
                zh="某个人的到校时间、心率或行踪。",
                en="When one person came, how one heart beats, or where somebody is.",
            ),
            Words(
                zh="摄像头画面。画面只在网关内存中用于数人数，从不保存，也从不离开网关。",
                en="Pictures: people are counted in the gateway's memory; no picture is kept or leaves it.",
            ),
            Words(
                zh="情绪、注意力、行为的评分，或学生之间的排名。系统里没有这些功能。",
                en="Scores of mood, attention or behaviour, or ranks of pupils. The system has no such function.",
            ),
        ),
    ),
    (
        Words(zh="怎样看懂", en="How to read it"),
        (
            Words(
                zh="“无读数”表示传感器没有给出可信的数值，并写明原因；从不用旧数值或零代替。",
                en="“No reading” says that a sensor gave no number to trust, and why; no old number takes its place.",
            ),
            Words(
                zh="“已旧”表示数值比应有的更早；旁边写着它的时间。",
                en="“Out of date” means that a number is older than it should be; its age stands beside it.",
            ),
            Words(
                zh="限值后面写着出处；可由管理员按学校要求修改。",
                en="Each limit names its source; your school's IT can set others.",
            ),
            Words(
                zh="日期和钟点按学校所在时区。",
                en="Days and hours are those of the school's time zone.",
            ),
        ),
    ),
    (
        Words(zh="这个页面本身", en="This page itself"),
        (
            Words(
                zh="不从外部加载任何内容，没有统计或跟踪；只用两个 Cookie：语言，以及登录状态。",
                en="It loads nothing from elsewhere and tracks nobody. Its cookies: your language, and your login.",
            ),
            Words(
                zh="只能看，不能改：这里没有任何控制设备的功能。",
                en="It only shows: nothing can be switched or changed from here.",
            ),
        ),
    ),
)


def about(lang: Lang) -> None:
    """Build the page's content."""
    with box("div", "page-head"):
        words("h1", text("about", lang))
    with box("div", "prose"):
        for title, points in _SECTIONS:
            with box("section", "panel"):
                words("h2", pick(title, lang))
                with box("ul"):
                    for point in points:
                        words("li", pick(point, lang))
