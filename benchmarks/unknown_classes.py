"""How well rejection tells unknown videos: black, color bars, noise, and a class that was left out of training.

python benchmarks/unknown_classes.py                    some ten minutes on two cores; writes the result
python benchmarks/unknown_classes.py --quick            a few clips and one epoch, writes nothing

A model of the demo's motion set is trained without one of its classes, as `tubelet train` does, which chooses the score
and learns threshold and temperature on validation clips alone. All figures are of test clips. The area under the ROC
curve (AUROC) is the chance that a known clip scores above an unknown one.

Beside the scores that tubelet has stands one that it has not: minus the distance of what enters the head to the k-th
nearest training clip (Sun et al. 2022, arXiv:2204.06507).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import tyro
from jaxtyping import Float
from results import write_result
from torch import Tensor

from tubelet.data.loading.read_views import read_views
from tubelet.data.synthetic import CLASSES, write_motion_set
from tubelet.evaluation.rejection import NUM_UNKNOWN, area, score_unknown
from tubelet.evaluation.unknown_clips import unknown_clips
from tubelet.inference.predictor import Classifier, load
from tubelet.inference.rejection import SCORES, check_rejection, familiarity
from tubelet.inference.view_averaging import predict_views
from tubelet.nn.head import head_name
from tubelet.recipe import load_recipe
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

COUNTS = {"train": 1600, "val": 160, "test": 160}
NEIGHBOR = 5
NUM_NEIGHBORS = 300  # training clips that distances are measured to
QUICK_COUNTS = {"train": 32, "val": 32, "test": 16}


@dataclass(frozen=True, kw_only=True)
class Options:
    work: Path = Path("runs/unknown_classes")  # folder for videos and runs
    left_out: str = "growing"  # the class that the model is not trained on
    epochs: int = 10
    quick: bool = False  # few clips; writes nothing
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    data, counts = options.work / "videos", QUICK_COUNTS if options.quick else COUNTS
    with ConsoleProgress("writing videos") as progress:
        write_motion_set(data, counts, progress=progress.advance)
    completed = train(options, write_list(data, options.left_out))
    result = figures(completed, sorted((data / "test" / options.left_out).glob("*.mp4")))
    result |= {"left_out": options.left_out, "clips": counts, "date": date.today().isoformat()}
    print(json.dumps(result, indent=2))
    if not options.quick:
        write_result("unknown_classes", result, write=options.write)


def write_list(data: Path, left_out: str) -> Path:
    """A CSV of all clips but those of a class."""
    file = data / f"without_{left_out}.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for split in COUNTS:
            for name in (name for name in sorted(CLASSES) if name != left_out):
                writer.writerows(
                    [path.relative_to(data), name, split] for path in sorted((data / split / name).glob("*"))
                )
    return file


def train(options: Options, data: Path) -> CompletedRun:
    epochs = "1" if options.quick else str(options.epochs)
    recipe = load_recipe("motion/vivit_fe", [("data.source", str(data)), ("training.num_epochs", epochs)])
    with ConsoleProgress("training") as progress:
        return run_recipe(recipe, options.work / f"run_{epochs}", Session(progress=progress))


def figures(completed: CompletedRun, left_out: list[Path]) -> dict[str, Any]:
    """Every score against every kind of unknown clips, and what the learned threshold and temperature do."""
    classifier, evaluation = load(completed.folder / "best", "cpu"), completed.evaluation
    protocol, rejection = classifier.protocol, evaluation.calibration.rejection
    assert rejection is not None
    unknown = score_unknown(classifier.model, protocol, classifier.device)
    items = (read_views(file, protocol) for file in left_out)
    unknown["left-out class"] = torch.cat(
        [classifier.score_clips(item.pixels[None], item.frame_numbers[None]).logits for item in items]
    )
    known = evaluation.scores.logits
    neighbors = nearest_neighbors(classifier, completed.folder.parent / "videos", left_out)
    return {
        "test_top1": evaluation.metrics["top1"],
        "num_known": len(known),
        "num_unknown": {kind: len(logits) for kind, logits in unknown.items()},
        "chosen": rejection.score,
        "auroc": {
            score: {
                kind: round(area(familiarity(known, score, protocol), familiarity(logits, score, protocol)), 4)
                for kind, logits in unknown.items()
            }
            for score in SCORES
        }
        | {f"{NEIGHBOR}th neighbor": neighbors},
        "kept_of_known": share_kept(known, classifier),
        "rejected": {kind: round(1 - share_kept(logits, classifier), 4) for kind, logits in unknown.items()},
        "calibration": evaluation.calibrated,
    }


def nearest_neighbors(classifier: Classifier, data: Path, left_out: list[Path]) -> dict[str, float]:
    """AUROC of the distance to training clips, for the same unknown clips."""
    features: list[Tensor] = []
    head = classifier.model.get_submodule(head_name(classifier.model))
    handle = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach()))

    def of_files(files: list[Path]) -> Float[Tensor, "N D"]:
        rows = []
        for item in (read_views(file, classifier.protocol) for file in files):
            features.clear()
            classifier.score_clips(item.pixels[None], item.frame_numbers[None])
            rows.append(torch.cat(features).mean(0))  # of the views
        return torch.stack(rows)

    def known(split: str) -> list[Path]:
        return [file for file in sorted((data / split).glob("*/*.mp4")) if file.parent.name != left_out[0].parent.name]

    train = known("train")
    bank = of_files(train[:: -(-len(train) // NUM_NEIGHBORS)])

    def closeness(rows: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        return -torch.cdist(rows, bank).topk(NEIGHBOR, largest=False).values[:, -1]

    of_known, areas = closeness(of_files(known("test"))), {}
    for kind, clips in unknown_clips(classifier.protocol, NUM_UNKNOWN).items():
        features.clear()
        for clip in clips:
            predict_views(classifier.model, clip[None], protocol=classifier.protocol, device=classifier.device)
        rows = torch.cat(features).unflatten(0, (len(clips), -1)).mean(1)
        areas[kind] = round(area(of_known, closeness(rows)), 4)
    areas["left-out class"] = round(area(of_known, closeness(of_files(left_out))), 4)
    handle.remove()
    return areas


def share_kept(logits: Float[Tensor, "n K"], classifier: Classifier) -> float:
    """Of clips, those that reach the threshold."""
    rejection = check_rejection(classifier.record.calibration)
    scores = familiarity(logits, rejection.score, classifier.protocol)
    return round(float((scores >= rejection.threshold).double().mean()), 4)


if __name__ == "__main__":
    main()
