"""The data map: on both pages, that of the profiles, one line for each kind of data, on a page."""

import pytest

from device_profiles import load_profile, profile_ids
from telemetry.sample import PERSON_CLASSES
from tools import data_map


@pytest.mark.parametrize("page", data_map.PAGES, ids=lambda page: page.name)
def test_the_page_has_the_map_of_today(page):
    text = page.read_text(encoding="utf-8")
    assert data_map.renewed(text, data_map.PAGES[page]) == text, "python -m tools.data_map"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_map_names_every_point_and_profile_once_for_each_use_and_fits_a_page(language):
    found = data_map.entries(load_profile(profile_id) for profile_id in profile_ids())
    text = data_map.table(found, language)
    for profile_id in profile_ids():
        assert f"`{profile_id}`" in text
        for point in load_profile(profile_id).points:
            (line,) = [
                one
                for one in text.splitlines()
                if f"`{point.name}`" in one and f"`{point.data_class}`" in one and f"`{profile_id}`" in one
            ]
            assert f"`{point.purpose}`" in line
    assert len(text.splitlines()) < 40


def test_people_come_first_and_need_consent():
    found = data_map.entries(load_profile(profile_id) for profile_id in profile_ids())
    lines = data_map.table(found, "en").splitlines()[2:]
    persons = [line for line, entry in zip(lines, found, strict=True) if entry.data_class in PERSON_CLASSES]
    assert persons == lines[: len(persons)]
    assert all(line.split(" | ")[-2] == "yes" for line in persons)
    (lesson,) = [line for line in lines if "heart_rate_mean" in line]
    assert "yes: each who counts" in lesson


def test_a_page_without_a_place_for_it_is_an_error():
    with pytest.raises(ValueError, match="no place for the data map"):
        data_map.renewed("# privacy\n", "en")


def test_a_page_that_is_out_of_date_is_named_and_mended(tmp_path, monkeypatch, capsys):
    page = tmp_path / "privacy.md"
    page.write_text(f"before\n{data_map.BEGIN}old\n{data_map.END}after\n", encoding="utf-8")
    monkeypatch.setattr(data_map, "PAGES", {page: "en"})
    monkeypatch.setattr(data_map, "ROOT", tmp_path)
    assert data_map.main(["--check"]) == 1
    assert "privacy.md: the data map is not that of the profiles" in capsys.readouterr().out
    assert data_map.main([]) == 0
    assert data_map.main(["--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
