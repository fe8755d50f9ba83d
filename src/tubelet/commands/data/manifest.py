"""``tubelet data manifest``: its options. ``tubelet.commands.work.data.manifest`` does the work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.data.layouts.config import EXPECTED_FILES, LayoutName

_NAMES = "\n".join(f"  {name:<24}{files}" for name, files in EXPECTED_FILES.items())
DESCRIPTION = f"""Read a dataset in the layout it is published in, and write one CSV manifest with all its rows.

The manifest holds the path of every video (or shard and member), its segment in seconds, its split and its label for
every head, and above them the class names in logit order and a fingerprint of the data, which every result carries.
`tubelet train --data FILE.csv` and `tubelet evaluate` read it. Splits and classes are decided in it once.

LAYOUT is one of:
{_NAMES}

ROOT is the folder with the videos (csv, list, npz, webdataset: also the file itself). Annotation files are looked for
by their official names in ROOT and in the folders in it; --annotations names others, as FILE or as SPLIT=FILE. Rows
that are malformed are refused by line number. Missing videos are refused too, except where they vanish from the web
(kinetics, moments-in-time, activitynet, hacs): there they are counted, named, and left out.

examples:
  tubelet data manifest folders my_clips --out my_clips.csv
  tubelet data manifest kinetics k400 --annotations k400/train.csv k400/val.csv --out k400.csv --missing gone.txt
  tubelet data manifest list rawframes --annotations train=a.txt val=b.txt --class-file names.txt --frame-fps 30
  tubelet data manifest epic-kitchens-100 EPIC-KITCHENS --annotations annotations/EPIC_100_*.csv --out ek100.csv
  tubelet data manifest medmnist3d organmnist3d.npz --out organ.csv --json"""


@dataclass(frozen=True, kw_only=True)
class Options:
    layout: Annotated[LayoutName, tyro.conf.Positional]  # how the dataset lies on disk
    root: Annotated[Path, tyro.conf.Positional]  # folder with the videos, or the one file of the dataset
    out: Path | None = None  # CSV file to write; by default only the report
    annotations: tuple[str, ...] = ()  # annotation files, FILE or SPLIT=FILE
    label_columns: tuple[str, ...] = ("label",)  # csv and webdataset: columns or keys with labels, one per head
    label_separator: str | None = None  # several labels per video: what joins them in one cell, as | in walk|talk
    label_column: tuple[str, ...] = ()  # the same as --label-columns
    path_column: str = "path"  # csv: column with the file of each row
    separator: str | None = None  # csv and list: between the cells; by default by the file's ending and first line
    class_file: Path | None = None  # csv, list and webdataset: class names, one per line in logit order
    frame_fps: float | None = None  # frames per second of frame folders, where the dataset does not say it
    official_split: int = 1  # ucf101 and hmdb51: which of the three splits
    skip_missing: bool = False  # leave out rows whose file is missing, and say so
    skip_malformed: bool = False  # leave out malformed rows, and say so
    val_fraction: float = 0.15  # share of each class split off for validation where the data has no such split
    test_fraction: float = 0.15  # share of each class split off for test where the data has no split at all
    split_seed: int = 0  # which files are split off
    group_column: str | None = None  # csv: column of what stays in one split; else group, patient or subject
    group_pattern: str | None = None  # reads what stays in one split in file names: {group}_{n}
    test_whole_video: bool = False  # outside train a row per video, whole, in place of its annotated segments
    missing: Path | None = None  # text file to write with the name of every missing video
    no_durations: bool = False  # do not open the videos to see how long they are
    num_threads: int = os.cpu_count() or 1  # files opened at a time to see how long they are
    json: bool = False  # print the report as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data manifest", DESCRIPTION)
    from tubelet.commands.work.data.manifest import run

    return run(options)
