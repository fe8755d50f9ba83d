"""``tubelet data manifest``: reads a dataset in any known layout and writes one CSV file with all its rows."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress, output_console
from tubelet.data.layouts.config import EXPECTED_FILES, LayoutName, ManifestConfig
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.durations import Durations, measure_durations
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError
from tubelet.files import write_atomically

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

_MAX_CLASSES = 40  # rows of the class table before its middle is left out


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
    config = _config(options)
    with ConsoleProgress("manifest") as progress:
        manifest = read_manifest(options.root, config)
        missing = manifest.missing
        if options.missing is not None:
            write_atomically(options.missing, "".join(f"{name}\n" for name in missing))
        if options.out is not None:
            manifest = _written(manifest, options.out)
        for note in manifest.notes:
            progress.note(note)
        durations = None
        if not options.no_durations:
            durations = measure_durations(manifest, options.num_threads, progress.advance)
            for line in durations.unreadable[:3]:
                progress.note(f"not opened: {line}")
    report = _report(manifest, durations, len(missing))
    if options.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(manifest, report, options.out)
    return 0


def _config(options: Options) -> ManifestConfig:
    """Return the options that a manifest configuration has too."""
    shared = {f.name for f in dataclasses.fields(ManifestConfig)} & {f.name for f in dataclasses.fields(Options)}
    fields: dict[str, Any] = {name: getattr(options, name) for name in shared - {"root"}}
    if options.label_column:
        fields["label_columns"] = options.label_column
    return ManifestConfig(**fields)


def _written(manifest: Manifest, out: Path) -> Manifest:
    """Write the manifest and read it back, so that the report is of what a training reads."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, out)
    again = read_manifest(out)
    if again.samples != manifest.samples or again.class_names != manifest.class_names:
        raise DataError(f"{out}: reads back to other rows than were written; this is a defect of tubelet, report it")
    return again


def _report(manifest: Manifest, durations: Durations | None, num_missing: int) -> dict[str, Any]:
    splits = {name: manifest.split(name) for name in manifest.splits}
    return {
        "layout": manifest.layout,
        "root": str(manifest.root),
        "fingerprint": manifest.fingerprint,
        "num_rows": len(manifest),
        "num_missing": num_missing,
        "splits": {name: len(part) for name, part in splits.items()},
        "classes": {head: list(names) for head, names in manifest.class_names.items()},
        "class_counts": {
            head: {name: part.class_counts(head) for name, part in splits.items()} for head in manifest.class_names
        },
        "durations": None if durations is None else dataclasses.asdict(durations),
        "label_findings": [dataclasses.asdict(finding) for finding in manifest.label_findings],
        "notes": list(manifest.notes),
    }


def _print(manifest: Manifest, report: dict[str, Any], out: Path | None) -> None:
    console = output_console()
    for head, counts in report["class_counts"].items():
        table = Table(title=f"{head}: {len(manifest.class_names[head])} classes", title_justify="left")
        table.add_column("class")
        for split in counts:
            table.add_column(split, justify="right")
        names = manifest.class_names[head]
        half = _MAX_CLASSES // 2
        for place, name in enumerate(names):
            if len(names) <= _MAX_CLASSES or place < half or place >= len(names) - half:
                table.add_row(name, *(str(count[name]) for count in counts.values()))
            elif place == half:
                table.add_row(f"... {len(names) - 2 * half} more ...", *("" for _ in counts))
        console.print(table, markup=False)
    rows = ", ".join(f"{split} {count}" for split, count in report["splits"].items())
    print(f"rows         {report['num_rows']} ({rows}), {report['num_missing']} missing")
    if (found := report["durations"]) is not None:
        print(f"durations    {_durations_text(found)}")
    print(f"fingerprint  {report['fingerprint']}")
    if out is not None:
        print(f"manifest     {out}")


def _durations_text(found: dict[str, Any]) -> str:
    if not found["num_known"]:
        return "not known for any row"
    text = (
        f"{found['total_seconds'] / 3600:.2f} h in {found['num_known']} of {found['num_rows']} rows; "
        f"min {found['min_seconds']:.2f} s, median {found['median_seconds']:.2f} s, max {found['max_seconds']:.2f} s"
    )
    return text + (f"; {len(found['unreadable'])} files could not be opened" if found["unreadable"] else "")
