"""The console with a made-up source. Usage: python -m tests.cloud_ingest.console.fake_console FOLDER < settings.json"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from cloud_ingest.console.server import serve
from cloud_ingest.settings import Settings
from tests.cloud_ingest.console.scenes import FakeSource, Scene


def _tell(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


def main() -> None:
    logging.basicConfig(level="INFO", stream=sys.stderr)
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    asyncio.run(serve(settings, FakeSource(Scene(Path(sys.argv[1]))), on_ready=_tell))


if __name__ == "__main__":
    main()
