"""`edge-agent privacy show`: one page, in Chinese and English, that says what is so."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.privacy.classes import CLASS_TABLE
from edge_agent.privacy.documents import Basis, Distance, DocumentKind
from edge_agent.privacy.wording import BASES, CLASSES, DISTANCES, DOCUMENTS, REASONS, say
from telemetry.sample import DataClass, WithheldReason
from tests.edge_agent.privacy.files import (
    BANDS_RULE,
    STRANGER,
    ago,
    consent,
    consents_text,
    handle,
    lesson,
    policy_text,
    roster_text,
    signed,
    write_documents,
    write_keys,
)

AGENT = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "{folder}/buffer"
[clock]
assume_synced = true
[privacy]
{privacy}
[[link]]
name = "box"
kind = "tcp"
host = "::1"
[[device]]
name = "r101-air"
room = "r101"
profile = "modbus/airbox_tcp"
link = "box"
[[link]]
name = "usb"
kind = "serial"
path = "/dev/ttyX"
[[device]]
name = "r101-cards"
room = "r101"
profile = "rfid/rdm6300"
link = "usb"
[[link]]
name = "radio"
kind = "bluetooth"
[[device]]
name = "gym-bands"
room = "gym"
profile = "ble/heart_rate_service"
link = "radio"
"""


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


@pytest.fixture
def gateway(tmp_path):
    """Write a gateway's files, its documents as given; return what `privacy show` says."""

    def show(*options, keys=("attendance", "pe_lesson"), **documents):
        lines = write_documents(tmp_path, **documents)
        if keys:
            (tmp_path / "keys.toml").unlink(missing_ok=True)
            lines += f'key_file = "{write_keys(tmp_path / "keys.toml", *keys)}"\n'
        config = tmp_path / "agent.toml"
        config.write_text(AGENT.format(folder=tmp_path, privacy=lines))
        done = CliRunner().invoke(app, ["privacy", "show", "--config", str(config), *options])
        assert done.exit_code == 0, done.output
        assert not (tmp_path / "privacy").exists()
        page = done.output.splitlines()
        if "--json" not in options:
            assert len(page) <= 50
            assert max(map(width, page)) <= 100
        return done.output

    return show


POLICY = policy_text(
    more=BANDS_RULE + 'binding = "roster"\nhours = "lessons"\nretention_days = 3\npoints = ["heart_rate"]\n'
)
CONSENTS = (
    consents_text(handle("attendance"), handle("attendance", "1"))
    + consent(handle("attendance", "2"), given_by="self")
    + consent(handle("attendance", "3"), until=ago(days=1))
    + consent(handle("pe_lesson"), purpose="pe_lesson")
)
ALL = {"policy": POLICY, "consents": CONSENTS, "roster": roster_text(lesson())}


def test_the_page_in_chinese_says_what_leaves_and_what_stays(gateway):
    page = gateway(**ALL)
    leaves, _, stays = page.partition("留在本地")
    assert "学校 demo-school · 网关 gw-101 · 学年 2026-2027" in page
    assert re.search(r"策略: 生效: 序号 1, \d+ 分钟前签发, 有效至 2100-01-01 00:00", page)
    assert "+ 个人信息 (personal, L3) · attendance 考勤 (依据: 个人同意) · presence (1)" in leaves
    assert "去向 校内 · 主题 telemetry/personal · 库 campus_personal · 保存 180 天" in leaves
    assert "同意人数 2" in leaves
    assert "+ 敏感个人信息 (sensitive, L4) · pe_lesson 体育课心率" in leaves
    assert "保存 3 天" in leaves
    assert "按课表绑定的手环 · 同意人数 1 · 时间 上课时" in " ".join(leaves.split())
    assert "环境能耗 (open, L1)" in leaves
    assert "battery, energy, rr_interval (1): 策略不许此测点" in " ".join(stays.split())
    assert "bands_seen (1): 策略不许此用途" in stays
    assert "没有" not in leaves


def test_the_page_in_english_says_the_same(gateway):
    page = gateway("--lang", "en", **ALL)
    leaves, _, stays = page.partition("What stays here")
    assert re.search(r"policy: in force: serial 1, issued \d+ min ago, valid until 2100-01-01 00:00", page)
    assert "+ persons (personal, L3) · attendance attendance (basis: consent) · presence (1)" in leaves
    assert "to school · topic telemetry/personal · bucket campus_personal · kept 180 days" in leaves
    assert "consented 2" in leaves
    assert "no rule for this point" in stays


GROUP_RULE = '\n[[rule]]\nclass = "group"\npurpose = "pe_lesson"\ndistance = "school"\n'


def test_class_means_stand_on_the_page_where_a_roster_makes_them(gateway):
    lessons = [
        lesson(name, on=f"{datetime.now(UTC):%Y-%m-%d}", bindings={"b" * 32: "c" * 32}) for name in ("c7-1", "c7-2")
    ]
    more = {"policy": POLICY + GROUP_RULE, "roster": roster_text(*lessons, lesson("c7-3"))}

    def means(**changes):
        page = json.loads(gateway("--json", **(ALL | more | changes)))
        return [(row["devices"], row["leaves"]) for row in page["rows"] if "heart_rate_mean" in row["points"]]

    assert means() == [(3, True)]  # two classes, beside the radio that counts the bands
    assert means(policy=POLICY) == [(3, False)]
    assert means(roster=roster_text(*lessons, last=ago(days=1))) == []
    assert means(consents=consents_text()) == means(keys=("attendance",)) == []
    assert "heart_rate_mean, pupils (3)" in " ".join(gateway(**(ALL | more)).split())


