"""`edge-agent privacy`: the officer's commands, from the first key to a look-up that is written down."""

from __future__ import annotations

import json
import stat
import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.privacy import load_keys, load_trusted
from edge_agent.privacy.link import verify_log
from edge_agent.privacy.master import is_school_year, load_master_key
from edge_agent.privacy.reading import read_document
from telemetry.errors import ConfigError
from tests.edge_agent.privacy.files import CARD, MASTER, SITE, consents_text, handle, policy_text, roster_text, subkey

YEAR = "2026-2027"


def run(*arguments, stdin: str | None = None, code: int = 0):
    done = CliRunner().invoke(app, ["privacy", *map(str, arguments)], input=stdin)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


@pytest.fixture
def office(tmp_path):
    folder = tmp_path / "office"
    run("keygen", "--site", SITE, "--out", folder)
    return folder


@pytest.fixture
def known(office):
    """The office of the tests' own master key."""
    key = office / "master.key"
    key.write_text(f'schema = "campus.master-key/1"\nsite = "{SITE}"\nkey = "{MASTER.hex()}"\n')
    return key


def test_keygen_makes_three_files_and_says_how_to_keep_them(tmp_path):
    folder = tmp_path / "office"
    said = run("keygen", "--site", SITE, "--out", folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"master.key": 0o600, "officer.pem": 0o600, "officer.pub": 0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (key,) = load_trusted([folder / "officer.pub"]).values()
    assert key.comment == f"officer of {SITE}"
    assert said.count(key.key_id) == 2
    assert "保险柜" in said
    assert "safe" in said
    master = load_master_key(folder / "master.key")
    assert master.key not in said + repr(master)
    assert len(bytes.fromhex(master.key)) == 32


def test_no_key_is_ever_overwritten(office):
    before = {path.name: path.read_bytes() for path in office.iterdir()}
    assert run("keygen", "--site", SITE, "--out", office, code=78).count("exists already") == 3
    assert {path.name: path.read_bytes() for path in office.iterdir()} == before
    keys = office / "gw.toml"
    base = ("gateway-keys", "--master", office / "master.key", "--purpose", "attendance", "--school-year", YEAR)
    run(*base, "--out", keys)
    assert "exists already" in run(*base, "--out", keys, code=78)


def test_a_gateway_gets_its_purposes_and_its_year_and_no_more(known, tmp_path):
    out = tmp_path / "gw-101.toml"
    purposes = ("--purpose", "attendance", "--purpose", "pe_lesson")
    said = run("gateway-keys", "--master", known, *purposes, "--school-year", YEAR, "--out", out)
    keys = load_keys(out)
    assert keys.keys == {purpose: subkey(purpose).hex() for purpose in ("attendance", "pe_lesson")}
    assert (keys.site, keys.school_year, keys.simulated) == (SITE, YEAR, False)
    assert MASTER.hex() not in out.read_text() + said
    assert subkey("attendance").hex() not in said
    run("gateway-keys", "--master", known, *purposes, "--school-year", YEAR, "--simulated", "--out", tmp_path / "demo")
    assert load_keys(tmp_path / "demo").simulated


@pytest.mark.parametrize("year", ["2026", "2026-2028", "2026/2027", "26-27", "2027-2026", "2026-2027 "])
def test_a_misspelt_school_year_is_refused_since_it_would_give_other_handles(known, year, tmp_path):
    base = ("gateway-keys", "--master", known, "--purpose", "attendance", "--out", tmp_path / "x")
    assert "is no school year" in run(*base, "--school-year", year, code=78)
    assert not is_school_year(year)


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_keys_that_others_may_read_are_not_used(office, mode, tmp_path):
    for name in ("master.key", "officer.pem"):
        (office / name).chmod(mode)
    base = ("--purpose", "attendance", "--school-year", YEAR)
    told = run("gateway-keys", "--master", office / "master.key", *base, "--out", tmp_path / "x", code=78)
    assert f"others may read it (mode {mode:04o})" in told
    path = tmp_path / "policy.toml"
    path.write_text(policy_text())
    assert "others may read it" in run("sign", path, "--key", office / "officer.pem", code=78)


@given(st.binary(max_size=200))
def test_what_is_no_master_key_is_refused_and_not_quoted(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        load_master_key(path)
    path.write_text(f'schema = "campus.master-key/1"\nsite = 1\nkey = "{MASTER.hex()}"\n')
    with pytest.raises(ConfigError) as caught:
        load_master_key(path)
    assert MASTER.hex() not in str(caught.value)


@pytest.mark.parametrize(
    "text", [policy_text(), consents_text(handle("attendance")), roster_text()], ids=["policy", "consents", "roster"]
)
def test_what_is_signed_is_verified_and_taken_by_a_gateway(office, tmp_path, text):
    path, out = tmp_path / "document.toml", tmp_path / "signed.toml"
    path.write_text(text.replace("\n", "\r\n"))  # written on Windows
    said = run("sign", path, "--key", office / "officer.pem", "--out", out)
    assert "serial 1" in said
    assert out.read_text().startswith(text)
    assert "serial 1" in run("verify", out, "--trusted", office / "officer.pub")
    read_document(out.read_bytes(), site=SITE, trusted=load_trusted([office / "officer.pub"]))
    once = out.read_bytes()
    run("sign", out, "--key", office / "officer.pem")
    assert out.read_bytes() == once
    out.write_bytes(once.replace(b"serial = 1", b"serial = 2"))
    assert "was altered after it was signed" in run("verify", out, "--trusted", office / "officer.pub", code=1)
    assert "is for site" in run(
        "verify", signed_again(office, out), "--trusted", office / "officer.pub", "--site", "x", code=1
    )


def signed_again(office, path):
    run("sign", path, "--key", office / "officer.pem")
    return path


def test_renewing_raises_the_serial_and_the_time_and_keeps_the_rest(office, tmp_path):
    path = tmp_path / "consents.toml"
    text = "# 高一年级\n" + consents_text(handle("attendance"), serial=41, issued_at="2026-09-01 08:00:00+08:00 # then")
    path.write_text(text)
    said = run("sign", path, "--key", office / "officer.pem", "--renew")
    assert "serial 42" in said
    table = tomllib.loads(path.read_text())
    assert table["serial"] == 42
    assert abs((table["issued_at"] - datetime.now(UTC)).total_seconds()) < 10
    unchanged = [line for line in text.splitlines() if not line.startswith(("serial", "issued_at"))]
    assert [line for line in path.read_text().splitlines() if line in unchanged] == unchanged
    assert "# then" in path.read_text()
    run("sign", path, "--key", office / "officer.pem", "--renew")
    assert tomllib.loads(path.read_text())["serial"] == 43


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (policy_text().replace("personal", "secret"), "rule.0.class"),
        (consents_text(CARD), "is not a handle"),
        ("", "its schema is none of"),
        (b"\xff", "is not TOML"),
    ],
    ids=["class", "handle", "empty", "bytes"],
)
def test_what_no_gateway_would_take_is_not_signed(office, tmp_path, text, told):
    path = tmp_path / "document.toml"
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    said = run("sign", path, "--key", office / "officer.pem", code=78)
    assert told in said
    assert CARD not in said
    assert path.read_bytes() == content


