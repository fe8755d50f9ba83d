"""``tubelet models``: its options. ``tubelet.commands.work.models`` does the work."""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.commands import parse

DESCRIPTION = """List the models with their parameters and GMACs.

GMACs are 10^9 multiply-adds of matrix products and convolutions for one view of the size in the last column.

examples:
  tubelet models
  tubelet models --filter b16x2
  tubelet models --filter 'vivit*fe' --json"""


@dataclass(frozen=True, kw_only=True)
class Options:
    filter: str = ""  # only the names that contain this text, or that a pattern with * matches
    json: bool = False  # print JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "models", DESCRIPTION)
    from tubelet.commands.work.models import run

    return run(options)
