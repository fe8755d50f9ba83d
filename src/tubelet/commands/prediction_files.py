"""What ``tubelet predict`` writes beside its table: where, under which names, and what it never writes over."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tubelet.errors import ConfigError, printable
from tubelet.files import write_atomically

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
STDOUT = Path("-")  # of --csv
_STEM_BYTES = 120  # of a film's name in that of its timeline, so that both and a number are a name of 255 bytes


def check_outputs(outputs: Mapping[str, Path | None], as_json: bool, inputs: Sequence[Path]) -> None:
    """Raise ConfigError for an output that cannot be written, or that lies where an input or another output does.

    Args:
        outputs: the files by the names of their options, --csv and --plot among them.
        as_json: whether --json writes to standard output.
        inputs: the files to predict.
    """
    csv, plot = outputs["--csv"], outputs["--plot"]
    taken: dict[Path, str] = {}
    for name, file in outputs.items():
        if name == "--csv" and file == STDOUT:
            continue
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
        if other := taken.get(file.resolve()):
            raise ConfigError(f"{other} and {name} are the same file, {file}; give each its own")
        taken[file.resolve()] = name
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
