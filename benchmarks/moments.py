"""Labels for every frame beside sliding windows: generated films with known bouts, one backbone, one CPU thread.

    python benchmarks/moments.py OUT [--films 12,4,4] [--epochs 5] [--write]

Films of 2 to 5 minutes are written and read by our reader. A ViViT learns to say which behaviors a clip of 0.7 s shows
for at least half of it, on clips of the training films. Then its per-frame stage gives the features of every step, and
two kinds of heads learn from them: the recipe's (``films/per_frame``), and one that answers once per window of 0.25 to
4 s, whose answers are averaged over the windows that hold a step. Bout rules of both are chosen on validation films.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from results import write_result
from torch import Tensor, nn

from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.manifest.read import read_manifest
from tubelet.data.synthetic_films import write_films
from tubelet.data.video.reader import VideoReader
from tubelet.inference.moments.film import load_moments
from tubelet.recipe import load_recipe
from tubelet.runs.per_frame.films import TrainingFilm, feature_file, labeled_films
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session
from tubelet.tasks.per_frame.choose_rules import choose_rules
from tubelet.tasks.per_frame.scores import FilmScores
from tubelet.tasks.per_frame.targets import seen_classes
from tubelet.tasks.per_frame.task import PerFrame
from tubelet.weights.checkpoint.checkpoint import read_record

WINDOWS = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds
CLIP_SECONDS, CLIPS_PER_MINUTE = 0.68, 120
BACKBONE: dict[str, Any] = {
    "model": {"name": "vivit_ti16x2_fe", "tubelet_size": [2, 16, 16], "embed_dim": 96, "depth": 2, "num_heads": 3,
              "temporal_depth": 2},
    "data.num_workers": 1,
    "data.manifest.label_separator": "|",
    "protocol.num_frames": 16,
    "protocol.target_fps": 25.0,
    "protocol.resize_short_side": 64,
    "protocol.crop_size": [64, 64],
    "protocol.mean": [0.2, 0.2, 0.2],
    "protocol.std": [1.0, 1.0, 1.0],
    "protocol.num_temporal_views": 1,
    "augment": {"flip_probability": 0.5, "crop": "center"},
    "optim": {"lr": 0.0012, "weight_decay": 0.05, "warmup_epochs": 1},
    "training": {"batch_size": 32},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", default="12,4,4")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, out = time.monotonic(), options.out
    counts = dict(zip(("train", "val", "test"), map(int, options.films.split(",")), strict=True))
    labels = write_films(out / "films", counts)
    clips = write_clips(labels, out / "films/clips.csv")
    with ConsoleProgress("moments") as progress:
        session = Session(progress=progress)
        clip_recipe = recipe("folder/default", clips, {**BACKBONE, "training.num_epochs": options.epochs})
        run_recipe(clip_recipe, out / "clips", session)
        init = {"init.source": str((out / "clips/best").resolve())}
        own = {key: value for key, value in BACKBONE.items() if key.startswith(("model", "protocol"))}
        per_frame = recipe("films/per_frame", labels, {**own, **init})
        completed = run_recipe(per_frame, out / "per_frame", session)
        found = {"per_frame": completed.evaluation.to_dict()}
        films, task = stored_films(out / "per_frame", labels), completed.evaluation.task
        assert isinstance(task, PerFrame)
        for seconds in WINDOWS:
            found[f"windows_{seconds:g}s"] = sliding_windows(films, task, seconds)
            progress.note(f"windows of {seconds:g} s: bout F1@0.5 {found[f'windows_{seconds:g}s']['bout_f1_50']:.3f}")
    shown = ("frame_mean_average_precision", "bout_f1_50", "macro_f1", "boundary_error_seconds", "kappa")
    rows = {name: {key: values[key] for key in shown} for name, values in found.items()}
    rows["per_frame"]["intervals"] = found["per_frame"]["intervals"]
    print(json.dumps(rows, indent=2))
    content = {"films": counts, "seconds": round(time.monotonic() - began), "models": rows}
    write_result("moments", content, write=options.write)


def recipe(name: str, source: Path, fields: dict[str, Any]) -> Any:
    return load_recipe(name, [(k, json.dumps(v)) for k, v in {"data.source": str(source), **fields}.items()])


def write_clips(labels: Path, out: Path) -> Path:
    """Clips of the films with the behaviors that fill half of each."""
    rng, films = np.random.default_rng(0), read_bouts(labels)
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "start_seconds", "end_seconds", "label", "split"])
        for film in films.films:
            with VideoReader(labels.parent / film.path) as reader:
                length = reader.duration_seconds
            share = {"train": 1.0, "val": 0.3, "test": 0.2}[film.split or "train"]
            for start in rng.uniform(0, length - CLIP_SECONDS - 0.1, size=int(length * CLIPS_PER_MINUTE * share / 60)):
                stop = start + CLIP_SECONDS
                shown = [
                    name
                    for name in films.names
                    if sum(max(0.0, min(stop, b.stop) - max(start, b.start)) for b in film.bouts if b.label == name)
                    >= CLIP_SECONDS / 2
                ]
                writer.writerow([film.path, f"{start:.3f}", f"{stop:.3f}", "|".join(shown), film.split])
    return out


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
