"""``tubelet inspect``: its options. ``tubelet.commands.work.inspect`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from tubelet.commands import check_hub, parse

DESCRIPTION = """Show what a checkpoint holds: model, protocol, labels and where it comes from.

Of converted weights also what became of every tensor, and how far the logits are from the original's.

examples:
  tubelet inspect runs/demo/best
  tubelet inspect google/vivit-b-16x2-kinetics400
  tubelet inspect runs/demo/best --json"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]  # folder or owner/name
    json: bool = False  # print JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "inspect", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.inspect import run

    return run(options)
