"""Passwords, cookies, and how often may be guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.console.session import (
    SESSION_S,
    Attempts,
    Password,
    Sessions,
    hash_password,
    open_password,
    session_key,
)
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_hash_tells_nothing_and_matches_its_password_only() -> None:
    line = hash_password("longer than eight")
    assert "longer" not in line
    assert line != hash_password("longer than eight")
    password = Password(line)
    assert password.matches("longer than eight")
    assert not password.matches("longer than eigh")
    assert not password.matches("")


@pytest.mark.parametrize(
    "line",
    [
        "short",
        "scrypt$1$8$1$AAAA$AAAA",
        "scrypt$16384$8$1$AAAA",
        "scrypt$x$8$1$AA$AA",
        "scrypt$1073741824$8$1$AAAA$AAAA",
    ],
)
def test_a_bad_password_file_is_refused_and_not_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "password"
    path.write_text(line)
    with pytest.raises(ConfigError) as refused:
        open_password(path)
    assert "--hash-password" in str(refused.value)
    assert line not in str(refused.value)


def test_sessions_end_with_time_and_with_the_password() -> None:
    clock = Clock()
    sessions = Sessions(b"k" * 32, b"one", clock=clock)
    cookie = sessions.issue()
    assert sessions.valid(cookie)
    assert not Sessions(b"k" * 32, b"two", clock=clock).valid(cookie)
    assert not Sessions(b"K" * 32, b"one", clock=clock).valid(cookie)
    clock.now += SESSION_S + 1
    assert not sessions.valid(cookie)
    assert sessions.issue() != sessions.issue()


@given(st.text())
def test_no_other_cookie_is_valid(cookie: str) -> None:
    assert not Sessions(b"k" * 32, b"one").valid(cookie)


def test_the_key_is_made_once_and_only_ours_to_read(tmp_path: Path) -> None:
    key = session_key(tmp_path / "console")
    assert session_key(tmp_path / "console") == key
    path = tmp_path / "console" / "session.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"torn")
    assert len(session_key(tmp_path / "console")) == 32


def test_guesses_are_counted_by_network_and_all_together() -> None:
    clock = Clock()
    attempts = Attempts(clock=clock)
    assert [attempts.wait_s("2001:db8::1") for _ in range(5)] == [0] * 5
    assert attempts.wait_s("2001:db8::2") == 30
    assert attempts.wait_s("192.0.2.1") == 0
    clock.now += 31
    assert attempts.wait_s("2001:db8::1") == 0
    assert attempts.wait_s("2001:db8::1") > 0
    attempts.forget("2001:db8::1")
    assert attempts.wait_s("2001:db8::1") == 0
    waits = [attempts.wait_s(f"198.51.{number // 250}.{number % 250}") for number in range(70)]
    assert 0 < sum(wait > 0 for wait in waits) <= 20
