"""Signed texts: whatever happens to the bytes on their way, only what a trusted key signed is believed."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import example, given
from hypothesis import strategies as st

from telemetry.signed import (
    MAX_BYTES,
    Flaw,
    PublicKey,
    SignatureRefused,
    public_line,
    read_public_key,
    sign,
    verify,
)
from tests.edge_agent.privacy.files import OFFICER, STRANGER, signed
from tests.edge_agent.privacy.files import public_line as line_by_the_contract

BODY = b'schema = "campus.policy/2"\n# a comment\nsite = "s"\n'
KEY = PublicKey(raw=OFFICER.public_key().public_bytes_raw(), comment="officer")
TRUSTED = {KEY.key_id: KEY}
TEXT = signed(BODY)


def flaw(text: bytes, trusted=TRUSTED) -> Flaw:
    with pytest.raises(SignatureRefused) as caught:
        verify(text, trusted)
    assert str(caught.value)
    return caught.value.flaw


def test_we_sign_as_the_contract_says_and_take_what_it_says():
    assert sign(BODY, OFFICER) == TEXT
    found = verify(TEXT, TRUSTED)
    assert (found.body, found.key) == (BODY, KEY)


@pytest.mark.parametrize("body", [b"", b"\n", b"x", "中文 = 1\n".encode(), b"\n\n\n"])
def test_any_body_comes_back_with_a_line_end(body):
    assert verify(sign(body, OFFICER), TRUSTED).body in {body, body + b"\n"}


def test_a_key_that_is_not_trusted_is_named_and_so_are_those_that_are():
    text = signed(BODY, STRANGER)
    assert flaw(text) is Flaw.UNKNOWN_KEY
    assert flaw(TEXT, {}) is Flaw.UNKNOWN_KEY
    with pytest.raises(SignatureRefused, match=rf"not trusted here \({KEY.key_id} \(officer\)\)"):
        verify(text, TRUSTED)


def test_a_strangers_signature_under_the_officers_key_id_is_forged():
    stranger = PublicKey(raw=STRANGER.public_key().public_bytes_raw())
    assert flaw(signed(BODY, STRANGER).replace(stranger.key_id.encode(), KEY.key_id.encode())) is Flaw.FORGED


@given(st.integers(0, len(TEXT) * 8 - 1))
def test_no_bit_can_be_flipped(bit):
    changed = bytearray(TEXT)
    changed[bit // 8] ^= 1 << bit % 8
    flaw(bytes(changed))


@given(st.integers(0, len(TEXT) - 1))
def test_a_text_that_is_cut_short_is_refused(length):
    assert flaw(TEXT[:length]) in {Flaw.UNSIGNED, Flaw.FORGED}


@given(st.binary(min_size=1, max_size=50))
@example(b"\n")
@example(b" ")
@example(b"# more\n")
@example(TEXT.splitlines(keepends=True)[-1])
@example(TEXT)
def test_nothing_can_be_appended_or_put_before(more):
    flaw(TEXT + more)
    flaw(more + TEXT)


def test_line_ends_that_were_converted_are_named_as_that():
    assert flaw(TEXT.replace(b"\n", b"\r\n")) is Flaw.CONVERTED
    assert flaw(TEXT.replace(b"\n", b"\r")) is Flaw.CONVERTED
    assert flaw(b"\xef\xbb\xbf" + TEXT) is Flaw.FORGED


def test_a_second_signature_is_refused_wherever_it_stands():
    line = TEXT.splitlines(keepends=True)[-1]
    assert flaw(TEXT + line) is Flaw.FORGED
    assert flaw(line + TEXT) is Flaw.FORGED
    assert flaw(signed(TEXT)) is Flaw.FORGED
    with pytest.raises(ValueError, match="signed already"):
        sign(TEXT, OFFICER)


def test_another_spelling_of_the_same_signature_is_refused():
    """The last of 86 base64 digits has four bits that mean nothing: a decoder that ignores them takes 16 spellings."""
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(TEXT) - 4
    spellings = [TEXT[:at] + bytes([digit]) + TEXT[at + 1 :] for digit in digits]
    signature = base64.b64decode(TEXT.split()[-1])
    same = [text for text in spellings if base64.b64decode(text.split()[-1]) == signature]
    assert len(same) == 16
    assert TEXT in same
    assert {flaw(text) for text in spellings if text != TEXT} == {Flaw.FORGED}


def test_a_signature_for_something_else_is_none():
    body = BODY
    key_id, other = KEY.key_id, base64.b64encode(OFFICER.sign(body)).decode()
    assert flaw(body + f"# signature: ed25519 {key_id} {other}\n".encode()) is Flaw.FORGED


def test_a_huge_text_is_refused_before_it_is_looked_at():
    assert flaw(b"#" * (MAX_BYTES + 1)) is Flaw.TOO_LARGE
    with pytest.raises(ValueError, match="longer than"):
        sign(b"#" * MAX_BYTES, OFFICER)


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda more: BODY + b"# signature: ed25519 " + more))
def test_no_bytes_raise_anything_else(text):
    flaw(text)


def test_a_body_with_windows_line_ends_is_not_signed():
    with pytest.raises(ValueError, match="Windows line ends"):
        sign(b"a = 1\r\n", OFFICER)


def pem(key) -> str:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form).decode()


def test_public_keys_are_read_as_a_line_or_as_pem():
    assert read_public_key(line_by_the_contract()) == KEY
    assert public_line(KEY) == line_by_the_contract()
    assert read_public_key(f"# the officer's\n\n{public_line(KEY)}") == KEY
    assert read_public_key(pem(OFFICER)).key_id == KEY.key_id
    assert KEY.raw.hex() not in repr(KEY)


private = OFFICER.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no public key"),
        ("ed25519", "is no public key"),
        ("rsa AAAA", "is no public key"),
        ("ed25519 *", "is not base64"),
        ("ed25519 AAAA", "has 3 bytes"),
        (line_by_the_contract() * 2, "is no public key"),
        (private, "a private key, which belongs to the officer alone"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a PEM public key"),
        (pem(generate_private_key(SECP256R1())), "not an Ed25519 key"),
    ],
)
def test_what_is_no_public_key_is_refused_and_said(text, told):
    with pytest.raises(ValueError, match=told):
        read_public_key(text)


@given(st.text(max_size=120))
def test_no_text_makes_reading_a_key_raise_anything_else(text):
    with pytest.raises(ValueError, match=r"."):
        read_public_key(text)


@pytest.mark.parametrize("raw", [bytes(32), b"\xff" * 32])
def test_a_key_that_is_no_point_of_the_curve_verifies_nothing(raw):
    key = PublicKey(raw=raw)
    assert flaw(TEXT.replace(KEY.key_id.encode(), key.key_id.encode()), {key.key_id: key}) is Flaw.FORGED
