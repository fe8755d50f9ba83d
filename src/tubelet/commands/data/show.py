"""``tubelet data show``: its options. ``tubelet.commands.work.data.show`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.train_overrides import check_fields, in_full, split_overrides
from tubelet.recipe import DEFAULT_RECIPE

DESCRIPTION = """Draw a contact sheet of the clips that training and prediction read: a row a clip, time to the right.

DATA is what `tubelet train` takes, or a folder of videos without classes, or one video. The recipe says which frames
make a clip and how they are cropped; its fields are options here as they are of `tubelet train`. Pixels are shown as
they enter normalization: after cropping and, with --augmented, after augmentation (mixing of clips is left out, which
happens in batches).

Without --augmented the clips are views as evaluation and prediction read them, the middle one of each video. With it
they are those of the first epoch of training.

Beside each clip stand the mean color of its crop and that of its whole frames. They may differ, because a crop shows a
part. A clip is flagged (!) where its crop differs from the same window of the whole frames, which are converted without
cropping, or where all its pixels are of one color. Rows that cannot be read show their error and are counted; the exit
code stays 0.

examples:
  tubelet data show my_clips
  tubelet data show my_clips --augmented --augment.random_resized_crop 0.3,1.0 --out sheet.png
  tubelet data show labels.csv --recipe runs/first/recipe.yaml --split val --num 60
  tubelet data show footage/ --npz clips.npz --json"""

MAX_CLIPS = 400  # of a sheet that viewers open
Split = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional]  # folder, .csv or .npz file, or one video
    recipe: str | None = None  # shipped recipe name or YAML file; by default that of `tubelet train --data`
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    augmented: bool = False  # clips of training, with the recipe's augmentation; else views of evaluation
    all_views: bool = False  # every view of a video; else the middle one
    split: Split | None = None  # rows of this split, made as training makes it; by default all that the data have
    num: int = 24  # rows that are shown, from every class in turn
    out: Path | None = None  # the sheet, a PNG file; by default runs/show-NAME.png
    npz: Path | None = None  # also write the clips: pixels uint8 N T H W C, labels, paths, seconds
    json: bool = False  # print what is known of each clip as JSON on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(in_full(argv), Options)
    options = parse(Options, rest, "data show", DESCRIPTION)
    check_fields(overrides, options.recipe or DEFAULT_RECIPE)
    from tubelet.commands.work.data.show import run

    return run(options, overrides)
