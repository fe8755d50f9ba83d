"""From a dataset on disk to its manifest: a layout reads rows; here they get splits and class indices and are checked.

Every command calls ``read_manifest``. Its two steps are ``read_rows`` and ``manifest_of``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.feature_store import finished_manifest, is_store
from tubelet.data.layouts.find_files import existing_rows
from tubelet.data.layouts.folders import read_folders
from tubelet.data.layouts.frame_counts import missing_frames_notes
from tubelet.data.layouts.npz import read_npz
from tubelet.data.layouts.readers import LAYOUTS
from tubelet.data.layouts.rows import LayoutRows, Row
from tubelet.data.layouts.tables import read_tables
from tubelet.data.layouts.tools.recognize import recognized
from tubelet.data.layouts.webdataset import read_webdataset
from tubelet.data.manifest.check_classes import check_classes
from tubelet.data.manifest.columns.large_table import read_large_table
from tubelet.data.manifest.csv_file import is_manifest_file, read_manifest_file, written_fingerprint
from tubelet.data.manifest.labels import (
    joined_notes,
    label_findings,
    labels_of,
    merged_rows,
    names_that_occur,
    numbered_notes,
    split_cells,
)
from tubelet.data.manifest.manifest import OF_ROWS, Manifest, Sample
from tubelet.data.manifest.near_copies import OnFile
from tubelet.data.manifest.numbers import tables_of, with_numbers, without_numbers
from tubelet.data.manifest.quarantine import Quarantine, read_quarantine
from tubelet.data.manifest.same_file import MAX_ROWS, Spellings, copies, spelled_alike
from tubelet.data.manifest.split import RecordedSplit, with_all_splits
from tubelet.data.manifest.train_share import share_of_training_rows
from tubelet.data.manifest.whole_videos import with_whole_videos
from tubelet.errors import ConfigError, DataError, nearest, printable


def read_manifest(
    source: str | Path,
    config: ManifestConfig | None = None,
    *,
    is_checked: bool = True,
    makes_splits: bool = True,
    recorded: RecordedSplit | None = None,
    on_file: OnFile = lambda done, total: None,
) -> Manifest:
    """Read the manifest of a dataset: a written manifest, or any layout of ``tubelet.data.layouts``.

    Without ``config.layout``, the source itself shows whether it is a folder, a CSV file, a MedMNIST ``.npz`` file or a
    tar shard. If the data has a training but no validation split, a seeded share of each class of the training rows
    becomes the validation split; if it has no splits, shares become the validation and the test split. What belongs
    together (``groups.units_of``) stays together. Rows on the
    quarantine list are left out afterwards, so that the list moves no other row to another split.

    Args:
        source: the dataset.
        config: how it is read.
        is_checked: whether missing files and classes without training rows are errors. The scan sets False.
        makes_splits: whether rows that state no split get one, for training. Else they are test rows, and one class is
            enough.
        recorded: the split that a run was made with, which is kept where the data state none.
        on_file: called with the files that were searched for near-copies, and their number.

    Raises:
        DataError: the source is unusable, files are missing, rows are malformed, or classes are missing.
        ConfigError: ``config.class_names`` names a head that does not exist.
    """
    source, config = Path(source), config or ManifestConfig()
    large = None
    if not config.numbers:
        large = read_large_table(
            source, config, is_checked=is_checked, makes_splits=makes_splits, recorded=recorded, on_file=on_file
        )
    if large is not None:
        return _checked(source, *large, config, is_checked=is_checked, makes_splits=makes_splits)
    reading = read_rows(source, config)
    return manifest_of(
        source,
        reading,
        config,
        is_checked=is_checked,
        makes_splits=makes_splits,
        recorded=recorded,
        on_file=on_file,
    )


def read_rows(source: Path, config: ManifestConfig) -> LayoutRows:
    """The rows of a dataset as its layout states them, without further splits and class indices. Raises DataError."""
    suffix = source.suffix.lower()
    if source.is_file() and suffix == ".csv" and is_manifest_file(source):  # whatever layout it was made from
        return read_manifest_file(source, config)
    if source.is_dir() and is_store(source):
        return read_manifest_file(finished_manifest(source), replace(config, root=source))
    layout = recognized(source, config)
    if layout not in (None, "csv"):
        reading = LAYOUTS[layout].read(source, config)
        return replace(reading, layout=reading.layout or layout)
    if config.layout == "csv" or (source.is_file() and suffix in (".csv", ".tsv")):
        return read_tables(source, config)
    if source.is_dir():
        return read_folders(source, config)
    if source.is_file() and suffix == ".npz":
        return read_npz(source, config)
    if source.is_file() and suffix == ".tar":
        return replace(read_webdataset(source, config), layout="webdataset")
    what = "is not a data set" if source.exists() else "does not exist"
    raise DataError(
        f"{source}: {what}; expected a folder, a .csv file or a MedMNIST .npz file, or a layout of "
        "`tubelet data manifest --help`"
    )


def manifest_of(
    source: Path,
    reading: LayoutRows,
    config: ManifestConfig,
    *,
    is_checked: bool = True,
    makes_splits: bool = True,
    recorded: RecordedSplit | None = None,
    on_file: OnFile = lambda done, total: None,
) -> Manifest:
    """Make the manifest of the rows of a layout. Arguments and errors are those of ``read_manifest``."""
    _check_names(source, reading.rows)
    heads = tuple(reading.classes)
    if unknown := set(config.class_names) - set(heads):
        raise ConfigError(f"class_names has no use for '{min(unknown)}'{nearest(min(unknown), heads)}")
    rows, notes, separator = reading.rows, reading.notes, reading.label_separator or config.label_separator
    spellings = Spellings(reading.root, looks=len(rows) <= MAX_ROWS)
    rows = spelled_alike(rows, spellings, notes)
    if several := separator is not None:
        rows = merged_rows(split_cells(rows, heads, separator), notes)
    may_miss = config.skip_missing or (config.layout is not None and LAYOUTS[config.layout].may_miss_files)
    missing: tuple[str, ...] = reading.missing
    if is_checked and not rows:
        existing_rows(source, reading, rows, may_miss)  # raises: every file is missing
    if config.numbers:
        rows = with_numbers(source, rows, heads)
        names, found = tables_of(rows, heads), []
    else:
        names = {
            head: config.class_names.get(head) or known or names_that_occur(_labels(rows, i, several))
            for i, (head, known) in enumerate(reading.classes.items())
        }
        for i, (head, known) in enumerate(names.items()):
            notes += numbered_notes(head, known, _labels(rows, i, several))
            notes += [] if several else joined_notes(head, known)
        found = label_findings(rows, names, multi_label=several)
    if not reading.splits_decided:  # a written manifest holds the notes already
        notes += [finding.note for finding in found]
    if not makes_splits:
        rows = [replace(row, split=row.split or "test") for row in rows]
        reading = replace(reading, splits_decided=True)
    same = {} if reading.splits_decided else copies(reading.root, [row.path for row in rows])
    named = [replace(row, path=same.get(row.path, row.path)) for row in rows]  # a file and its copies come into one
    named = without_numbers(named) if config.numbers else named
    split, origin = with_all_splits(source, reading, named, config, notes, recorded, on_file)
    rows = [replace(row, split=of.split, group=of.group) for row, of in zip(rows, split, strict=True)]
    rows = with_whole_videos(rows, notes, multi_label=several) if config.test_whole_video else rows
    rows = _not_quarantined(rows, spellings, config.quarantine, notes)
    rows = share_of_training_rows(rows, config, notes)
    if is_checked:
        rows, missing = existing_rows(source, reading, rows, may_miss)
        notes += missing_frames_notes(reading.root, rows)
    manifest = Manifest(
        root=reading.root,
        samples=_samples(source, rows, names, several),
        class_names=names,
        layout=reading.layout or "files",
        notes=tuple(dict.fromkeys(notes)),
        missing=missing,
        multi_label=several,
        is_numeric=config.numbers,
        label_findings=tuple(found),
        folder=source.parent if source.is_file() else None,
        split_origin=origin,
    )
    is_listed = reading.all_classes_known
    return _checked(source, manifest, is_listed, config, is_checked=is_checked, makes_splits=makes_splits)


def _checked(
    source: Path,
    manifest: Manifest,
    all_classes_known: bool,
    config: ManifestConfig,
    *,
    is_checked: bool,
    makes_splits: bool,
) -> Manifest:
    """The manifest with what is found out about its classes and files."""
    if is_checked and makes_splits and not manifest.is_numeric:
        notes = check_classes(source, manifest, all_classes_known)
        manifest = replace(manifest, notes=tuple(dict.fromkeys((*manifest.notes, *notes))))
    if is_checked and source.suffix.lower() == ".csv" and is_manifest_file(source):
        manifest = _compared_with_written(source, manifest, config)
    return manifest


def _compared_with_written(source: Path, manifest: Manifest, config: ManifestConfig) -> Manifest:
    """The manifest, with a note if the files have changed since its file was written."""
    asked = config.class_names or config.quarantine or config.test_whole_video or config.folds
    asked = asked or config.train_fraction != 1
    if asked or config.label_columns != ManifestConfig().label_columns:
        return manifest  # the user asked for other rows or classes, so the fingerprints differ anyway
    written = written_fingerprint(source)
    if written == manifest.fingerprint or (
        manifest.fingerprint.startswith(OF_ROWS) and not written.startswith(OF_ROWS)
    ):
        return manifest  # of many rows, an earlier version looked at the files too
    note = f"the files changed since {source} was written (fingerprint {written}, now {manifest.fingerprint})"
    return replace(manifest, notes=(*manifest.notes, note))


def _not_quarantined(rows: list[Row], spellings: Spellings, file: Path | None, notes: list[str]) -> list[Row]:
    """The rows that are not on the quarantine list. ``notes`` gets a line about the others."""
    if file is None:
        return rows
    quarantine = Quarantine(read_quarantine(file), spellings.first, file)
    kept = [row for row in rows if not quarantine.holds(row)]
    notes += quarantine.notes(len(rows))
    if not kept:
        raise DataError(f"{file}: the quarantine list leaves none of the {len(rows)} rows of the dataset")
    return kept


def _check_names(source: Path, rows: list[Row]) -> None:
    """Refuse names that a manifest, a checkpoint's labels and a table cannot hold: they are text."""
    bad = [row.path for row in rows if not _is_utf8("".join((row.path, row.entry or "", *row.labels)))]
    if bad:
        raise DataError(
            f"{source}: {len(bad)} of {len(rows)} names of files or classes are not UTF-8, the first is "
            f"{printable(bad[0])}; rename them (convmv does a whole folder)"
        )


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or text.encode() is not None
    except UnicodeEncodeError:
        return False


