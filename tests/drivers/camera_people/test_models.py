"""The registry of models: what it must say of each, and that no other file is kept."""

import hashlib
import json
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from drivers.camera_people import fetching
from drivers.camera_people.fetching import NOT_FETCHED, OK, fetch, states
from drivers.camera_people.model_files import FOLDER, MODELS, WrongModel, parse_models, read_model
from telemetry.errors import DeviceUnavailable

AGENT = str(Path(sys.executable).parent / "edge-agent")
BODY = b"a model of five score bytes"


def run(*words):
    return subprocess.run([AGENT, *map(str, words)], check=False, capture_output=True, text=True, timeout=60)


def test_every_shipped_model_is_the_known_one_and_described():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    notice = Path(__file__).parents[3].joinpath("NOTICE").read_text(encoding="utf-8")
    for name, model in MODELS.items():
        assert model.role
        assert model.source
        assert model.licence
        assert model.input
        assert model.file in text, name
        assert not model.companion or model.companion in MODELS
        if not model.url:
            assert len(read_model(model)) == model.bytes
            assert model.file in notice
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".onnx", ".npy"}} == {
        model.file for model in MODELS.values() if not model.url
    }


@pytest.mark.parametrize("text", ["", 'schema = "campus.models/2"', 'schema = "campus.models/1"\n[a]\nfile = "b"', "["])
def test_another_registry_is_refused(text):
    with pytest.raises((ValueError, TypeError)):
        parse_models(text)


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/model" else 404)
            self.end_headers()
            if self.path == "/model":
                self.wfile.write(BODY)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(server):
    return replace(
        MODELS["yunet"], sha256=hashlib.sha256(BODY).hexdigest(), bytes=len(BODY), url=f"{server}/model", file="m.onnx"
    )


def test_the_right_file_is_kept(model, tmp_path, monkeypatch):
    path = fetch(model, tmp_path / "models")
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o644
    assert fetch(replace(model, url=""), tmp_path / "models") == path, "one that is there is not fetched again"
    monkeypatch.setitem(fetching.MODELS, "yunet", model)
    assert states(tmp_path)["yunet"] == NOT_FETCHED
    assert states(tmp_path / "models")["yunet"] == OK
    path.write_bytes(b"another")
    assert "its sha256 is" in states(tmp_path / "models")["yunet"]
    with pytest.raises(WrongModel):
        fetch(model, tmp_path / "models")


def test_another_file_is_not_kept(model, tmp_path):
    with pytest.raises(WrongModel, match="its sha256 is"):
        fetch(replace(model, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.org/m", "file:///etc/passwd", ""])
def test_only_https_is_fetched(model, tmp_path, url):
    with pytest.raises(DeviceUnavailable, match="https"):
        fetch(replace(model, url=url), tmp_path)


def test_what_cannot_be_had_is_told(model, server, tmp_path):
    with pytest.raises(DeviceUnavailable, match="Not Found"):
        fetch(model, tmp_path, url=f"{server}/none")


def test_the_commands(server, tmp_path):
    done = run("models", "list", "--into", tmp_path, "--json")
    found = json.loads(done.stdout)
    assert {name: model["state"] for name, model in found.items()} == states(tmp_path)
    assert "Apache-2.0" in run("models", "list", "--into", tmp_path).stdout
    assert run("models", "verify", "--into", tmp_path).returncode == 0
    done = run("models", "fetch", "yunet", "--into", tmp_path, "--url", f"{server}/model")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "nothing was kept" in done.stderr
    assert run("models", "fetch", "yunet", "--into", tmp_path, "--url", f"{server}/none").returncode == 69
    assert run("models", "fetch", "people", "--into", tmp_path).returncode == 0
    assert run("models", "fetch", "nobody", "--into", tmp_path).returncode == 2
    (tmp_path / MODELS["yunet"].file).write_bytes(b"wrong")
    done = run("models", "verify", "--into", tmp_path)
    assert done.returncode == 1
    assert "fetch it again" in done.stdout
