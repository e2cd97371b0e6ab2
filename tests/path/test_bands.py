"""The agent as a process among bands: vitals reach the buffer only under a policy, and no band is named anywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from edge_agent.buffer import read_status
from simulators.ledger import bands_of
from tests.edge_agent.privacy.files import (
    BANDS_RULE,
    consents_text,
    handle,
    policy_text,
    write_documents,
    write_keys,
)
from tests.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.held import HeldDevice, Shelf

BANDS = 12
MAX_BYTES = 64_000_000
CONFIG = """
site = "demo-school"
gateway = "gw-gym"
[mqtt]
url = "mqtt://[::1]:{broker}"
[buffer]
path = "{folder}/buffer"
max_bytes = {max_bytes}
[privacy]
key_file = "{folder}/keys.toml"
{privacy}
[clock]
assume_synced = true
[log]
level = "debug"
[[link]]
name = "gym-radio"
kind = "bluetooth"
hci = "{hci}"
[[device]]
name = "gym-bands"
room = "gym"
profile = "ble/heart_rate_service"
link = "gym-radio"
options = {{ bindings_file = "{folder}/bands.toml" }}
"""


def prepare(folder: Path, radio: HeldDevice, *, data_class: str) -> Path:
    ids = [band.id.hex().upper() for band in bands_of(radio.spec)]
    (folder / "bands.toml").write_text(f'schema = "campus.bands/1"\nbound = {json.dumps(ids)}\n')
    (folder / "bands.toml").chmod(0o600)
    write_keys(folder / "keys.toml", "pe_lesson")
    consents = [handle("pe_lesson", identifier, kind="band") for identifier in ids]
    rule = BANDS_RULE.replace("sensitive", data_class)
    privacy = write_documents(
        folder, policy=policy_text(more=rule), consents=consents_text(*consents, purpose="pe_lesson")
    )
    config = folder / "agent.toml"
    config.write_text(
        CONFIG.format(privacy=privacy, folder=folder, hci=radio.ready.endpoint, broker=free_port(), max_bytes=MAX_BYTES)
    )
    return config


def delivered(radio: HeldDevice, count: int, *, within_s: float) -> None:
    """Return when so many adverts have reached the agent."""
    end = time.monotonic() + within_s
    while radio.state()["counters"].get("bands.delivered", 0) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def everything_in(folder: Path) -> bytes:
    """Return the bytes of all files, and what is packed in them."""
    data = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    pieces = [data]
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        try:
            pieces.append(zlib.decompressobj(31).decompress(data[at:]))
        except zlib.error:
            pieces.append(b"")
        at = data.find(b"\x1f\x8b\x08", at + 1)
    return b"".join(pieces)


@pytest.mark.parametrize("allowed", [True, False])
def test_vitals_reach_the_buffer_only_under_a_policy(tmp_path: Path, campus_device: Shelf, allowed: bool) -> None:
    radio = campus_device("ble-bands", bands=BANDS, period_s=0.2)
    config = prepare(tmp_path, radio, data_class="sensitive" if allowed else "personal")
    command = [sys.executable, "-m", "edge_agent", "run", "--config", str(config)]
    log = tmp_path / "agent.log"
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as agent:
        try:
            delivered(radio, 10 * BANDS, within_s=30)
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(10) == 0, log.read_text()
    radio.stop()
    bands, truth = bands_of(radio.spec), [line for line in radio.said() if line["delivered"]]
    stored = everything_in(tmp_path / "buffer")
    handles = [handle("pe_lesson", band.id.hex().upper(), kind="band").encode() for band in bands]
    if allowed:
        # Three values a reading, beside those of the gateway itself; the last second was still on its way.
        assert read_status(tmp_path / "buffer", max_bytes=MAX_BYTES).values >= 3 * (len(truth) - 5 * BANDS)
        assert all(item in stored for item in handles)
    else:
        assert not any(item in stored for item in handles)
        assert b"heart_rate" not in stored
    said = stored + log.read_bytes()
    for band in bands:
        named = (band.id.hex(), band.id.hex().upper(), band.address, band.address.replace(":", "_"), band.name)
        assert not [name for name in named if name.encode() in said]
        assert band.id not in said
