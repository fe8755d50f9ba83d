"""``tubelet compare``: its options. ``tubelet.commands.work.compare`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import compute, parse
from tubelet.types import Device

DESCRIPTION = """Compare models, tokenizers, first weights or anything else that recipes can say, fairly.

Every arm gets the same tuning budget on the validation split; a best value at the edge of the grid extends it for all
arms. Its best setting then runs with several seeds, and the test split is looked at once per run (and per number of
views, where a comparison sweeps them). A difference is called one only if it stands out from what seeds and test items
do by chance, corrected for the number of contrasts on a dataset. A run whose loss is no longer finite is counted as
diverged. Times come from a pass of their own at the end; what all runs will take is estimated before the first.

Killed at any time, the same command goes on and comes to the same numbers. In the folder of the comparison:

  report.html, report.md, result.json    what was found
  estimate.json                          what it was expected to take
  runs/DATASET/ARM/...                   the runs; tensorboard --logdir OUT/runs shows the arms by name
  data/, starts/                         clips that it generated and models that it trained for the arms to start from

NAME is a shipped comparison (without a name they are listed), or a YAML file such as those in the package's
recipes/comparisons.

examples:
  tubelet compare
  tubelet compare tokenizers --quick
  tubelet compare tokenizers --data adrenalmnist3d --jobs 2
  tubelet data get medmnist3d/organmnist3d && tubelet compare tokenizers --data organmnist3d adrenalmnist3d
  tubelet compare tokenizers --data downloads/organmnist3d_64.npz --seeds 10 --out runs/organs
  tubelet compare pretraining --data motions
  tubelet compare vivit_variants --data my_clips --folds 5
  tubelet compare my_comparison.yaml --json > result.json"""


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[str | None, tyro.conf.Positional] = None  # shipped comparison or YAML file; by default list them
    data: tuple[str, ...] = ()  # datasets of the comparison by name, .npz volumes, or videos; by default all it names
    quick: bool = False  # run the small version of the comparison
    full: bool = False  # run the large version of the comparison
    seeds: int | None = None  # final runs of each arm; by default as the comparison says
    folds: int | None = None  # cross-validation in place of seeds: each final run tests another part of the groups
    jobs: int | None = None  # runs at once; by default one per GPU, or per CPU core
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    out: Path | None = None  # folder of the comparison; by default comparisons/NAME, with --data comparisons/NAME-DATA
    take_over: bool = False  # go on in a folder that a process of another machine left without ending in it
    json: bool = False  # print result.json on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "compare", DESCRIPTION)
    from tubelet.commands.work.compare import run

    return compute(run, options, argv)