def test_a_wrong_file_is_said(office, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(policy_text())
    assert "is not an Ed25519 private key" in run("sign", path, "--key", office / "master.key", code=78)
    assert "No such file" in run("sign", tmp_path / "absent", "--key", office / "officer.pem", code=78)
    assert "No such file" in run("sign", path, "--key", tmp_path / "absent", code=78)
    assert "private key, which belongs to the officer alone" in run(
        "verify", path, "--trusted", office / "officer.pem", code=78
    )
    assert "is not signed" in run("verify", path, "--trusted", office / "officer.pub", code=1)
    assert "cannot be a site's name" in run("keygen", "--site", "a b", "--out", tmp_path / "x", code=78)


def test_handles_of_a_list(known, tmp_path):
    base = ("handle", "--master", known, "--purpose", "attendance", "--school-year", YEAR, "--kind", "card")
    assert run(*base, stdin=f"{CARD}\n\n 0A0012ABCE \n").split() == [
        handle("attendance"),
        handle("attendance", "0A0012ABCE"),
    ]
    ids = tmp_path / "ids.txt"
    ids.write_text(CARD)
    assert run(*base, "--ids", ids).strip() == handle("attendance")
    assert "No such file" in run(*base, "--ids", tmp_path / "absent", code=78)


def test_a_list_of_bands_becomes_the_bindings_of_a_lesson(known):
    base = ("bindings", "--master", known, "--purpose", "pe_lesson", "--school-year", YEAR)
    said = run(*base, stdin=f"C40000A1B2C3,{CARD}\nC40000A1B2C4, 0A0012ABCE\n")
    assert tomllib.loads(said)["lesson"]["bindings"] == {
        handle("pe_lesson", "C40000A1B2C3", "band"): handle("pe_lesson", CARD),
        handle("pe_lesson", "C40000A1B2C4", "band"): handle("pe_lesson", "0A0012ABCE"),
    }
    assert "line 1: is not 'band,pupil'" in run(*base, stdin="C40000A1B2C3\n", code=78)
    twice = run(*base, stdin=f"B1,{CARD}\nB1,{CARD}\n", code=78)
    assert "line 2: the band stands there twice" in twice
    assert CARD not in twice


def test_a_list_of_people_becomes_a_list_of_consents(known, office, tmp_path):
    base = ("consents", "--master", known, "--purpose", "attendance", "--school-year", YEAR, "--kind", "card")
    said = run(*base, stdin=f"{CARD},guardian,under14,2027-07-15\n0A0012ABCE, self, 14+, 2027-01-31\n")
    path = tmp_path / "consents.toml"
    path.write_text(consents_text() + said)
    run("sign", path, "--key", office / "officer.pem")
    (first, second) = tomllib.loads(path.read_text())["consent"]
    assert (first["handle"], first["given_by"], first["under_14"]) == (handle("attendance"), "guardian", True)
    assert first["valid_until"].isoformat() == "2027-07-15T23:59:59+08:00"
    assert (second["given_by"], second["under_14"]) == ("self", False)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (CARD, "is not 'identifier,guardian,under14,2027-07-15'"),
        (f"{CARD},teacher,under14,2027-07-15", "who: guardian or self"),
        (f"{CARD},guardian,12,2027-07-15", "age: under14 or 14+"),
        (f"{CARD},self,under14,2027-07-15", "a child under 14 cannot consent itself"),
        (f"{CARD},guardian,under14,15.7.2027", "its date is none"),
        (f"{CARD},guardian,under14,2027-07-15\n{CARD},self,14+,2027-07-15", "line 2: somebody stands there twice"),
    ],
    ids=["short", "who", "age", "child", "date", "twice"],
)
def test_a_wrong_line_is_named_by_its_number_and_not_quoted(known, line, told):
    base = ("consents", "--master", known, "--purpose", "attendance", "--school-year", YEAR, "--kind", "card")
    said = run(*base, stdin=line, code=78)
    assert told in said
    assert CARD not in said


