"""``tubelet merge``: merges LoRA adapters and their base into one plain checkpoint with the same predictions."""

from __future__ import annotations

import sys

from rich.console import Console

from tubelet.commands.merge import Options
from tubelet.errors import CheckpointError, ConfigError
from tubelet.weights.checkpoint.checkpoint import read_record, save_checkpoint
from tubelet.weights.open_checkpoint import open_checkpoint


def run(options: Options) -> int:
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
