"""The layouts a dataset can have on disk, each read into plain rows.

    split folders    DIR/train/<class>/files, DIR/val/<class>/files, DIR/test/<class>/files
    class folders    DIR/<class>/files
    CSV              columns path, one or several label columns; optional split, start_seconds, end_seconds
    MedMNIST .npz    arrays {train,val,test}_images [N, T, H, W] and {train,val,test}_labels [N, 1]

Files are videos or ``.npy`` volumes. Labels are still names here, and a split may still be missing;
``tubelet.data.manifest`` turns rows into a manifest.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.video import VIDEO_SUFFIXES
from tubelet.data.volume import npz_array, npz_members
from tubelet.errors import DataError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
FILE_SUFFIXES = VIDEO_SUFFIXES | {".npy"}
_TIME_COLUMNS = {"start_seconds": ("start_seconds", "start"), "end_seconds": ("end_seconds", "end")}
_MAX_NAMED = 3  # bad rows or files that one message names


@dataclass(frozen=True, kw_only=True)
class Row:
    """One video, segment or volume as its layout states it."""

    path: str  # relative to the root of the dataset, or absolute
    labels: tuple[str, ...]  # one class name per head
    split: str | None  # none where the layout has no splits
    start_seconds: float | None = None
    end_seconds: float | None = None
    entry: str | None = None  # address inside an .npz file


def has_split_folders(folder: Path) -> bool:
    """Whether classes lie below split folders. A folder ``train`` full of files is a class, of trains."""
    return any(_folders(split) for split in _folders(folder) if split.name.lower() in SPLIT_NAMES)


def rows_of_folder(folder: Path, notes: list[str]) -> list[Row]:
    """Rows of split folders or class folders, sorted by path; what is ignored is added to ``notes``.

    Raises:
        DataError: there is no class folder with a video or an ``.npy`` volume.
    """
    children, ignored = _folders(folder), list[str]()
    classes: list[tuple[str | None, Path]] = []
    if has_split_folders(folder):
        splits = [child for child in children if child.name.lower() in SPLIT_NAMES]
        classes += [(SPLIT_NAMES[split.name.lower()], child) for split in splits for child in _folders(split)]
        ignored += [child.name for child in children if child not in splits]
    else:
        _refuse_splits_without_classes(folder, children)
        classes += [(None, child) for child in children]
    rows: list[Row] = []
    for split_name, class_folder in classes:
        names = [file.name for file in sorted(class_folder.iterdir()) if not file.name.startswith(".")]
        usable = [name for name in names if Path(name).suffix.lower() in FILE_SUFFIXES]
        prefix = class_folder.relative_to(folder).as_posix()
        rows += [Row(path=f"{prefix}/{name}", labels=(class_folder.name,), split=split_name) for name in usable]
        ignored += [f"{prefix}/{name}" for name in names if Path(name).suffix.lower() not in FILE_SUFFIXES]
        if not usable:
            notes.append(f"folder '{prefix}' holds no videos and is left out")
    if not rows:
        raise DataError(
            f"{folder}: no videos or .npy volumes in class folders; expected {folder.name}/<class>/clip.mp4 "
            f"or {folder.name}/train/<class>/clip.mp4"
        )
    if ignored:
        notes.append(f"{len(ignored)} files or folders ignored, neither videos nor .npy volumes: {_some(ignored)}")
    return rows


def rows_of_csv(path: Path, label_columns: tuple[str, ...]) -> list[Row]:
    """Rows of a CSV file (UTF-8, commas, one header line), in file order.

    Raises:
        DataError: a column is missing, or rows are malformed; the message names lines and reasons.
    """
    rows, problems = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, label_columns)
            for cells in reader:
                if not cells:
                    continue
                try:
                    rows.append(_csv_row(header, cells, label_columns))
                except ValueError as error:
                    problems.append(f"line {reader.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); expected UTF-8 text with commas") from None
    if problems:
        raise DataError(f"{path}: {len(problems)} malformed rows; {_some(problems, '; ')}")
    if not rows:
        raise DataError(f"{path}: no rows below the header; expected one line per video")
    return rows


def rows_of_npz(path: Path) -> list[Row]:
    """Rows of a MedMNIST3D file: train, val, test, each in array order.

    Raises:
        DataError: other arrays than MedMNIST's, or arrays whose shapes do not fit.
    """
    members = npz_members(path)
    splits = [split for split in SPLITS if f"{split}_images" in members and f"{split}_labels" in members]
    if "train" not in splits:
        raise DataError(
            f"{path}: holds arrays {', '.join(sorted(members)) or '(none)'}; expected train_images and "
            "train_labels, and the same for val and test"
        )
    rows = []
    for split in splits:
        images, labels = members[f"{split}_images"], npz_array(path, f"{split}_labels")
        if len(images.shape) not in (4, 5) or labels.shape != (images.shape[0], 1) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {split}_images has shape {images.shape} and {split}_labels {labels.dtype} "
                f"{labels.shape}; expected (N, T, H, W) and integers (N, 1)"
            )
        rows += [
            Row(path=path.name, labels=(str(label),), split=split, entry=f"{split}_images[{i}]")
            for i, label in enumerate(labels[:, 0].tolist())
        ]
    return rows


def check_files_exist(source: Path, root: Path, rows: list[Row]) -> None:
    """Raises DataError with the number of missing files and the first few names."""
    missing = [path for path in dict.fromkeys(row.path for row in rows) if not (root / path).is_file()]
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of its files do not exist below {root}: {_some(missing)}; "
            "correct the paths or set the root folder"
        )


def _csv_row(header: list[str], cells: list[str], label_columns: tuple[str, ...]) -> Row:
    """One row; ValueError says what is wrong with it."""
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, expected {len(header)}")
    values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    for column in ("path", "split", *label_columns):
        if values.get(column) == "":
            raise ValueError(f"'{column}' is empty")
    split = values.get("split")
    if split is not None and split.lower() not in SPLIT_NAMES:
        raise ValueError(f"split '{split}' is not one of {', '.join(SPLIT_NAMES)}")
    start, end = (_seconds(values, names) for names in _TIME_COLUMNS.values())
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"the segment ends at {end} s, not after its start at {start or 0.0} s")
    return Row(
        path=values["path"],
        labels=tuple(values[column] for column in label_columns),
        split=None if split is None else SPLIT_NAMES[split.lower()],
        start_seconds=start,
        end_seconds=end,
    )


def _seconds(values: dict[str, str], names: tuple[str, ...]) -> float | None:
    text = next((values[name] for name in names if values.get(name)), None)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"'{text}' is not a time in seconds")
    return seconds


def _check_header(path: Path, header: list[str], label_columns: tuple[str, ...]) -> None:
    if len(set(header)) < len(header):
        raise DataError(f"{path}: a column name stands twice; columns present: {', '.join(header)}")
    for column in ("path", *label_columns):
        if column not in header:
            raise DataError(
                f"{path}: no column '{column}'; columns present: {', '.join(header) or '(none)'}; "
                "label columns are named by label_columns"
            )


def _refuse_splits_without_classes(folder: Path, children: list[Path]) -> None:
    if children and all(child.name.lower() in SPLIT_NAMES for child in children):
        raise DataError(
            f"{folder}: {children[0].name} holds no class folders; expected {children[0].name}/<class>/clip.mp4"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _some(items: list[str], separator: str = ", ") -> str:
    more = len(items) - _MAX_NAMED
    return separator.join(items[:_MAX_NAMED]) + (f"{separator}and {more} more" if more > 0 else "")
