from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.bands import Band
from simulators.demo.identities import band_identities, card_identity
from simulators.demo.leaks import Scanner, patterns
from simulators.demo.packed import inflated
from simulators.demo.search import search

if TYPE_CHECKING:
    from pathlib import Path

CARDS = ["3F00123456", "A1B2C3D4E5"]
CARD = CARDS[1]
RAW = bytes.fromhex(CARD)
BAND = Band(seed=1, name="gym-bands-08")
ADDRESS = bytes.fromhex(BAND.address.replace(":", ""))
CLEAN = json.dumps([{"subject": f"{n:032x}", "acquired_at_ns": 1_763_760_000_123_456_789 + n} for n in range(50)])


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner([*(card_identity(number, card) for number, card in enumerate(CARDS)), *band_identities(7, BAND)])


@pytest.mark.parametrize(
    "written",
    [
        CARD.encode(),
        CARD.lower().encode(),
        CARD[2:].encode(),
        b"a1:b2:c3:d4:e5",
        b"A1-B2-C3-D4-E5",
        b"b2 c3 d4 e5",
        str(int(CARD, 16)).encode(),
        str(int.from_bytes(RAW[1:], "big")).encode(),
        f"{int.from_bytes(RAW[1:], 'big'):010d}".encode(),
        f"{RAW[2]:03d},{int.from_bytes(RAW[3:], 'big'):05d}".encode(),
        RAW[::-1].hex().encode(),
        str(int.from_bytes(RAW[::-1], "big")).encode(),
        RAW,
        RAW[::-1],
        base64.b64encode(RAW),
        base64.urlsafe_b64encode(CARD.lower().encode()),
        b"%A1%B2%C3%D4%E5",
        "".join(f"\\u{ord(letter):04x}" for letter in CARD).encode(),
        hashlib.sha256(CARD.encode()).hexdigest().encode(),
        hashlib.sha256(CARD.encode()).hexdigest()[:32].upper().encode(),
        hashlib.md5(RAW, usedforsecurity=False).digest(),
        hashlib.blake2b(RAW[1:]).hexdigest().encode(),
        hashlib.blake2b(CARD.encode(), digest_size=16).hexdigest().encode(),
        base64.b64encode(hashlib.sha3_256(str(int(CARD, 16)).encode()).digest()),
    ],
    ids=lambda value: value[:24].decode(errors="replace"),
)
def test_a_card_number_is_found_however_it_is_written(scanner: Scanner, written: bytes) -> None:
    for data in (written, b'{"note": "' + written + b'"}', CLEAN.encode() + b" " + written + b" " + CLEAN.encode()):
        assert {leak.who for leak in scanner.scan(data, "here")} == {"card 1"}
        assert {leak.who for leak in scanner.scan(b"xx" + gzip.compress(data) + b"yy", "here")} == {"card 1"}


@pytest.mark.parametrize(
    ("written", "who"),
    [
        (BAND.address.encode(), "address"),
        (BAND.address.lower().encode(), "address"),
        (BAND.address.replace(":", "").encode(), "address"),
        (BAND.address.replace(":", "_").encode(), "address"),
        (BAND.address.replace(":", "-").lower().encode(), "address"),
        (ADDRESS, "address"),
        (ADDRESS[::-1], "address"),
        (ADDRESS[::-1].hex().encode(), "address"),
        (str(int.from_bytes(ADDRESS, "big")).encode(), "address"),
        (base64.b64encode(ADDRESS), "address"),
        (hashlib.sha256(BAND.address.encode()).hexdigest().encode(), "address"),
        (hashlib.md5(ADDRESS, usedforsecurity=False).digest(), "address"),
        (BAND.id, "id"),
        (BAND.id[::-1], "id"),
        (BAND.id.hex().encode(), "id"),
        (BAND.id.hex().upper().encode(), "id"),
        (BAND.id.hex(":").encode(), "id"),
        ("".join(f"\\u{ord(letter):04x}" for letter in BAND.id.hex().upper()).encode(), "id"),
        (hashlib.blake2b(BAND.id.hex().upper().encode(), digest_size=16).hexdigest().encode(), "id"),
        (BAND.name.encode(), "name"),
        (base64.b64encode(BAND.name.encode()), "name"),
        (hashlib.sha1(BAND.name.encode(), usedforsecurity=False).hexdigest().encode(), "name"),
    ],
    ids=lambda value: value[:24].decode(errors="replace") if isinstance(value, bytes) else value,
)
def test_a_band_is_found_however_it_is_written(scanner: Scanner, written: bytes, who: str) -> None:
    for data in (written, b'{"note": "' + written + b'"}', CLEAN.encode() + b" " + written + b" " + CLEAN.encode()):
        assert {leak.who for leak in scanner.scan(data, "here")} == {f"{who} of band 7"}
        assert {leak.who for leak in scanner.scan(b"xx" + gzip.compress(data) + b"yy", "here")} == {f"{who} of band 7"}


