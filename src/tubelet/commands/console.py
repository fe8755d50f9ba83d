"""What commands print: tables on stdout, and from whom a folder was taken over on stderr."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from tubelet.session.folder_lock import take_over


def output_console() -> Console:
    """Return a console for tables on stdout: as wide as the terminal, and unlimited in a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else 160)


def report_take_over(folder: Path) -> None:
    """Take a folder over, with the runs below it, and say from whom."""
    for line in take_over(folder) or [f"nothing to take over: no process is known to work in {folder}"]:
        print(line, file=sys.stderr)
