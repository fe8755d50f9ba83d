"""Roboflow's exports of classes, "Folder Structure" and "Multi-Label Classification", of frames taken of videos.

    train/walk/day1_mp4-12_jpg.rf.0a1b2c.jpg     a folder for each class in train, valid and test
    train/_classes.csv                           or a table: filename, and a column of 0 and 1 for each class

An export has pictures and no videos. A picture's name holds the name of its video and which of the frames that were
taken of it the picture is, counted from 0; how many were taken a second, which a person chose at the upload, it does
not say: that is ``frame_fps``. Frames that follow each other with the same classes are a row, a segment of the video,
which is found by its name below the root. Copies of a frame that an augmentation made are that frame. Roboflow splits
pictures and not videos: where frames of one video are in several splits, its splits are not used.
Source: docs.roboflow.com, "Export Data", for the folders; names of pictures as public exports have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.rows import SPLIT_NAMES, LayoutRows, Record, Row, cell, parse_each, records, some
from tubelet.data.video.formats import VIDEO_SUFFIXES
from tubelet.errors import ConfigError, DataError

TABLE, _README = "_classes.csv", "README.roboflow.txt"
_PICTURE = r"jpe?g|png|bmp|webp"
_NAME = re.compile(rf"(.+)_([a-z0-9]+)-(\d+)(?:_(?:{_PICTURE}))?\.rf\.[\w-]+\.(?:{_PICTURE})", re.IGNORECASE)
_MARKS = {"0": False, "1": True}
_OTHER = ("images", "labels")  # folders of an export of boxes


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """One picture of a video."""

    film: str  # without suffix
    number: int  # among the frames that were taken
    labels: tuple[str, ...]
    split: str | None
    where: str  # the picture, below the root


def read_roboflow(root: Path, config: ManifestConfig) -> LayoutRows:
    """One row per stretch of frames with the same classes; the classes are those that the export lists, sorted.

    Raises:
        ConfigError: the rate at which frames were taken is not given.
        DataError: no such export, pictures of no video alone, or a frame with different classes.
    """
    if config.frame_fps is None:
        raise ConfigError(
            f"{root}: Roboflow's pictures do not say how many frames a second were taken of a video; set frame_fps "
            "(--manifest.frame_fps) to the rate that was chosen at the upload"
        )
    notes, found, classes, others, is_multi = list[str](), list[_Frame](), set[str](), list[str](), False
    for folder in _splits(root):
        is_multi |= (folder / TABLE).is_file()
        for picture, labels in _pictures(folder, classes, notes if config.skip_malformed else None):
            frame = _frame(root, picture, labels, SPLIT_NAMES[folder.name.lower()])
            if frame is None:
                others.append(picture.name)
            else:
                found.append(frame)
    if not found:
        raise DataError(
            f"{root}: none of its {len(others)} pictures is a frame of a video; expected names as "
            "day1_mp4-12_jpg.rf.0a1b2c.jpg"
        )
    if others:
        notes.append(f"{len(others)} pictures are no frames of a video and are left out: {some(others)}")
    frames, index = _whole(found, notes), FileIndex(root)
    separator = next(sign for sign in ("|", ";", "#", " && ", " &&& ") if not any(sign in name for name in classes))
    return LayoutRows(
        root=root,
        rows=list(_rows(frames, index, config.frame_fps)),
        classes={"label": tuple(sorted(classes))},
        label_separator=separator if is_multi else None,
        all_classes_known=True,
        missing=tuple(index.missing),
        notes=notes + index.notes,
        grouped_by="the video of each picture",
    )


def is_roboflow(folder: Path) -> bool:
    """Whether a folder is an export of Roboflow: its pictures would else be taken for frames of one film a class."""
    return (folder / _README).is_file()


def _splits(root: Path) -> list[Path]:
    """The folders train, valid and test."""
    children = sorted(root.iterdir()) if root.is_dir() else []
    found = [child for child in children if child.is_dir() and child.name.lower() in SPLIT_NAMES]
    if not found:
        raise DataError(f"{root}: no folder train, valid or test in it; expected an export of Roboflow")
    return found


def _pictures(folder: Path, classes: set[str], skipped: list[str] | None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The pictures of a split with their classes; those that it lists are added to ``classes``."""
    if (folder / TABLE).is_file():

        def marked(record: Record) -> tuple[Path, tuple[str, ...]]:
            name = cell(record, "filename")
            if wrong := [text for column, text in record.items() if column != "filename" and text not in _MARKS]:
                raise ValueError(f"'{wrong[0]}' is neither 0 nor 1")
            classes.update(record.keys() - {"filename"})
            return folder / name, tuple(sorted(c for c, text in record.items() if c != "filename" and _MARKS[text]))

        yield from parse_each(folder / TABLE, records(folder / TABLE, ",", ("filename",)), marked, skipped)
        return
    of_classes = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    if not of_classes or {child.name for child in of_classes} <= {*_OTHER} or any(folder.glob("_annotations*")):
        raise DataError(
            f"{folder}: no folders of classes and no {TABLE}; export the classes from Roboflow, as Folder Structure or "
            "Multi-Label Classification: boxes and masks are not read"
        )
    for child in of_classes:
        classes.add(child.name)
        yield from ((file, (child.name,)) for file in sorted(child.iterdir()) if file.is_file())


def _frame(root: Path, picture: Path, labels: tuple[str, ...], split: str) -> _Frame | None:
    """None means that the picture is of no video, as its name says."""
    match = _NAME.fullmatch(picture.name)
    if match is None or f".{match[2].lower()}" not in VIDEO_SUFFIXES:
        return None
    where = picture.relative_to(root).as_posix()
    return _Frame(film=match[1], number=int(match[3]), labels=labels, split=split, where=where)


def _whole(found: Iterable[_Frame], notes: list[str]) -> list[_Frame]:
    """Every frame once, in the order of its video; without splits where a video is in several of them."""
    frames, splits = dict[tuple[str, int], _Frame](), dict[str, set[str | None]]()
    for frame in found:
        one = frames.setdefault((frame.film, frame.number), frame)
        if one.labels != frame.labels:
            said, again = (", ".join(labels) or "nothing" for labels in (one.labels, frame.labels))
            raise DataError(f"{frame.where}: says {again}, and {one.where}, the same frame, {said}; give a frame one")
        splits.setdefault(frame.film, set()).add(frame.split)
    parted = sorted(film for film, of_film in splits.items() if len(of_film) > 1)
    ordered = [frames[key] for key in sorted(frames)]
    if not parted:
        return ordered
    notes.append(
        f"{len(parted)} of {len(splits)} videos have frames in several splits, so that test shows what training has "
        f"seen: the splits of the export are not used, videos are split whole: {some(parted)}"
    )
    return [replace(frame, split=None) for frame in ordered]


def _rows(frames: list[_Frame], index: FileIndex, fps: float) -> Iterator[Row]:
    """The stretches of frames that follow each other and are alike."""
    first = 0
    for place, frame in enumerate(frames):
        after = frames[place + 1] if place + 1 < len(frames) else None
        if after is not None and after == replace(frame, number=frame.number + 1, where=after.where):
            continue
        path = index.find(frame.film)
        if path is not None:
            yield Row(
                path=path,
                labels=frame.labels,
                split=frame.split,
                start_seconds=round(frames[first].number / fps, 6),
                end_seconds=round((frame.number + 1) / fps, 6),
                group=path,
            )
        first = place + 1
