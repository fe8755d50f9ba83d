"""How soon corrected labels are a new timeline in `tubelet app`: ten one-minute films, a head on stored features.

python benchmarks/app_retrain.py        resumable; films and features are kept below runs/app_retrain

The films are generated, 60 s at 25 frames per second. The first training (frozen EfficientNet-Lite0) stores features of
all films. Then one label is taken out, a training starts as the page starts it (a process of its own), and all ten
films are scored with the new head by the process that scores for the page, which is warm.
"""

from __future__ import annotations

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
from tubelet.inference.films import Windows

NUM_FILMS, SECONDS = 10, 60.0


@dataclass(frozen=True, kw_only=True)
class Options:
    work: Path = Path("runs/app_retrain")  # folder of films, features and trainings
    write: bool = False  # into docs/results; else into runs/results


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    work = options.work.resolve()
    labels = write_films(work / "films", {"train": NUM_FILMS}, seconds=(SECONDS, SECONDS), size_pixels=128, seed=3)
    first = train(work, "first", labels, leave_out=0)
    again = train(work, f"again-{time.time():.0f}", labels, leave_out=1)
    looks = look(work, labels, Path(again["out"]))
    wall = again["wall_seconds"] + looks["wall_seconds"]
    result = {
        "date": date.today().isoformat(),
        "films": NUM_FILMS,
        "seconds_of_film": SECONDS,
        "threads": torch.get_num_threads(),
        "load_of_the_machine": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
        "first_training": first,
        "training_again": again,
        "looks": looks,
        "from_train_to_new_timelines_wall_seconds": round(wall, 1),
        "from_train_to_new_timelines_cpu_seconds": round(again["cpu_seconds"] + looks["cpu_seconds"], 1),
    }
    write_result("app_retrain", result, write=options.write)


def train(work: Path, name: str, labels: Path, *, leave_out: int) -> dict[str, Any]:
    """A training in a process, as the page starts one."""
    folder = work / name
    films = [
        WrittenFilm(path=str(labels.parent / f.path), duration_seconds=SECONDS, fps=25, bouts=f.bouts[leave_out:])
        for f in read_bouts(labels).films
    ]
    out, features = str(folder / "run"), str(work / "features")
    job = Job(name=name, kind="stretches", how="probe", encoder="lite0", out=out, features=features, device="cpu")
    write_job(folder, job)
    (folder / DATA).write_text(bouts_csv(films), encoding="utf-8")
    began, before = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "tubelet.app.teaching.work", str(folder)], check=True)
    seconds = time.perf_counter() - began
    progress = read_progress(folder)
    assert progress.state == "done", progress
    cpu = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    return {"out": out, "wall_seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "result": progress.result}


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
