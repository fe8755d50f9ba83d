"""``tubelet merge``: its options. ``tubelet.commands.work.merge`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse

DESCRIPTION = """Add LoRA adapters to the weights that they were trained on: a plain checkpoint that needs no base.

The base is read from where it was at training; it is recognized by the digest of its tensors. Give --base where it
lies elsewhere now.

examples:
  tubelet merge runs/gestures/best checkpoints/gestures
  tubelet merge runs/gestures/best checkpoints/gestures --base models/vivit_b"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]  # folder with adapters
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]  # folder to write; must not exist
    base: str | None = None  # path of the base; by default the path in the checkpoint


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "merge", DESCRIPTION)
    from tubelet.commands.work.merge import run

    return run(options)
