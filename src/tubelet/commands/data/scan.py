"""``tubelet data scan``: decodes every file of a dataset and reports what is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.console import ConsoleProgress
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.near_copies import NOT_LOOKED
from tubelet.data.manifest.quarantine import write_quarantine
from tubelet.data.manifest.read import read_manifest
from tubelet.data.scan.config import ScanConfig
from tubelet.data.scan.report import as_dict, as_text
from tubelet.data.scan.scan_dataset import Scan, scan
from tubelet.files import check_path, write_atomically

DESCRIPTION = """Decode every file of a dataset once and report what is wrong with it.

DATA is what `tubelet train` takes: a folder of class folders, a CSV file or a MedMNIST3D .npz file.

Problems (exit code 1): the same content in two splits, however the file is named or wrapped; the same content under two
labels; files that are missing, unreadable, cut short or damaged, that deliver fewer frames than they promise, or whose
decoder hangs or crashes; segments that are not within their videos; classes that are tested and never trained.
Warnings (exit code 0): what looks like near-copies in two splits (the same footage mirrored, brighter, re-encoded, or
cut elsewhere); a variable frame rate; times that cannot be right; the same content twice in one split; classes that no
test measures.

OUT gets report.txt, report.json and quarantine.csv, the list of rows to leave out, which you may edit and which
training and evaluation honour. The results of each file are kept there: an interrupted scan goes on where it was, and
a second one decodes only the files that changed.

examples:
  tubelet data scan my_clips
  tubelet data scan labels.csv --num-workers 8 --out scans/labels
  tubelet train --data my_clips --manifest.quarantine runs/scan-my_clips/quarantine.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional]  # folder, .csv or .npz file
    out: Path | None = None  # folder for the report, the quarantine list and the results; by default runs/scan-NAME
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    scan: Annotated[ScanConfig, tyro.conf.arg(name="")] = field(default_factory=ScanConfig)
    json: bool = False  # print report.json on stdout instead of the text


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data scan", DESCRIPTION)
    out = options.out or Path("runs") / f"scan-{Path(options.data).resolve().stem}"
    check_path(out, is_written=True)
    manifest = read_manifest(options.data, options.columns.applied_to(options.manifest), is_checked=False)
    with ConsoleProgress("scan") as progress:
        for note in manifest.notes:
            progress.note(note)
        result = scan(manifest, options.scan, out, progress.advance)
        if manifest.split_origin.kept_together == NOT_LOOKED:  # now they are known
            result = result.of(read_manifest(options.data, options.manifest, is_checked=False))
        if result.num_reused:
            progress.note(f"{result.num_reused} of {len(result.facts)} files are unchanged since the last scan")
    report = json.dumps(as_dict(result), indent=2, ensure_ascii=False)
    text = as_text(result)
    write_atomically(out / "report.json", report + "\n")
    write_atomically(out / "report.txt", text)
    write_quarantine(out / "quarantine.csv", result.findings.quarantine())
    print(report if options.json else text, end="\n" if options.json else "")
    print(_verdict(result, out), file=sys.stderr)
    return 0 if result.findings.is_clean else 1


def _verdict(result: Scan, out: Path) -> str:
    if result.findings.is_clean:
        return f"report: {out / 'report.txt'}"
    return (
        f"tubelet: error: the scan found problems; the report is {out / 'report.txt'}, the rows to leave out are in "
        f"{out / 'quarantine.csv'} (--manifest.quarantine of `tubelet train`)"
    )
