"""``tubelet data manifest``: reads a dataset in any known layout and writes one CSV file with all its rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.data.manifest import Options
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.durations import Durations, measure_durations
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError
from tubelet.files import write_atomically
from tubelet.session.console_progress import ConsoleProgress

_MAX_CLASSES = 40  # rows of the class table before its middle is left out


def run(options: Options) -> int:
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
