"""Fixtures of the publisher's tests."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.servers import make_mosquitto, mosquitto

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_mosquitto", "mosquitto"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server for ::1 and localhost, a client; a second CA nobody signed with."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    def make(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    for name in ("ca", "other"):
        make(*f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}".split())
    for name, extension in (("server", "subjectAltName=IP:::1,DNS:localhost"), ("client", "keyUsage=digitalSignature")):
        (folder / "extension").write_text(extension)
        make(*f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}".split())
        make(
            *f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2".split(),
            *f"-extfile extension -out {name}.pem".split(),
        )
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)
    return folder
