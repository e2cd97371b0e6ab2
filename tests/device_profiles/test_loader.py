"""The loader: every shipped profile is sound; a wrong one is named by file, key and mend; no name leads elsewhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles import SHIPPED, load_profile, profile_ids, read_profile
from telemetry.errors import ConfigError
from telemetry.profile import DeviceProfile
from telemetry.sample import PERSON_CLASSES

SOUND = """
id = "{id}"
version = "1.0.0"
name = {{ zh = "测", en = "test" }}
manufacturer = "m"
model = "m"
driver = "modbus"
measurement = "environment"
{more}
[[point]]
name = "co2"
quantity = "co2"
{point}
"""


def write(folder: Path, profile_id: str, *, text: str | None = None, more: str = "", point: str = "") -> Path:
    path = folder / f"{profile_id}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOUND.format(id=profile_id, more=more, point=point) if text is None else text, encoding="utf-8")
    return path


def problem_of(profile_id: str, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_profile(profile_id, [folder])
    (problem,) = caught.value.problems
    assert problem.mend
    return str(problem)


def test_there_are_profiles_to_check():
    assert {"modbus/multisensor_6in1", "modbus/airbox_tcp", "rfid/rdm6300", "campus/gateway"} <= set(profile_ids())


@pytest.mark.parametrize("profile_id", profile_ids())
def test_every_shipped_profile_loads_and_its_id_is_its_path(profile_id):
    profile = load_profile(profile_id)
    assert isinstance(profile, DeviceProfile)
    assert profile.id == profile_id
    assert (SHIPPED / f"{profile_id}.toml").is_file()
    assert profile.name.zh
    assert profile.name.en


@pytest.mark.parametrize("profile_id", profile_ids())
def test_a_shipped_number_that_is_plausible_is_physical(profile_id):
    for point in load_profile(profile_id).points:
        if point.plausible and point.physical:
            assert point.physical.low <= point.plausible.low < point.plausible.high <= point.physical.high


@pytest.mark.parametrize("profile_id", profile_ids())
def test_what_concerns_persons_is_not_stored_as_air(profile_id):
    profile = load_profile(profile_id)
    if any(point.data_class in PERSON_CLASSES for point in profile.points):
        assert profile.measurement in {"attendance", "vitals"}


def test_a_sound_profile_of_the_school_is_loaded_and_comes_before_the_shipped_one(tmp_path):
    write(tmp_path, "modbus/senseair_s8", more="warmup_s = 1")
    assert load_profile("modbus/senseair_s8", [tmp_path, SHIPPED]).warmup_s == 1
    assert load_profile("modbus/senseair_s8", [SHIPPED, tmp_path]).warmup_s == 60
    assert load_profile("rfid/rdm6300", [tmp_path, SHIPPED]).driver == "rdm6300"


def test_a_folder_may_be_given_by_a_way_around(tmp_path, monkeypatch):
    write(tmp_path / "profiles", "school/box")
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path / "etc")
    assert load_profile("school/box", [Path("../profiles")]).id == "school/box"


def test_an_unknown_profile_names_the_known_ones(tmp_path):
    write(tmp_path, "school/box")
    text = problem_of("school/bok", tmp_path)
    assert text.startswith("profile 'school/bok': no such device profile")
    assert "use one of school/box" in text


def test_a_missing_folder_has_no_profiles(tmp_path):
    assert "no such device profile" in problem_of("school/box", tmp_path / "absent")


def test_an_id_that_is_not_the_path_is_named(tmp_path):
    path = write(tmp_path, "school/box", text=SOUND.format(id="school/cat", more="", point=""))
    text = problem_of("school/box", tmp_path)
    assert text.startswith(f"{path}: id: is 'school/cat' but the file's path says 'school/box'")
    assert 'write id = "school/box"' in text


def test_an_unknown_key_is_named_with_file_and_mend(tmp_path):
    path = write(tmp_path, "school/box", point="colour = 1")
    assert problem_of("school/box", tmp_path).startswith(f"{path}: point.0.colour: ")
    assert "correct its spelling" in problem_of("school/box", tmp_path)


def test_bad_toml_is_named_with_its_line(tmp_path):
    path = write(tmp_path, "school/box", text="id = \n")
    text = problem_of("school/box", tmp_path)
    assert text.startswith(f"{path}: ")
    assert "line 1" in text


def test_bytes_that_are_no_text_and_a_folder_are_refused(tmp_path):
    path = write(tmp_path, "school/box")
    path.write_bytes(b"\xff\xfe")
    assert problem_of("school/box", tmp_path).startswith(f"{path}: ")
    with pytest.raises(ConfigError):
        read_profile(tmp_path, expected_id="school/box")
    (tmp_path / "school/folder.toml").mkdir()
    assert "school/folder.toml" in problem_of("school/folder", tmp_path)


def test_every_problem_of_a_file_comes_at_once(tmp_path):
    write(tmp_path, "school/box", more="colour = 1\nperiod_s = 'x'", point="physical = { low = 2, high = 1 }")
    with pytest.raises(ConfigError) as caught:
        load_profile("school/box", [tmp_path])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "profile_id",
    [
        "../secret",
        "school/../../secret",
        "/secret",
        "{outside}/secret",
        "secret",
        "..",
        ".",
        "",
        "/",
        "school/",
        "a\0b",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path, profile_id):
    folder = tmp_path / "profiles"
    write(folder, "school/box")
    for place in (tmp_path, tmp_path / "school"):
        write(place, "secret", text=SOUND.format(id="secret", more="", point=""))
    assert "no such device profile" in problem_of(profile_id.format(outside=tmp_path), folder)


@given(st.text(max_size=40) | st.text("./~\\ab", max_size=400).map(lambda text: text * 20))
def test_any_name_is_a_profile_or_a_config_error(profile_id):
    with pytest.raises(ConfigError):
        load_profile(profile_id)
