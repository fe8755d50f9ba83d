"""``tubelet models``: its options. ``tubelet.commands.work.models`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.commands import parse

DESCRIPTION = """List the models with their parameters and GMACs.

GMACs are 10^9 multiply-adds of matrix products and convolutions for one view of the size in the last column.
--weights lists the published files that `tubelet convert` reads instead: accuracy and views as published, and three
licenses: of code, weights and training data. A license that nobody read is `unverified`.

examples:
  tubelet models
  tubelet models --filter b16x2
  tubelet models --filter 'vivit*fe' --json
  tubelet models --weights --filter videomae
  tubelet models --license commercial"""


@dataclass(frozen=True, kw_only=True)
class Options:
    filter: str = ""  # only the names that contain this text, or that a pattern with * matches
    weights: bool = False  # list published files, with the command that converts each, in place of models
    license: Literal["commercial"] | None = None  # published files whose licenses were read and allow this use
    json: bool = False  # print JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "models", DESCRIPTION)
    from tubelet.commands.work.models import run

    return run(options)