SCANNER = Scanner([card_identity(0, CARD), *band_identities(1, BAND)])


@given(st.integers(0, 10**6), st.binary(max_size=40), st.binary(max_size=40))
def test_every_pattern_is_found_at_every_place(number: int, before: bytes, after: bytes) -> None:
    identities = [card_identity(0, CARD), *band_identities(1, BAND)]
    every = [pattern for identity in identities for pattern in patterns(identity)]
    pattern = every[number % len(every)]
    quote = b"|"
    assert SCANNER.scan(before + quote + pattern.data + quote + after, "here")


def test_clean_data_stay_clean(scanner: Scanner) -> None:
    assert scanner.scan(CLEAN.encode(), "here") == []
    assert scanner.scan(b"", "here") == []
    assert scanner.scan(gzip.compress(CLEAN.encode())[:-20], "here") == []


def test_digits_inside_longer_numbers_are_no_leak(scanner: Scanner) -> None:
    tag = str(int.from_bytes(RAW[1:], "big"))
    assert scanner.scan(f"17{tag}89 21.{tag} {CARD[2:]}ff".encode(), "here") == []
    assert scanner.scan(f"at {tag}.".encode(), "here") != []


def test_a_leak_names_whom_by_the_place_only(scanner: Scanner) -> None:
    text = repr(scanner.scan(CARD.encode(), "here"))
    assert CARD not in text
    assert CARD.lower() not in text


def test_ten_megabytes_take_less_than_three_seconds() -> None:
    rng = random.Random(7)  # noqa: S311
    cards = [card_identity(number, f"{rng.getrandbits(40):010X}") for number in range(60)]
    data = (CLEAN.encode() * 1000)[:8_000_000] + rng.randbytes(2_000_000)
    began = time.process_time()
    assert Scanner(cards).scan(data, "here") == []
    assert time.process_time() - began < 3.0


def test_the_search_sees_files_databases_names_and_texts_but_not_the_truth(tmp_path: Path) -> None:
    (tmp_path / "said").mkdir()
    (tmp_path / "said" / "a.jsonl").write_text(CARD)
    (tmp_path / "ledger.jsonl").write_text(CARD)
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "keys.toml").write_text(CARD)
    (tmp_path / "agent" / "bindings").mkdir()
    (tmp_path / "agent" / "bindings" / "gym-bands.toml").write_text(CARD)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "device-gym-radio.log").write_text(CARD)
    scanner = Scanner([card_identity(number, card) for number, card in enumerate(CARDS)])
    assert search(scanner, tmp_path, texts={"health": {"a": 1}}) == []
    connection = sqlite3.connect(tmp_path / "agent" / "buffer.sqlite")
    connection.execute("CREATE TABLE batch (payload BLOB)")
    # Longer than a page: its bytes are cut into overflow pages in the file.
    filling = random.Random(1).randbytes(20_000).hex().encode()  # noqa: S311
    payload = gzip.compress(filling + CARD.encode())
    connection.execute("INSERT INTO batch VALUES (?)", (payload,))
    connection.commit()
    connection.close()
    (tmp_path / f"log-{CARD}").write_text("nothing")
    found = {leak.where for leak in search(scanner, tmp_path, texts={"health": {"a": CARD}})}
    assert found == {"agent/buffer.sqlite (gzip 0)", f"the name of log-{CARD}", "health"}


@given(st.binary(max_size=200))
def test_anything_can_be_looked_into(data: bytes) -> None:
    list(inflated(b"\x1f\x8b\x08" + data))
    assert list(inflated(data + gzip.compress(data) + data))[-1:] in ([data], [])
