"""How soon corrected labels are a new timeline in `tubelet app`: ten one-minute films, a head on stored features.

python benchmarks/app_retrain.py        resumable; films and features are kept below runs/app_retrain

The films are generated, 60 s at 25 frames per second. The first training (frozen EfficientNet-Lite0) stores features of
all films. Then one label is taken out, a training starts as the page starts it (a process of its own), and all ten
films are scored with the new head by the process that scores for the page, which is warm.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import tyro
from results import write_result

from tubelet.app.scoring import FilmScorer, LoadRequest, ScoreRequest
from tubelet.app.teaching.job import DATA, Job, read_progress, write_job
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, bouts_csv
from tubelet.data.synthetic_films import write_films
from tubelet.files import write_atomically
from tubelet.inference.films import Windows

NUM_FILMS, SECONDS, ENCODER = 10, 60.0, "lite0"


@dataclass(frozen=True, kw_only=True)
class Options:
    work: Path = Path("runs/app_retrain")  # folder of films, features and trainings
    times: int = 2  # how often it is measured after the first training
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    work = options.work.resolve()
    labels = write_films(work / "films", {"train": NUM_FILMS}, seconds=(SECONDS, SECONDS), size_pixels=128, seed=3)
    kept = work / "first.json"
    if not kept.exists():
        write_atomically(kept, json.dumps(train(work, "first", labels, leave_out=0)))
    times = [again(work, labels) for _ in range(options.times)]
    result = {
        "date": date.today().isoformat(),
        "films": NUM_FILMS,
        "seconds_of_film": SECONDS,
        "encoder": ENCODER,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "first_training": json.loads(kept.read_text()),
        "times": times,
        "from_train_to_new_timelines_wall_seconds": max(one["wall_seconds"] for one in times),
        "from_train_to_new_timelines_cpu_seconds": max(one["cpu_seconds"] for one in times),
    }
    write_result("app_retrain", result, write=options.write)


def again(work: Path, labels: Path) -> dict[str, Any]:
    """A label is taken out, a head is trained, and all films are scored with it."""
    load = os.getloadavg()[0]
    name = f"again-{time.time():.0f}"
    training = train(work, name, labels, leave_out=1)
    looks = look(work, labels, work / name / "run")
    seconds = {key: round(training[key] + looks[key], 1) for key in ("wall_seconds", "cpu_seconds")}
    return {"load_before": round(load, 1), "training": training, "looks": looks, **seconds}


def train(work: Path, name: str, labels: Path, *, leave_out: int) -> dict[str, Any]:
    """A training in a process, as the page starts one."""
    folder = work / name
    films = [
        WrittenFilm(path=str(labels.parent / f.path), duration_seconds=SECONDS, fps=25, bouts=f.bouts[leave_out:])
        for f in read_bouts(labels).films
    ]
    out, features = str(folder / "run"), str(work / "features")
    job = Job(name=name, kind="stretches", how="probe", encoder=ENCODER, out=out, features=features, device="cpu")
    write_job(folder, job)
    (folder / DATA).write_text(bouts_csv(films), encoding="utf-8")
    began, before = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "tubelet.app.teaching.work", str(folder)], check=True)
    seconds = time.perf_counter() - began
    progress = read_progress(folder)
    assert progress.state == "done", progress
    cpu = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    return {"wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "result": progress.result}


def look(work: Path, labels: Path, run: Path) -> dict[str, Any]:
    """All films with the new head."""
    scorer = FilmScorer(Windows(), "cpu", torch.get_num_threads())
    scorer.run(LoadRequest(Path("warm"), str(work / "first/run")), lambda seconds: None)
    began, before = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    for film in read_bouts(labels).films:
        path = labels.parent / film.path
        scorer.run(ScoreRequest(path, str(run), work / "scores" / path.stem, work / "features"), lambda seconds: None)
    seconds = time.perf_counter() - began
    return {"wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds(resource.RUSAGE_SELF) - before, 1)}


def cpu_seconds(who: int) -> float:
    """User and system time."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
