"""The clips of a probe: all that the data hold, whatever splits they state, with what belongs together.

What belongs together is what the data state (a column, a folder, a pattern) and near-copies beside it, because every
fold is tested: clips of two stated groups that show the same footage would tell each other's class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tubelet.data.layouts.rows import Row
from tubelet.data.manifest.groups import Union, units_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import SWALLOWED_CLASS, find_near_copies, grouped_by_near_copies
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.same_file import check_files, copies
from tubelet.data.manifest.sample import Sample
from tubelet.data.manifest.split import note_parted_groups
from tubelet.errors import ConfigError, DataError
from tubelet.probing.folds import check_num_groups
from tubelet.recipe import DataConfig
from tubelet.session.session import Session


def read_clips(data: DataConfig, num_folds: int, session: Session) -> tuple[Manifest, tuple[str, ...]]:
    """All rows of the data with their groups, and what was decided about them, in lines that were shown too.

    Raises:
        ConfigError: several heads, or folds of training.
        DataError: the data cannot be read, show one class, have one file under two labels, or too few groups.
    """
    if data.manifest.folds:
        raise ConfigError("a probe parts all clips into folds itself: give --folds, and leave data.manifest.folds out")
    manifest = read_manifest(data.path, data.manifest, makes_splits=False)
    if len(manifest.class_names) > 1:
        raise ConfigError(f"a probe is of one head, the data have {', '.join(manifest.class_names)}; name one column")
    parted = list[str]()
    note_parted_groups(manifest.samples, parted)  # of stated splits, which no fold keeps
    decided = list[str]()
    stated = manifest.splits
    manifest = replace(manifest, samples=[replace(sample, split="train") for sample in manifest.samples])
    check_files(manifest)
    manifest = _each_once(manifest, decided)
    if stated != ("test",):  # what rows without a split are read as
        splits = "/".join(stated)
        decided.append(f"cross-validates all {len(manifest)} clips; stated splits {splits} are not kept apart")
    for note in (note for note in (*manifest.notes, *decided) if note not in parted):
        session.progress.note(note)
    _check_classes(manifest)
    shown = len(decided)
    manifest = _together(manifest, data, session, decided)
    for note in decided[shown:]:
        session.progress.note(note)
    check_num_groups(units_of(manifest.samples), num_folds)
    return manifest, tuple(decided)


def _each_once(manifest: Manifest, notes: list[str]) -> Manifest:
    """The rows without those that show what an earlier one does: a clip counts once. A note tells how many."""
    rows = dict[object, Sample]()
    for row in manifest.samples:
        rows.setdefault((row.path, row.entry, row.segment), row)
    if repeated := len(manifest) - len(rows):
        what = "row repeats an earlier one and is" if repeated == 1 else "rows repeat earlier ones and are"
        notes.append(f"{repeated} {what} left out")
    return replace(manifest, samples=list(rows.values()))


def _check_classes(manifest: Manifest) -> None:
    (names,) = manifest.class_names.values()
    occur = manifest.labels_that_occur(0)
    if len(occur) < 2:
        found = ", ".join(f"'{names[label]}'" for label in sorted(occur)) or "none"
        raise DataError(f"{manifest.root}: a probe tells classes apart, and the clips show one class or none: {found}")


def _together(manifest: Manifest, data: DataConfig, session: Session, notes: list[str]) -> Manifest:
    """The rows with the group of what belongs together: stated groups, near-copies and files of the same bytes."""
    if data.manifest.split_by == "files":
        return manifest
    (names,) = manifest.class_names.values()
    rows = [
        Row(path=s.path, entry=s.entry, fps=s.fps, labels=tuple(names[i] for i in s.labels if i >= 0), split=None)
        for s in manifest.samples
    ]
    found = find_near_copies(
        manifest.root,
        rows,
        manifest.folder,
        on_file=lambda done, total: session.advance(done, total, "files compared"),
    )
    looked = list[str]()
    rows, kept = grouped_by_near_copies(rows, found, looked)
    if kept == SWALLOWED_CLASS and any(sample.group for sample in manifest.samples):
        looked = [f"{manifest.split_origin.kept_together} alone; near-copies would have swallowed a class"]
    notes += looked
    same = copies(manifest.root, [sample.path for sample in manifest.samples])
    units = _units(manifest.samples, [row.group for row in rows], same)
    sizes = Counter(units)
    alone = [sample.group is None and sizes[unit] == 1 for sample, unit in zip(manifest.samples, units, strict=True)]
    samples = [
        replace(sample, group=None if is_alone else unit)
        for sample, unit, is_alone in zip(manifest.samples, units, alone, strict=True)
    ]
    return replace(manifest, samples=samples)


def _units(samples: Sequence[Sample], near: Sequence[str | None], same: dict[str, str]) -> list[str]:
    """The name of what each row belongs to."""
    union = Union()
    files = [sample.entry or sample.path for sample in samples]
    for sample, file, looks_like in zip(samples, files, near, strict=True):
        union.add(file)
        if looks_like is not None:
            union.join(f"near {looks_like}", file)
        if sample.entry is None and sample.path in same:
            union.join(same[sample.path], file)
        if sample.group is not None:
            union.join(f"group {sample.group}", file)
    return [union.name(file) for file in files]
