"""``tubelet predict``: what is in these videos?"""

from __future__ import annotations

import csv
import dataclasses
import glob
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import ProgressReporter, output_console
from tubelet.data.layouts import FILE_SUFFIXES
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_atomically
from tubelet.inference.device import Device
from tubelet.inference.predictor import load
from tubelet.types import Prediction

DESCRIPTION = """Classify videos with a checkpoint. Files, folders (searched for videos) and quoted globs may be mixed.

A file that cannot be read gives one line on stderr and exit code 1; all others are still predicted.

examples:
  tubelet predict runs/first/best clip.mp4
  tubelet predict runs/first/best footage/ 'more/*.mkv' --top-k 3 --csv predictions.csv
  tubelet predict runs/first/best clip.mp4 --json
  tubelet predict runs/first/best -- -file-that-begins-with-a-dash.mp4"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[Path, tyro.conf.Positional]  # folder with model.safetensors and tubelet.json
    sources: Annotated[tuple[str, ...], tyro.conf.Positional]  # video files, folders, globs
    top_k: int = 5  # labels per video
    json: bool = False  # print JSON on stdout
    csv: Path | None = None  # also write one row per video and label to this file
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "predict", DESCRIPTION)
    if not options.sources:
        raise ConfigError("nothing to predict: give video files, folders or globs behind the checkpoint")
    files = find_files(options.sources)
    if options.csv is not None and not options.csv.parent.is_dir():
        raise ConfigError(f"--csv {options.csv}: there is no folder {options.csv.parent}; make it first")
    classifier = load(options.checkpoint, options.device)
    top_k = min(options.top_k, len(classifier.labels))
    predictions: list[Prediction] = []
    failures: list[str] = []
    with ProgressReporter("predict") as reporter:
        results = classifier.predict_files(files, num_workers=min(options.num_workers, len(files)), top_k=top_k)
        for done, result in enumerate(results, 1):
            if isinstance(result, Prediction):
                predictions.append(result)
            else:
                failures.append(result)
                reporter.note(f"error: {result}")
            reporter.progress(done, len(files))
    if options.csv is not None:
        write_atomically(options.csv, as_csv(predictions))
    if options.json:
        rows = [dataclasses.asdict(p) for p in predictions]
        print(json.dumps({"predictions": rows, "errors": failures}, indent=2, ensure_ascii=False))
    else:
        print_table(predictions)
    if failures:
        print(f"tubelet: error: {len(failures)} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failures else 0


def find_files(sources: Sequence[str]) -> list[Path]:
    """The files that the sources name, each once, in order.

    Raises:
        DataError: a source that names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in FILE_SUFFIXES and p.is_file())
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(p for p in map(Path, glob.glob(source, recursive=True)) if p.is_file())
        if not matches:
            what = "folder without videos" if path.is_dir() else "no such file, folder or match"
            raise DataError(f"{source}: {what}; videos and volumes end in {', '.join(sorted(FILE_SUFFIXES))}")
        found |= dict.fromkeys(matches)
    return list(found)


def as_csv(predictions: Sequence[Prediction]) -> str:
    """One row per video and label: path, rank, label, probability, seconds covered, views, notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "rank", "label", "probability", "seconds_covered", "num_views", "notes"])
    for p in predictions:
        for rank, (label, prob) in enumerate(zip(p.labels, p.probs, strict=True), 1):
            notes = "; ".join(p.notes)
            writer.writerow([p.source, rank, label, f"{prob:.6g}", f"{p.seconds_covered:.3f}", p.num_views, notes])
    return text.getvalue()


def print_table(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        return
    table = Table()
    table.add_column("video", overflow="fold")
    table.add_column("prediction")
    table.add_column("covered", justify="right")
    table.add_column("note", overflow="fold")
    for p in predictions:
        best = ", ".join(f"{label} {prob:.1%}" for label, prob in zip(p.labels, p.probs, strict=True))
        table.add_row(p.source, best, f"{p.seconds_covered:.1f} s, {p.num_views} views", "; ".join(p.notes))
    output_console().print(table)
