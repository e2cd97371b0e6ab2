"""What an attacker gets: who has the whole store, nothing; who has one gateway too, that gateway's purposes and year.

The attacker is written here from public texts (RFC 5869, the README's formula); he shares no code with the agent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import random
import tomllib
import zlib

import pytest

from edge_agent.buffer import Buffer
from edge_agent.privacy import Gate, load_keys
from edge_agent.privacy.master import MasterKey, gateway_text
from telemetry.counters import Counters
from telemetry.profile import Point
from telemetry.sample import Admitted, Sample, Subject
from tests.edge_agent.privacy.files import SITE, subkey
from tests.edge_agent.privacy.test_gate import NOW, policy, profile

CARDS = [f"{number:010X}" for number in range(0x0A00120000, 0x0A00120000 + 4096)]
"""The whole space of this school's cards: a reader's version byte and a delivered range of tags."""
PUPILS = random.Random(5).sample(CARDS, 60)  # noqa: S311 - test data
PIECE = 12
"""So many characters of a guess are looked for anywhere in the store; a shorter one would be met by chance."""
PURPOSES = ("attendance", "library", "pe_lesson")
YEARS = ("2026-2027", "2027-2028")


def school(tmp_path, purposes=PURPOSES, year=YEARS[0], name="keys.toml"):
    """A gateway's key file, as the officer makes it."""
    master = MasterKey(schema="campus.master-key/1", site=SITE, key=bytes(range(32)).hex())
    path = tmp_path / name
    path.write_text(gateway_text(master.gateway_keys(purposes, year)))
    path.chmod(0o600)
    return path


async def stored(tmp_path, keys, *, buffer="buffer", gateway="gw-1"):
    """Everything that a gateway with these keys writes about all pupils: the bytes of its buffer, inflated too."""
    points = tuple(
        Point(name=purpose, quantity="presence", purpose=purpose, **{"class": "personal"}) for purpose in keys.keys
    )
    device = profile(*points)
    rules = policy(*(("personal", purpose, False) for purpose in keys.keys))
    gate = Gate({"d": device}, rooms={}, keys=keys, in_force=lambda: rules, now_ns=lambda: NOW, counters=Counters())
    from edge_agent.catalogue import device_info

    handles: dict[str, dict[str, str]] = {}
    opened = await Buffer.open(
        tmp_path / buffer,
        site=SITE,
        gateway=gateway,
        simulated=False,
        window_s=2.0,
        max_bytes=64_000_000,
        devices={"d": device_info("d", "r101", device)},
        counters=Counters(),
        now_ns=lambda: NOW,
    )
    async with opened:
        for card in PUPILS:
            sample = Sample(
                device="d",
                acquired_at_ns=NOW,
                values=dict.fromkeys(keys.keys, True),
                subject=Subject(kind="card", identifier=card),
            )
            for answer in gate.split(sample):
                assert isinstance(answer, Admitted)
                handles.setdefault(answer.purpose, {})[card] = answer.handle or ""
                await opened.append(answer)
        opened.close_open_batches()
        await opened.close()
    raw = b"".join(path.read_bytes() for path in sorted((tmp_path / buffer).rglob("*")) if path.is_file())
    return handles, raw + inflated(raw)


def inflated(raw: bytes) -> bytes:
    pieces, at = [], raw.find(b"\x1f\x8b\x08")
    while at >= 0:
        with_header = zlib.decompressobj(31)
        try:
            pieces.append(with_header.decompress(raw[at:]))
        except zlib.error:
            pieces.append(b"")
        at = raw.find(b"\x1f\x8b\x08", at + 1)
    return b"".join(pieces)


def guesses(card: str):
    """Everything that an attacker without a key can compute from a card number and what is public."""
    texts = {card, card.lower(), str(int(card, 16)), str(int(card[-8:], 16)), f"card{card}", f"card\0{card}"}
    texts |= {f"campus-handle/1\0card\0{card}", f"{SITE}{card}", f"{SITE}|{card}"}
    texts |= {f"{purpose}{card}" for purpose in PURPOSES} | {
        f"{SITE}|{YEARS[0]}|{purpose}|{card}" for purpose in PURPOSES
    }
    messages = [text.encode() for text in texts] + [bytes.fromhex(card)]
    for message in messages:
        yield from (form for form in (message.hex(), base64.b64encode(message).decode()) if len(form) >= PIECE)
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256"):
            yield hashlib.new(name, message).hexdigest()
    message = f"campus-handle/1\0card\0{card}".encode()
    for purpose in PURPOSES:
        info = f"campus-edge/1|{SITE}|{YEARS[0]}|{purpose}".encode()
        for master in (b"", bytes(32), SITE.encode(), info, hashlib.sha256(info).digest()):
            prk = hmac.digest(bytes(32), master, "sha256")
            for key in (master, prk, hmac.digest(prk, info + b"\x01", "sha256")):
                yield hmac.digest(key or b"\0", message, "sha256").hex()