def test_no_handle_and_no_key_stands_on_the_page(gateway):
    for options in ((), ("--lang", "en"), ("--json",)):
        page = gateway(*options, **ALL)
        assert not re.search(r"[0-9a-f]{32}", page)


@pytest.mark.parametrize(
    ("changes", "zh", "reason"),
    [
        ({"policy": None}, "没有策略文件", "no_policy"),
        ({"policy": policy_text(last=ago(days=1))}, "策略已过期", "policy_expired"),
        ({"policy": policy_text(first=ago(days=-1))}, "策略尚未生效", "policy_not_yet_valid"),
        ({"policy": policy_text(issued_at=ago(days=-1))}, "所需文件被拒绝", "document_refused"),
        ({"consents": None}, "没有同意", "no_consent"),
        ({"consents": consents_text(handle("attendance"), issued_at=ago(hours=25))}, "太旧", "consents_too_old"),
        ({"consents": consents_text()}, "没有同意", "no_consent"),
        ({"keys": ()}, "没有此用途的密钥", "no_key"),
        ({"keys": ("library",)}, "没有此用途的密钥", "no_key"),
    ],
    ids=["none", "expired", "early", "future", "no list", "old list", "empty list", "no keys", "other keys"],
)
def test_what_is_closed_says_why(gateway, changes, zh, reason):
    page = gateway(**(ALL | changes))
    leaves, _, stays = page.partition("留在本地")
    assert "personal" not in leaves.partition("离开本网关")[2]
    assert zh in page.partition("离开本网关")[0] + stays
    rows = json.loads(gateway("--json", **(ALL | changes)))["rows"]
    assert {row["reason"] for row in rows if row["data_class"] == "personal"} == {reason}
    assert [row["leaves"] for row in rows if row["data_class"] in {"open", "ops"}] == [True, True]


def test_a_forged_document_is_told_in_both_languages(gateway, tmp_path):
    gateway(**ALL)
    (tmp_path / "policy.toml").write_bytes(signed(POLICY, STRANGER))
    config = str(tmp_path / "agent.toml")
    for lang, words in (("zh", "策略: 已拒绝: "), ("en", "policy: refused: ")):
        page = CliRunner().invoke(app, ["privacy", "show", "--config", config, "--lang", lang]).output
        assert words in page


def test_json_is_the_same_for_programs(gateway):
    page = json.loads(gateway("--json", **ALL))
    assert (page["schema"], page["site"], page["gateway"]) == ("campus.privacy-page/1", "demo-school", "gw-101")
    assert {kind: told["state"] for kind, told in page["documents"].items()} == dict.fromkeys(
        ("policy", "consents", "roster"), "in_force"
    )
    (attendance,) = [row for row in page["rows"] if row["purpose"] == "attendance"]
    assert attendance == {
        "data_class": "personal",
        "purpose": "attendance",
        "points": ["presence"],
        "devices": 1,
        "leaves": True,
        "reason": None,
        "grade": "L3",
        "distance": "school",
        "topic": "telemetry/personal",
        "bucket": "campus_personal",
        "retention_days": 180,
        "consent": True,
        "consented": 2,
        "bound": False,
        "hours": [],
        "min_group": None,
    }


def test_a_long_policy_still_fits_the_page_and_says_that_something_is_left_out(gateway):
    purposes = "".join(
        f'[[purpose]]\nname = "purpose_{number}"\nbasis = "law"\nzh = "{"长" * 90}"\nen = "{"long " * 30}"\n'
        for number in range(60)
    )
    rules = "".join(
        f'[[rule]]\nclass = "sensitive"\npurpose = "pe_lesson"\npoints = ["{name}"]\nhours = {hours}\n'
        for name, hours in (
            ("heart_rate", [["Mon-Fri", f"{hour:02}:00", f"{hour:02}:50"] for hour in range(7, 19)]),
            ("battery", [["Sat,Sun", "08:00", "09:00"]]),
        )
    )
    for lang in ("zh", "en"):
        gateway("--lang", lang, **(ALL | {"policy": policy_text(more=purposes + rules)}))
    from edge_agent.privacy.show import _cut

    assert _cut(["  + a", "    b", "  + c", "  + d"], 2, "{} more") == ["  + a", "2 more"]


def test_every_word_is_there_in_both_languages():
    tables = (
        (CLASSES, DataClass),
        (BASES, Basis),
        (DISTANCES, Distance),
        (DOCUMENTS, DocumentKind),
        (REASONS, WithheldReason),
        (CLASS_TABLE, DataClass),
    )
    for table, kinds in tables:
        assert set(table) == set(kinds)
    for table in (CLASSES, BASES, DISTANCES, DOCUMENTS, REASONS):
        assert all(re.search(r"[\u4e00-\u9fff]", say(text, "zh")) for text in table.values())
        assert all(say(text, "en").isascii() for text in table.values())


def test_another_language_is_wrong_usage(tmp_path):
    assert CliRunner().invoke(app, ["privacy", "show", "--lang", "fr"]).exit_code == 2
    absent = str(tmp_path / "absent")
    assert CliRunner().invoke(app, ["privacy", "show", "--config", absent]).exit_code == 78
