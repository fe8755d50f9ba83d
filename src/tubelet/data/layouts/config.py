"""The layouts by name, their options, and the search for annotation files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tubelet.data.layouts.rows import SPLIT_NAMES, SPLITS, split_of_file, text_lines
from tubelet.errors import ConfigError, DataError, nearest
from tubelet.types import added

LayoutName = Literal[
    "folders",
    "csv",
    "list",
    "kinetics",
    "something-something-v1",
    "something-something-v2",
    "epic-kitchens-100",
    "moments-in-time",
    "activitynet",
    "hacs",
    "ucf101",
    "hmdb51",
    "npz",
    "medmnist3d",
    "webdataset",
    "cvat",
    "label-studio",
    "roboflow",
    "bouts",
    "unlabeled",
]

MAX_LOOKED_AT = 1_000_000  # rows; of more, no file is touched before it is read

# The files that each reads, for --help; ``tubelet.data.layouts.readers`` reads them.
EXPECTED_FILES: dict[LayoutName, str] = {
    "folders": "ROOT/<class>/clip.mp4 or ROOT/train/<class>/...; clips may be .npy, .nii.gz, or frame folders",
    "csv": "a .csv or .tsv with columns path, label; split, start_seconds, end_seconds, fps",
    "list": "lines 'path label' or 'frames [offset] count label': PySlowFast, mmaction2",
    "kinetics": "train.csv, val.csv of Kinetics 400/600/700; <id>_000010_000020.mp4",
    "something-something-v1": "something-something-v1-{labels,train,validation}.csv; <id>/",
    "something-something-v2": "something-something-v2-{labels,train,...}.json; <id>.webm",
    "epic-kitchens-100": "EPIC_100_{train,validation,noun_classes,...}.csv; videos or frame folders",
    "moments-in-time": "trainingSet.csv, validationSet.csv, moments_categories.txt",
    "activitynet": "activity_net.v1-3.min.json; v_<id>.mp4",
    "hacs": "HACS_segments_v1.1.json; <class>/v_<id>.mp4",
    "ucf101": "classInd.txt, trainlist01.txt, testlist01.txt; <class>/v_x.avi",
    "hmdb51": "<class>_test_split1.txt; <class>/x.avi",
    "npz": "one .npz with {train,val,test}_images and _labels",
    "medmnist3d": "organmnist3d.npz, organmnist3d_64.npz, ...: npz with its class names",
    "webdataset": "train-000000.tar, ...: <key>.mp4 beside <key>.cls or <key>.json",
    "cvat": "annotations.xml of video tasks: CVAT for images (tags) or for video (tracks)",
    "label-studio": "the JSON export of video tasks: choices, and labels on the timeline",
    "roboflow": "{train,valid,test}/<class>/ or _classes.csv: frames of videos, which lie below; frame_fps",
    "bouts": "labels of stretches: .csv (path, start, stop, label), .boris, .eaf, .TextGrid, .json",
    "unlabeled": "every video, volume or frame folder below ROOT, or a .csv with a column path; no labels",
}


@dataclass(frozen=True, kw_only=True)
class ManifestConfig:
    """How a dataset on disk is read."""

    layout: LayoutName | None = None  # `tubelet data manifest --help` lists them; None means that the source shows it
    annotations: tuple[str, ...] = ()  # annotation files, FILE or SPLIT=FILE; empty means those with official names
    label_columns: tuple[str, ...] = ("label",)  # CSV columns with labels, one per head of the model
    label_separator: str | None = None  # several labels per video: what joins them in one cell, as | in walk|talk
    separator: str | None = None  # between cells of a csv or list; None means by the file's suffix and first line
    class_file: Path | None = None  # text file with one class name per line in logit order, for labels as numbers
    root: Path | None = None  # folder that CSV paths are relative to; None means the folder of the CSV
    frame_fps: float | None = None  # frames per second of frame folders, if the data set does not state it
    official_split: int = 1  # which of the three splits of ucf101 and hmdb51
    skip_missing: bool = False  # leave out rows whose file is missing, with a note, instead of refusing
    skip_malformed: bool = False  # leave out malformed rows, with a note, instead of refusing
    val_fraction: float = 0.15  # share of each class split off for validation if the data has no such split
    test_fraction: float = 0.15  # share of each class split off for test if the data has no split at all
    split_seed: int = 0  # which files are split off
    test_whole_video: bool = False  # outside train, one row per whole video in place of its annotated segments
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # head: names in logit order; else sorted
    quarantine: Path | None = None  # CSV list of rows to leave out, as `tubelet data scan` writes it
    path_column: str = added("path")  # CSV column with the file of each row
    group_column: str | None = added(None)  # CSV column of what stays in one split; else group, patient or subject
    group_pattern: str | None = added(None)  # finds the group in file names: {group}_{n} reads match1 in match1_03.mp4
    split_by: Literal["groups", "files"] = added("groups")  # files: each for itself, as versions without groups did
    folds: int = added(0)  # cross-validation: parts that are the test split in turn; 0 means one split
    fold: int = added(1)  # which of the folds is the test split, from 1 on
    train_fraction: float = added(1.0)  # share of each class's training rows that is learned from, one at least
    numbers: bool = added(False)  # labels are numbers to predict (regression), not names of classes

    def __post_init__(self) -> None:
        if min(self.val_fraction, self.test_fraction) < 0 or self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be at least 0 and together less than 1, "
                f"got {self.val_fraction} and {self.test_fraction}"
            )
        if not 0 < self.train_fraction <= 1:
            raise ConfigError(f"train_fraction must be above 0 and at most 1, got {self.train_fraction:g}")
        if not self.label_columns or len(set(self.label_columns)) < len(self.label_columns):
            raise ConfigError(f"label_columns must name distinct columns, got {self.label_columns}")
        if self.label_separator is not None and (not self.label_separator or len(self.label_columns) > 1):
            raise ConfigError(
                "label_separator must not be empty and takes one label column, got "
                f"{self.label_separator!r} and {', '.join(self.label_columns)}"
            )
        for head, names in self.class_names.items():
            if len(set(names)) < len(names):
                raise ConfigError(f"class_names of '{head}' repeat a name: {', '.join(names)}")
        of_classes = {
            "class_names": self.class_names,
            "class_file": self.class_file,
            "label_separator": self.label_separator,
        }
        if self.numbers and (found := [name for name, value in of_classes.items() if value]):
            raise ConfigError(f"{', '.join(found)}: has no meaning for numbers, which are no classes; leave it out")
        if self.separator is not None and len(self.separator) != 1:
            raise ConfigError(f"separator must be one character, got {self.separator!r}")
        if self.frame_fps is not None and self.frame_fps <= 0:
            raise ConfigError(f"frame_fps must be positive, got {self.frame_fps}")
        if self.official_split not in (1, 2, 3):
            raise ConfigError(f"official_split must be 1, 2 or 3, got {self.official_split}")
        if self.folds and not (self.folds > 1 and 1 <= self.fold <= self.folds):
            raise ConfigError(f"folds must be at least 2, and fold one of them, got {self.folds} and {self.fold}")
        if self.group_pattern is not None and self.group_pattern.count("{group}") != 1:
            raise ConfigError(f"group_pattern must hold {{group}} once, got {self.group_pattern!r}")
        if self.split_by == "files" and (self.group_column or self.group_pattern):
            raise ConfigError("split_by=files keeps no groups together: leave group_column and group_pattern out")
        if self.annotations and self.layout is None:
            raise ConfigError("annotations need a layout that says how they are read; set layout too")


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """One annotation file, and the split of its rows unless they name one themselves."""

    path: Path
    split: str | None


def annotation_files(root: Path, config: ManifestConfig, *patterns: str) -> list[AnnotationFile]:
    """The files the user named, else those that match a pattern in the root or in one of its folders, hidden ones not.

    Raises:
        ConfigError: ``SPLIT=FILE`` with an unknown split.
        DataError: a named file does not exist, or none is found.
    """
    if config.annotations:
        return [_named(text) for text in config.annotations]
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder of the data set")
    folders = [root, *sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))]
    for folder in folders:
        files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
        found = sorted(path for path in files if path.name[0] != ".")  # near-copies are kept in a hidden .json
        if found:
            return [AnnotationFile(path=path, split=split_of_file(path.name)) for path in found]
    raise DataError(
        f"{root}: no annotation file {' or '.join(patterns)} there or in a folder below; name the files (annotations)"
    )


def _named(text: str) -> AnnotationFile:
    split, equals, name = text.partition("=")
    if not equals or Path(text).is_file():
        split, name = "", text
    if split and split.lower() not in SPLIT_NAMES:
        raise ConfigError(f"annotations '{text}': '{split}' is no split{nearest(split, SPLITS)}")
    path = Path(name)
    if not path.is_file():
        raise DataError(f"{path}: there is no such annotation file; give the path of a file, or SPLIT=FILE")
    return AnnotationFile(path=path, split=SPLIT_NAMES.get(split.lower()) or split_of_file(path.name))


def class_list(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one per line; where all lines are ``NAME,INDEX`` or ``INDEX NAME``, by index.

    Raises:
        DataError: the file cannot be read, repeats a name, or its indices have gaps.
    """
    lines = [line for _, line in text_lines(path)]
    for pattern in (r"(?P<name>.+),\s*(?P<index>\d+)", r"(?P<index>\d+)\s+(?P<name>.+)"):
        matches = [match for match in (re.fullmatch(pattern, line) for line in lines) if match]
        if len(matches) == len(lines) > 0:
            matches.sort(key=lambda match: int(match["index"]))
            indices, first = [int(match["index"]) for match in matches], int(matches[0]["index"])
            if first > 1 or indices != list(range(first, first + len(indices))):
                raise DataError(f"{path}: class indices repeat or have gaps; expected 0 to {len(lines) - 1}")
            lines = [match["name"].strip() for match in matches]
            break
    if not lines or len(set(lines)) < len(lines):
        raise DataError(f"{path}: {len(lines)} class names, {len(set(lines))} of them different; expected one per line")
    return tuple(lines)
