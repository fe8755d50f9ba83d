"""What ``tubelet predict`` writes beside its table: where, under which names, and what it never writes over."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tubelet.errors import ConfigError, printable
from tubelet.files import write_atomically

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
STDOUT = Path("-")  # of --csv
_STEM_BYTES = 120  # of a film's name in that of its timeline, so that both and a number are a name of 255 bytes


def check_outputs(csv: Path | None, plot: Path | None, as_json: bool, inputs: Sequence[Path]) -> None:
    """Raise ConfigError for an output that cannot be written, or that lies where an input or the other output does."""
    outputs = {"--csv": None if csv == STDOUT else csv, "--plot": plot}
    for name, file in outputs.items():
        if file is None:
            continue
        if not file.parent.is_dir():
            raise ConfigError(f"{name} {file}: there is no folder {file.parent}; make it first")
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise ConfigError(f"{name} {file}: its folder takes no files (permission denied); allow writing there")
        if file.is_dir():
            raise ConfigError(f"{name} {file}: is a folder; name a file in it")
        if file.exists() and any(file.samefile(path) for path in inputs if path.exists()):
            raise ConfigError(f"{name} {file}: is one of the files to predict; give another name")
    if csv is not None and plot is not None and csv.resolve() == plot.resolve():
        raise ConfigError(f"--csv and --plot are the same file, {plot}; give each its own")
    if csv == STDOUT and as_json:
        raise ConfigError("--csv - and --json both write to standard output; leave one out, or let --csv name a file")
    if plot is not None and plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ConfigError(f"--plot {plot}: the name must end in one of {', '.join(PLOT_SUFFIXES)}")


def write_csv(file: Path, text: str) -> None:
    """Write to ``file``, or to standard output for "-"."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        write_atomically(file, text)


def timeline_names(plot: Path, sources: Sequence[str]) -> list[Path]:
    """Return the file of each source's timeline: ``plot`` for one, else ``plot`` with the source's name in it.

    Sources of one name in several folders, or that differ in suffix or case alone, are numbered.
    """
    if len(sources) == 1:
        return [plot]
    names: list[Path] = []
    taken: set[str] = set()
    for source in sources:
        stem = printable(Path(source).stem).encode()[:_STEM_BYTES].decode(errors="ignore")
        number, name = 1, f"{plot.stem}-{stem}{plot.suffix}"
        while name.casefold() in taken:
            number += 1
            name = f"{plot.stem}-{stem}-{number}{plot.suffix}"
        taken.add(name.casefold())
        names.append(plot.with_name(name))
    return names
