"""``tubelet data scan``: its options. ``tubelet.commands.work.data.scan`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.scan.config import ScanConfig

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

--shard 2/8 decodes every eighth file from the second on, so that several machines share one OUT; whichever part ends
last looks for copies and writes the report. Until then a part gives exit code 0.

examples:
  tubelet data scan my_clips
  tubelet data scan labels.csv --num-workers 8 --out scans/labels
  tubelet data scan labels.csv --out scans/labels --shard 2/8
  tubelet train --data my_clips --manifest.quarantine runs/scan-my_clips/quarantine.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[str, tyro.conf.Positional]  # folder, .csv or .npz file
    out: Path | None = None  # folder for the report, the quarantine list and the results; by default runs/scan-NAME
    shard: str | None = None  # PART/PARTS: the files of this part, such as 2/8
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    scan: Annotated[ScanConfig, tyro.conf.arg(name="")] = field(default_factory=ScanConfig)
    json: bool = False  # print report.json on stdout instead of the text


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "data scan", DESCRIPTION)
    from tubelet.commands.work.data.scan import run

    return run(options)
