"""The console as a child of the ingest: settings come on standard input, whose end means that the ingest is gone.

Usage: python -m cloud_ingest.console < settings.json
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from cloud_ingest.console.program import run_console
from cloud_ingest.settings import Settings


def _end_with_parent() -> None:
    """Send ourselves SIGTERM when the ingest's end of the pipe closes, even by kill -9."""
    # Unbuffered: a thread that holds a buffer's lock would abort the interpreter at its end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Serve what the first line of standard input describes."""
    # Where memory runs out, the console goes before the ingest.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    def told(address: str) -> None:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()

    return asyncio.run(run_console(settings, told))


if __name__ == "__main__":
    sys.exit(main())
