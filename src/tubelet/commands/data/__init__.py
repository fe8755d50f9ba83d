"""``tubelet data``: commands on footage and datasets, one file each."""

from __future__ import annotations

import sys
from importlib import import_module

from tubelet.errors import nearest

# name: (module with ``main(argv: list[str]) -> int``, what the command does); imported when they run.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "manifest": ("tubelet.commands.data.manifest", "read any known dataset layout and write one CSV with all its rows"),
    "scan": ("tubelet.commands.data.scan", "decode every file; find bad ones, leaks between splits, label problems"),
    "show": ("tubelet.commands.data.show", "draw the very clips that training and prediction read on a contact sheet"),
    "prepare": ("tubelet.commands.data.prepare", "transcode videos so that training decodes them many times faster"),
    "bench": ("tubelet.commands.data.bench", "clips per second of every stage of reading, and the bottleneck"),
    "get": ("tubelet.commands.data.get", "download a dataset with its checksum, or say where to put the file"),
}


def main(argv: list[str]) -> int:
    """Run one of the commands and return its exit code, 2 for an unknown one.

    Raises SystemExit: 0 after ``--help``, as every command does.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        if argv:
            raise SystemExit(0)
        return 2
    name, *rest = argv
    if name not in SUBCOMMANDS:
        hint = nearest(name, SUBCOMMANDS)
        print(f"tubelet: unknown command 'data {name}'{hint}; see tubelet data --help", file=sys.stderr)
        return 2
    module, _ = SUBCOMMANDS[name]
    code: int = import_module(module).main(rest)
    return code


def _help() -> str:
    commands = "\n".join(f"  {name:<10}{line}" for name, (_, line) in SUBCOMMANDS.items())
    return f"""usage: tubelet data COMMAND [options]

Look at footage, clean it and prepare it, before and while models are trained on it.

{commands}

examples:
  tubelet data get medmnist3d/organmnist3d
  tubelet data manifest kinetics k400 --annotations train.csv val.csv --out k400.csv
  tubelet data scan k400.csv

tubelet data COMMAND --help  the options of one command, with examples"""