def recover(everything: bytes, cards: list[str]) -> set[str]:
    """Try all cards with all guesses on all the bytes."""
    text = everything.decode("latin-1").lower()
    pieces = {text[at : at + PIECE] for at in range(len(text))}
    found = {card for card in cards if any(guess[:PIECE].lower() in pieces for guess in guesses(card))}
    return found | {card for card in cards if card.lower() in text or bytes.fromhex(card) in everything}


async def test_with_the_whole_store_and_every_card_number_an_attacker_recovers_nobody(tmp_path):
    handles, everything = await stored(tmp_path, load_keys(school(tmp_path)))
    assert all(handle.encode() in everything for of_purpose in handles.values() for handle in of_purpose.values())
    assert recover(everything, CARDS) == set()


@pytest.mark.parametrize("digest", ["md5", "sha256"])
def test_of_an_unkeyed_hash_he_recovers_everybody(digest):
    store = " ".join(hashlib.new(digest, card.encode()).hexdigest()[:32] for card in PUPILS[:9]).encode()
    assert recover(b"x" + store, [*PUPILS[:9], *CARDS[:50]]) - set(CARDS[:50]) == set(PUPILS[:9]) - set(CARDS[:50])


async def test_the_store_holds_no_key(tmp_path):
    path = school(tmp_path)
    _, everything = await stored(tmp_path, load_keys(path))
    for key in [bytes(range(32)), *map(bytes.fromhex, tomllib.loads(path.read_text())["keys"].values())]:
        for form in (key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key)):
            assert form not in everything


async def test_handles_of_two_purposes_and_of_two_years_do_not_join(tmp_path):
    """Nothing but the person connects them: no handle is met twice, and nearness or order tell nothing."""
    by_year = [
        await stored(tmp_path, load_keys(school(tmp_path, year=year)), buffer=f"buffer-{year}") for year in YEARS
    ]
    columns = [handles[purpose] for handles, _ in by_year for purpose in PURPOSES]
    everybody = [handle for column in columns for handle in column.values()]
    assert len(set(everybody)) == len(everybody) == len(PUPILS) * len(PURPOSES) * len(YEARS)
    for one, other in itertools.combinations(columns, 2):
        # Best guess of a joiner by bytes: the nearest handle in the other column. He is right as often as by chance.
        right = sum(
            min(other, key=lambda card: distance(other[card], handle)) == wanted for wanted, handle in one.items()
        )
        assert right <= 6
        ranked = sorted(one, key=one.get), sorted(other, key=other.get)
        assert sum(a == b for a, b in zip(*ranked, strict=True)) <= 6


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


async def test_the_same_pupil_has_the_same_handle_on_two_gateways_and_after_one_is_made_anew(tmp_path):
    first, _ = await stored(tmp_path, load_keys(school(tmp_path, name="one.toml")), buffer="one", gateway="gw-1")
    second, _ = await stored(
        tmp_path, load_keys(school(tmp_path, ("attendance",), name="two.toml")), buffer="two", gateway="gw-2"
    )
    assert second["attendance"] == first["attendance"]
    (tmp_path / "one.toml").unlink()
    again, _ = await stored(tmp_path, load_keys(school(tmp_path, name="one.toml")), buffer="fresh", gateway="gw-1")
    assert again == first


@pytest.mark.parametrize("stolen", [("attendance",), ("attendance", "pe_lesson")])
async def test_with_one_stolen_gateway_card_its_purposes_of_its_year_are_recovered_and_nothing_else(tmp_path, stolen):
    """The stated limit: with the subkeys, all cards can be tried for them, and for nothing else."""
    stolen_file = tomllib.loads(school(tmp_path, stolen, name="stolen.toml").read_text())
    everything = {
        (purpose, year): (await stored(tmp_path, load_keys(school(tmp_path, year=year)), buffer=f"b-{year}-{purpose}"))[
            0
        ][purpose]
        for purpose in PURPOSES
        for year in YEARS
    }
    recovered: dict[tuple[str, str], set[str]] = {}
    for key in map(bytes.fromhex, stolen_file["keys"].values()):
        for card in CARDS:
            told = hmac.digest(key, b"campus-handle/1\0card\0" + card.encode(), "sha256").hex()[:32]
            for where, handles in everything.items():
                if told in handles.values():
                    recovered.setdefault(where, set()).add(card)
    assert recovered == {(purpose, YEARS[0]): set(PUPILS) for purpose in stolen}
    # Nor does a subkey lead to another: used as a master key, or as HKDF's inner key, it gives no other subkey.
    others = {subkey(purpose, year=year) for purpose in PURPOSES for year in YEARS}
    for key in map(bytes.fromhex, stolen_file["keys"].values()):
        for purpose, year in itertools.product(PURPOSES, YEARS):
            info = f"campus-edge/1|{SITE}|{year}|{purpose}".encode()
            derived = hmac.digest(key, info + b"\x01", "sha256")
            assert subkey(purpose, master=key, year=year) not in others
            assert derived not in others


def test_a_gateways_file_holds_its_purposes_and_nothing_of_the_master_key(tmp_path):
    text = school(tmp_path, ("attendance",)).read_text()
    table = tomllib.loads(text)
    assert table["keys"] == {"attendance": subkey("attendance").hex()}
    assert bytes(range(32)).hex() not in text