def _labels(rows: list[Row], head: int, multi_label: bool) -> set[str]:
    return {name for row in rows for name in labels_of(row.labels, head, multi_label=multi_label)}


def _samples(source: Path, rows: list[Row], names: dict[str, tuple[str, ...]], multi_label: bool) -> tuple[Sample, ...]:
    indices = {head: {name: index for index, name in enumerate(known)} for head, known in names.items()}

    def heads_of(row: Row) -> list[tuple[str, dict[str, int]]]:
        return list(indices.items()) * (len(row.labels) if multi_label else 1)

    return tuple(
        Sample(
            path=row.path,
            labels=tuple(
                _class_index(source, row, label, head, known) if label else -1
                for label, (head, known) in zip(row.labels, heads_of(row), strict=True)
            ),
            split=row.split or "train",
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds,
            fps=row.fps,
            entry=row.entry,
            start_frame=row.start_frame,
            end_frame=row.end_frame,
            group=row.group,
        )
        for row in rows
    )


def _class_index(source: Path, row: Row, label: str, head: str, known: dict[str, int]) -> int:
    if label in known:
        return known[label]
    if label.isdecimal() and int(label) < len(known):
        return int(label)
    raise DataError(
        f"{source}: class '{label}' of {row.entry or row.path} is not among the {len(known)} class names "
        f"of '{head}'{nearest(label, known)}"
    )
