"""``tubelet demo pretraining``: an encoder from clips without labels, and what a classifier gains from it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.demo import Options
from tubelet.commands.work.demo_run import carry_out
from tubelet.data.synthetic import write_motion_set
from tubelet.runs.completed import CompletedRun
from tubelet.session.console_progress import ConsoleProgress

LABELED_SHARE = 4  # every fourth training clip keeps its label
PRETRAINING, CLASSIFIER = "motion/masked_pretraining", "motion/videomae"
LAYER_DECAY = "0.75"  # of fine-tuning, as VideoMAE's


def run(options: Options, argv: list[str]) -> int:
    out = options.out or Path("demo_pretraining")
    data = out / "videos"
    with ConsoleProgress("writing videos") as progress:
        write_motion_set(data, options.counts, progress=progress.advance)
    labels = write_labels(data, out / "labels.csv")
    command = " ".join(["tubelet", "demo", *argv])
    encoder = carry_out(PRETRAINING, data, out / "encoder", options, [], command)
    first = [("init.source", json.dumps(str((out / "encoder" / "best").resolve()))), ("optim.layer_decay", LAYER_DECAY)]
    found = {
        "random weights": carry_out(CLASSIFIER, labels, out / "from_random", options, [], command),
        "pre-trained": carry_out(CLASSIFIER, labels, out / "from_encoder", options, first, command),
    }
    if options.json:
        print(json.dumps({name: result.to_dict() for name, result in {"encoder": encoder, **found}.items()}, indent=2))
    else:
        print_results(found)
    print(f"report of the pre-training: {(out / 'encoder' / 'report.html').resolve()}", file=sys.stderr)
    return 0


def write_labels(data: Path, file: Path) -> Path:
    """A table of every fourth training clip of each class, and of all others, with labels and splits."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "label", "split"])
        for split in ("train", "val", "test"):
            for of_class in sorted((data / split).iterdir()):
                clips = sorted(of_class.glob("*.mp4"))[:: LABELED_SHARE if split == "train" else 1]
                writer.writerows([clip.relative_to(file.parent).as_posix(), of_class.name, split] for clip in clips)
    return file


def print_results(results: dict[str, CompletedRun]) -> None:
    table = Table(title=f"eight motions, labels of one training clip in {LABELED_SHARE}; chance is 12.5 %")
    for heading in ("first weights", "figures on test clips", "training"):
        table.add_column(heading)
    for name, result in results.items():
        table.add_row(name, result.evaluation.task.headline(result.evaluation.metrics), f"{result.state.seconds:.0f} s")
    output_console().print(table)
