"""The console as a program: settings in, exit code out."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import TYPE_CHECKING, Final

from cloud_ingest.clikit import BAD_CONFIG, UNAVAILABLE
from telemetry.errors import AuthError, CampusError, ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_ingest.settings import Settings

NEEDS: Final = ("nicegui", "uvicorn")


def check_extra() -> None:
    """Raise ConfigError if what the console needs is not installed."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        problem = Problem(
            where="console",
            what=f"needs {', '.join(missing)}, which is not installed",
            mend="pip install 'campus-edge[console]'",
        )
        raise ConfigError([problem])


async def run_console(settings: Settings, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM; return the exit code. `on_ready` is told the address."""
    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        check_extra()
        from cloud_ingest.console.server import serve  # noqa: PLC0415 - heavy
        from cloud_ingest.console.source import open_source  # noqa: PLC0415

        await serve(settings, open_source(settings), on_ready=on_ready)
    except ConfigError as error:
        sys.stderr.write(f"cloud-ingest console: {error}\n")
        return BAD_CONFIG
    except (AuthError, CampusError) as error:
        sys.stderr.write(f"cloud-ingest console: {error}\n")
        return UNAVAILABLE
    return 0
