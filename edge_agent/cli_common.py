"""What all commands of `edge-agent` share: exit codes, where the settings are, and `--json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIG: Final = 78
EPILOG: Final = "Exit codes: 0 done, 1 a check failed, 2 wrong usage, 69 something is not available, 78 wrong settings."
DEFAULT_CONFIG: Final = Path("/etc/campus-edge/agent.toml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
