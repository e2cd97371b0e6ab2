"""Keys and handles: fixed by the contract's text, never printed, refused where others may read them."""

import hashlib
import hmac
import pprint
import traceback

import pytest
from rich.pretty import pretty_repr

from edge_agent.privacy import GatewayKeys, load_keys
from telemetry.errors import ConfigError
from telemetry.sample import Subject
from tests.edge_agent.privacy.files import CARD, MASTER, handle, subkey, write_keys

SUBJECT = Subject(kind="card", identifier=CARD)
KNOWN = subkey("attendance").hex()


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_keys(path)
    text = "".join(traceback.format_exception(caught.value))
    assert KNOWN not in text
    assert all(problem.where.startswith(str(path)) and problem.mend for problem in caught.value.problems)
    return str(caught.value)


def test_our_hkdf_is_the_one_of_rfc_5869():
    """Test case 3: empty salt and info; the first block of the output."""
    extracted = hmac.digest(bytes(32), b"\x0b" * 22, "sha256")
    assert extracted.hex() == "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"
    expanded = hmac.digest(extracted, b"\x01", "sha256")
    assert expanded.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


def test_a_handle_is_what_the_contract_says(tmp_path):
    keys = load_keys(write_keys(tmp_path / "keys.toml", "attendance"))
    message = b"campus-handle/1\x00card\x000A0012ABCD"
    expected = hmac.new(subkey("attendance"), message, hashlib.sha256).hexdigest()[:32]
    assert keys.handle("attendance", SUBJECT) == expected
    assert len(expected) == 32
    assert CARD.lower() not in expected


def test_a_handle_never_changes_between_versions():
    """A fixed vector: master key 00 01 … 1f, site demo-school, school year 2026-2027."""
    assert MASTER.hex().startswith("000102")
    keys = GatewayKeys(
        schema="campus.gateway-keys/1", site="demo-school", school_year="2026-2027", keys={"attendance": KNOWN}
    )
    assert keys.handle("attendance", SUBJECT) == "506a11de0736c203f3479cf10b6fc5cb"


def test_another_purpose_year_site_key_kind_or_card_gives_another_handle(tmp_path):
    variants = [
        {},
        {"year": "2027-2028"},
        {"site": "other-school"},
        {"master": bytes(32)},
    ]
    handles = set()
    for variant in variants:
        keys = load_keys(write_keys(tmp_path / "keys.toml", "attendance", "library", **variant))
        for purpose in ("attendance", "library"):
            found = keys.handle(purpose, SUBJECT)
            assert found == handle(purpose, **variant)
            handles.add(found)
    keys = load_keys(write_keys(tmp_path / "keys.toml", "attendance"))
    handles.add(keys.handle("attendance", Subject(kind="wristband", identifier=CARD)))
    handles.add(keys.handle("attendance", Subject(kind="card", identifier="0A0012ABCE")))
    assert len(handles) == 2 * len(variants) + 2
    assert keys.handle("attendance", SUBJECT) == keys.handle("attendance", SUBJECT)


def test_without_a_key_for_the_purpose_there_is_no_handle(tmp_path):
    assert load_keys(write_keys(tmp_path / "keys.toml", "library")).handle("attendance", SUBJECT) is None


@pytest.mark.parametrize("show", [repr, str, "{}".format, pprint.pformat, pretty_repr])
def test_keys_are_never_printed(tmp_path, show):
    keys = load_keys(write_keys(tmp_path / "keys.toml", "attendance"))
    assert KNOWN not in show(keys)
    assert KNOWN not in show([keys])
    assert "demo-school" in show(keys)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_file_that_others_may_read_is_refused(tmp_path, mode):
    path = write_keys(tmp_path / "keys.toml", "attendance", mode=mode)
    text = refusal(path)
    assert f"others may read it (mode {mode:04o}) → chmod 600 {path}" in text


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_file_that_only_the_agent_may_read_is_taken(tmp_path, mode):
    assert load_keys(write_keys(tmp_path / "keys.toml", "attendance", mode=mode)).site == "demo-school"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (KNOWN, KNOWN + "00"),
        (KNOWN, KNOWN.upper()),
        (f'"{KNOWN}"', f'["{KNOWN}"]'),
        ("attendance =", f'"{KNOWN}" ='),
        (f'attendance = "{KNOWN}"', f'attendance = {{ key = "{KNOWN}" }}'),
        ("campus.gateway-keys/1", "campus.gateway-keys/2"),
        ("site =", f'master = "{KNOWN}"\nsite ='),
        ("[keys]", "[key]"),
        (f'"{KNOWN}"', KNOWN),
        (f'"{KNOWN}"', f'"{KNOWN}'),
    ],
)
def test_a_broken_key_file_is_refused_and_its_keys_are_not_printed(tmp_path, old, new):
    path = write_keys(tmp_path / "keys.toml", "attendance")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        keys = load_keys(path)
    except ConfigError:
        refusal(path)
    else:
        assert keys.handle("attendance", SUBJECT) is None


def test_a_missing_file_a_folder_and_no_text_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "absent.toml")
    (tmp_path / "folder").mkdir(mode=0o700)
    assert "directory" in refusal(tmp_path / "folder")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    assert "is not a TOML file" in refusal(path)


@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o400, True), (0o444, False)])
def test_a_systemd_credential_is_taken_with_group_rights_and_no_more(tmp_path, monkeypatch, mode, taken):
    path = write_keys(tmp_path / "keys.toml", "attendance", mode=mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    if taken:
        assert load_keys(path).site == "demo-school"
    else:
        refusal(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    if mode != 0o400:
        refusal(path)
