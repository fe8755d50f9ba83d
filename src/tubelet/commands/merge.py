"""``tubelet merge``: merges LoRA adapters and their base into one plain checkpoint with the same predictions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from tubelet.commands import parse
from tubelet.errors import CheckpointError, ConfigError
from tubelet.weights.checkpoint.checkpoint import read_record, save_checkpoint
from tubelet.weights.open_checkpoint import open_checkpoint

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
    if options.out.exists():
        raise ConfigError(f"{options.out}: is already there; give another OUT, or remove it first")
    if read_record(options.checkpoint).adapter is None:
        raise CheckpointError(f"{options.checkpoint}: holds a whole model and no adapters: there is nothing to merge")
    with Console(stderr=True).status("reading the base and merging"):
        model, record = open_checkpoint(options.checkpoint, options.base)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(options.out, model, record)
    print(f"written: {options.out} ({record.model_name})", file=sys.stderr)
    return 0
