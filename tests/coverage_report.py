"""Real servers that tests need: where they are, and what was not covered because one is missing."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = {
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "influxd": "influxdb",
    "victoria-metrics": "victoria-metrics",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
    "strace": "strace",
    "faketime": "faketime",
}
"""Program → Debian package; tools/servers.sh installs them."""
_MISSING = "server missing: "


def find_server(name: str) -> str | None:
    """Return the program's path, or none. Debian keeps daemons in /usr/sbin, which not every PATH has."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin")


def require_server(name: str) -> str:
    """Return the program's path; without it the calling test is skipped, or fails where CI=true."""
    return find_server(name) or _without(name)


def _without(name: str) -> NoReturn:
    package = PACKAGES.get(name, name)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{_MISSING}{name} (CI=true: must be there → apt-get install {package})", pytrace=False)
    pytest.skip(f"{_MISSING}{name} → apt-get install {package}")


def not_covered(skipped: Iterable[pytest.TestReport]) -> dict[str, list[str]]:
    """Return the tests that were skipped for want of a server, by what to do about it."""
    found: dict[str, list[str]] = {}
    for report in skipped:
        # A skip's longrepr is (file, line, reason); it comes so from xdist's workers too.
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _, mark, server = reason.partition(_MISSING)
        if mark:
            found.setdefault(server.strip("'\""), []).append(report.nodeid)
    return found