def test_a_look_up_finds_and_is_written_down_first(known, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text(f"0A0012ABCE\n{CARD}\n")
    base = ("--master", known, "--school-year", YEAR, "--kind", "card", "--ids", ids, "--reason", "消防点名")
    purposes = ("--purpose", "library", "--purpose", "attendance")
    assert run("link", handle("attendance"), *base, *purposes).split() == [CARD, "(attendance)"]
    assert "nobody on the list" in run("link", handle("attendance"), *base, "--purpose", "library", code=1)
    assert "nobody on the list" in run("link", handle("attendance", year="2027-2028"), *base, *purposes, code=1)
    log = known.parent / "link-audit.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["asked", "answered"] * 3
    assert [line.get("found") for line in lines[1::2]] == [True, False, False]
    assert lines[0]["reason"] == "消防点名"
    assert lines[0]["by"]
    assert CARD not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert verify_log(log) == []
    log.write_text(log.read_text().replace("消防点名", "好奇", 1))
    assert verify_log(log) == [2]
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines()[1:]))
    assert verify_log(log)[0] == 1


def test_a_look_up_that_cannot_be_written_down_is_not_made(known, tmp_path):
    (known.parent / "link-audit.jsonl").mkdir()
    ids = tmp_path / "ids.txt"
    ids.write_text(CARD)
    base = ("link", handle("attendance"), "--master", known, "--purpose", "attendance", "--school-year", YEAR)
    said = run(*base, "--kind", "card", "--ids", ids, "--reason", "r", code=78)
    assert CARD not in said
    assert "is not made unless it can be written down" in said
    assert "--reason" in run(*base, "--kind", "card", "--ids", ids, "--reason", " ", code=78)
