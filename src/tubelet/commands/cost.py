"""``tubelet cost``: its options. ``tubelet.commands.work.cost`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from tubelet.commands import compute, parse
from tubelet.types import Device

DESCRIPTION = """Parameters, GMACs per view and per video, measured latency and peak memory of one model.

GMACs are 10^9 multiply-adds of matrix products and convolutions. Latency is the median over repetitions of one
forward pass over a batch of clips with random weights in float32, without decoding. --table in place of a name prints
every model beside the figures of its papers (tubelet cost --table --help).

examples:
  tubelet cost vivit_b16x2_fe --no-measure
  tubelet cost vivit_ti16x2_fe --frames 64 --size 160 160 --threads 1
  tubelet cost vtn_vit_b16 --backbone convnext_tiny --no-measure
  tubelet cost vivit_l16x2_joint --device cuda --batch 8 --json
  tubelet cost --table --filter vivit_b16x2"""


@dataclass(frozen=True, kw_only=True)
class Options:
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]  # a name of `tubelet models`
    backbone: str | None = None  # VTN's image network, any name of timm; by default the model's own
    frames: int | None = None  # frames of a clip; by default as the model is made for
    size: tuple[int, int] | None = None  # height and width in pixels; by default as the model is made for
    num_classes: int | None = None  # width of the logits; by default as the model is made for
    views: str = "4x3"  # views of one video: temporal clips x spatial crops
    batch: int = 1  # clips in the measured batch
    repetitions: int = 5  # measured forward passes, after one that is not measured
    threads: int | None = None  # CPU threads; by default torch's choice
    device: Device = "auto"  # where to measure; auto: the accelerator if there is one
    measure: bool = True  # measure latency and memory
    json: bool = False  # print JSON


TABLE_DESCRIPTION = """\
The cost of every model beside the figures of its papers: parameters, GMACs per view and per video.

Each row is counted on the clip of the published figure; a model without one on the clip that it is made for. GMACs are
10^9 multiply-adds of matrix products and convolutions; what a source counts besides is said below the table. --measure
adds the time of one view on this machine: random weights, float32, batch 1, without decoding; the large models take
minutes each on a CPU.

examples:
  tubelet cost --table
  tubelet cost --table --filter vivit_b16x2
  tubelet cost --table --filter torchvision --measure --threads 1 --json"""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    filter: str = ""  # only the models whose name contains this text
    measure: bool = False  # time one view of each on this machine
    repetitions: int | None = None  # with --measure: passes of which the median is taken, after one more; by default 3
    threads: int | None = None  # with --measure: CPU threads; by default torch's choice
    device: Device | None = None  # with --measure: where; by default the accelerator if there is one
    json: bool = False  # print JSON


def main(argv: list[str]) -> int:
    if "--table" in argv:
        words = [word for word in argv if word != "--table"]
        return _table(parse(TableOptions, words, "cost --table", TABLE_DESCRIPTION))
    options = parse(Options, argv, "cost", DESCRIPTION)
    from tubelet.commands.work.cost import run

    return compute(run, options)


def _table(options: TableOptions) -> int:
    from tubelet.commands.work.cost_table import run

    return compute(run, options)
