"""A gateway's key and its officer's signed papers: a policy of one purpose, and consents of all who are named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from simulators.demo.config import write_private
from simulators.demo.handles import handle, subkey
from simulators.demo.officer import new_officer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SITE: Final = "bench"
SCHOOL_YEAR: Final = "2026-2027"
SETTINGS: Final = """
[privacy]
key_file = "{folder}/keys.toml"
trusted_keys = ["{folder}/officer.pub"]
policy_file = "{folder}/policy.toml"
consents_file = "{folder}/consents.toml"
"""
"""Of the agent, for what `write_papers` wrote."""
_KEYS: Final = """schema = "campus.gateway-keys/1"
site = "{site}"
school_year = "{year}"
simulated = true
[keys]
{purpose} = "{key}"
"""
_HEAD: Final = """schema = "campus.{schema}"
site = "{site}"
serial = 1
issued_at = {now}
"""
_POLICY: Final = """valid_from = 2000-01-01T00:00:00Z
valid_until = 2100-01-01T00:00:00Z
[[purpose]]
name = "{purpose}"
basis = "consent"
zh = "测量"
en = "Benchmark"
"""
_RULE: Final = """[[rule]]
class = "{data_class}"
purpose = "{purpose}"
distance = "school"
consent = {consent}
"""
_CONSENT: Final = """[[consent]]
handle = "{handle}"
purpose = "{purpose}"
given_by = "guardian"
under_14 = true
valid_until = 2100-01-01T00:00:00Z
"""


def write_papers(
    folder: Path, *, purpose: str, rules: Mapping[str, bool], kind: str, identifiers: Iterable[str]
) -> None:
    """Write keys and signed papers below `folder`.

    `rules`: class → whether it needs consent, which each of `identifiers` (cards or bands, by `kind`) has given.
    """
    key = subkey(b"benchmark" * 4, site=SITE, school_year=SCHOOL_YEAR, purpose=purpose)
    keys = _KEYS.format(site=SITE, year=SCHOOL_YEAR, purpose=purpose, key=key.hex())
    write_private(folder / "keys.toml", keys)
    officer, now = new_officer(), datetime.now(UTC).isoformat(timespec="seconds")
    write_private(folder / "officer.pub", officer.public_line)
    policy = _HEAD.format(schema="policy/2", site=SITE, now=now) + _POLICY.format(purpose=purpose)
    for data_class, consent in rules.items():
        policy += _RULE.format(data_class=data_class, purpose=purpose, consent=str(consent).lower())
    consents = _HEAD.format(schema="consents/1", site=SITE, now=now)
    for identifier in identifiers:
        consents += _CONSENT.format(handle=handle(key, kind=kind, identifier=identifier), purpose=purpose)
    write_private(folder / "policy.toml", officer.sign(policy))
    write_private(folder / "consents.toml", officer.sign(consents))
