"""Labels for every frame beside sliding windows: generated films with known bouts, one backbone, one CPU thread.

    tubelet demo moments --out OUT
    python benchmarks/moments.py OUT [--films 12,4,4] [--write]

Takes the runs of the demo, or makes them first: a ViViT that was trained end to end with its per-frame head on films of
2 to 5 minutes, and a head with longer windows on its stored features. On the same features a head learns that answers
once per window of 0.25 to 4 s; its answers are averaged over the windows that hold a step. Bout rules of all are chosen
on validation films.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from results import write_result
from torch import Tensor, nn

from tubelet.commands.demo import FILMS, Options
from tubelet.commands.work.demo_moments import END_TO_END, STORED, carry_out, films_of
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.manifest.read import read_manifest
from tubelet.data.synthetic_films import write_films
from tubelet.inference.moments.film import load_moments
from tubelet.recipe import load_recipe
from tubelet.runs.per_frame.films import TrainingFilm, feature_file, labeled_films
from tubelet.session.console_progress import ConsoleProgress
from tubelet.tasks.per_frame.choose_rules import choose_rules
from tubelet.tasks.per_frame.scores import FilmScores
from tubelet.tasks.per_frame.targets import seen_classes
from tubelet.tasks.per_frame.task import PerFrame
from tubelet.weights.checkpoint.checkpoint import read_record

WINDOWS = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds
SHOWN = (
    *("frame_mean_average_precision", "bout_f1_50", "macro_f1", "boundary_error_seconds", "boundary_error_steps"),
    *("boundary_error_frames", "kappa", "shift_change"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", default=FILMS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out, demo = options.out, Options(what="moments", device="cpu")
    counts = films_of(options.films)
    labels = write_films(out / "films", counts)
    init = [("init.source", json.dumps(str((out / "end_to_end" / "best").resolve())))]
    runs = {
        "end to end": carry_out(END_TO_END, labels, out / "end_to_end", demo, [], "benchmarks/moments.py"),
        "per frame": carry_out(STORED, labels, out / "stored_features", demo, init, "benchmarks/moments.py"),
    }
    found = {name: run.evaluation.to_dict() for name, run in runs.items()}
    films, task = stored_films(out / "stored_features", labels), runs["per frame"].evaluation.task
    assert isinstance(task, PerFrame)
    began = time.monotonic()
    with ConsoleProgress("windows") as progress:
        for seconds in WINDOWS:
            found[f"windows of {seconds:g} s"] = sliding_windows(films, task, seconds)
            progress.note(f"windows of {seconds:g} s: F1@0.5 {found[f'windows of {seconds:g} s']['bout_f1_50']:.3f}")
    rows = {name: {key: values[key] for key in SHOWN} for name, values in found.items()}
    for name, run in runs.items():
        rows[name] |= {"train_seconds": round(run.state.seconds), "intervals": found[name]["intervals"]}
    print(json.dumps(rows, indent=2))
    load = {"load_average": round(os.getloadavg()[1], 1), "cores": os.cpu_count()}
    content = {"films": counts, "machine": load, "seconds_of_windows": round(time.monotonic() - began), "models": rows}
    write_result("moments", content, write=options.write)


def stored_films(run: Path, labels: Path, store: Path | None = None) -> dict[str, list[TrainingFilm]]:
    """The films of a run by split, with the features that it stored."""
    model = load_moments(run, "cpu")
    manifest = read_manifest(labels, load_recipe(str(run / "recipe.yaml")).data.manifest)
    record = read_record(run / "backbone")
    files = {
        s.path: feature_file(store or run / "features", model.features, record, manifest.path_of(s), s)
        for s in manifest.samples
    }
    films = labeled_films(
        manifest,
        read_bouts(labels).films,
        files,
        model.record.protocol,
        model.head_record.labels,
        one=False,
        observer=None,
    )
    return {split: [film for film in films if film.sample.split == split] for split in manifest.splits}


class WindowHead(nn.Module):
    """One answer per window: the recipe's convolutions, averaged over the window before the classifier."""

    def __init__(self, in_dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm, self.project = nn.LayerNorm(in_dim), nn.Conv1d(in_dim, 64, 1)
        self.layers = nn.ModuleList(nn.Conv1d(64, 64, 3, padding=2**i, dilation=2**i) for i in range(3))
        self.drop, self.head = nn.Dropout(0.25), nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.drop(self.norm(x)).transpose(1, 2))  # B C T
        for layer in self.layers:
            x = x + self.drop(F.relu(layer(x)))
        logits: Tensor = self.head(x.mean(-1))  # B K
        return logits


def sliding_windows(films: dict[str, Sequence[TrainingFilm]], task: PerFrame, seconds: float) -> dict[str, Any]:
    """Figures of windows of this length, one from each quarter of a window on."""
    torch.manual_seed(0)
    step = float(np.median(np.diff(films["train"][0].clock.edges)))
    length = max(1, round(seconds / step))
    hop, number = max(1, length // 4), len(task.names)
    windows, targets = zip(*(cut(film, length, hop, number) for film in films["train"]), strict=True)
    inputs, wanted = torch.cat(windows), torch.cat(targets)
    head = WindowHead(inputs.shape[-1], number)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.01)
    steps = 1200
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (64,))
        loss = F.binary_cross_entropy_with_logits(head(inputs[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()
    scored = {split: [score(head, film, length, hop, number) for film in films[split]] for split in ("val", "test")}
    rules = choose_rules(task.scores(scored["val"]))
    return task.measure_films(scored["test"], rules)


def cut(film: TrainingFilm, length: int, hop: int, number: int) -> tuple[Tensor, Tensor]:
    """Windows of a film, and the behaviors that fill half of each."""
    windows = film.vectors().unfold(0, length, hop).transpose(1, 2)  # B T D
    seen = torch.from_numpy(seen_classes(film.codes, number, one=False).astype(np.float32))
    return windows, (seen.unfold(0, length, hop).mean(-1) >= 0.5).float()


@torch.inference_mode()
def score(head: nn.Module, film: TrainingFilm, length: int, hop: int, number: int) -> FilmScores:
    windows, _ = cut(film, length, hop, number)
    answers = torch.cat([head(part).sigmoid() for part in windows.split(256)]).double().numpy()
    total, weight = np.zeros((film.clock.num_steps, number)), np.zeros((film.clock.num_steps, 1))
    for place, answer in enumerate(answers):
        total[place * hop : place * hop + length] += answer
        weight[place * hop : place * hop + length] += 1
    probs = total / np.maximum(weight, 1)
    probs[weight[:, 0] == 0] = probs[max(0, int(np.flatnonzero(weight[:, 0])[-1]))]
    return FilmScores(name=film.sample.path, probs=probs, codes=film.codes, edges=film.clock.edges, truth=film.truth)


if __name__ == "__main__":
    main()
