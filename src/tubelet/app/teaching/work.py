"""The process of one training: ``python -m tubelet.app.teaching.work FOLDER`` does the job of the folder to its end.

It outlives the page and the server, and a killed one goes on where it was: heads and runs resume as everywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.api.probe import probe_recipe
from tubelet.api.recipe_fields import Field, data_field, first_weights
from tubelet.app.teaching.job import DATA, STOP, Job, JobProgress, read_job, read_progress, write_progress
from tubelet.errors import Stopped, TubeletError, error_line
from tubelet.probing.config import MIN_FOLDS, ProbeConfig
from tubelet.probing.run import run_probe
from tubelet.recipe import DEFAULT_RECIPE, RECIPE, Recipe, load_recipe
from tubelet.runs.folder import resume_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.device import choose_device
from tubelet.session.fast_fp32 import fast_fp32
from tubelet.session.folder_lock import locked
from tubelet.session.session import Session

STRETCHES_RECIPE = "films/per_frame"
_WRITE_SECONDS, _LOOK_SECONDS = 0.3, 0.2
_MOST_LOSSES, _MOST_LINES = 200, 30
_WINDOW_STEPS = 32  # at least, where every weight learns: each step is frames, whose activations are kept
EVERY_WEIGHT: dict[str, Any] = {  # weights that know something already move little, the new head as without them
    "optim.lr": 1e-4,
    "optim.head_lr": 2e-3,
    "training.num_epochs": 10,
    "training.batch_size": 4,
    "training.checkpoint_every_steps": 20,
}


class _Written:
    """Progress that is written into the folder of the job."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.now = folder, JobProgress()
        earlier = read_progress(folder)
        self.now.losses, self.now.validations, self._before = earlier.losses, earlier.validations, earlier.seconds
        self._began, self._due = time.monotonic(), 0.0
        self._work: tuple[str, int, float, int] = ("", 0, 0.0, 0)  # kind and total, since when, and from where on

    def note(self, text: str) -> None:
        self.now.notes = [*self.now.notes, text][-_MOST_LINES:]
        self.write()

    def advance(self, done: int, total: int, text: str = "") -> None:
        self._count("work", done, total, text)

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        kept = [pair for pair in self.now.losses if pair[0] < step]
        self.now.losses = [*(kept[::2] if len(kept) >= _MOST_LOSSES else kept), [step, round(loss, 5)]]
        self._count("steps", step, num_steps, f"epoch {epoch + 1}, loss {loss:.3f}")

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        line = f"epoch {epoch + 1}: {text}{' (best)' if is_best else ''}"
        kept = [one for one in self.now.validations if not one.startswith(f"epoch {epoch + 1}: ")]
        self.now.validations = [*kept, line][-_MOST_LINES:]
        self.write()

    def write(self) -> None:
        self.now.seconds = self._before + time.monotonic() - self._began
        self._due = time.monotonic() + _WRITE_SECONDS
        write_progress(self._folder, self.now)

    def _count(self, kind: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        name, of, since, first = self._work
        if (name, of) != (kind, total) or done < first:
            self._work = (kind, total, now, done)
        elif done > first:
            self.now.seconds_left = (total - done) * (now - since) / (done - first)
        self.now.done, self.now.total, self.now.text = done, total, text
        if now >= self._due:
            self.write()


def work(folder: Path) -> None:
    """Do the job of a folder, and write down how it ended."""
    job = read_job(folder)
    with locked(folder), fast_fp32():  # as looks compute, whose stored features are found by that too
        written, over = _Written(folder), threading.Event()
        written.note(f"{job.encoder}: {'a head on what the encoder sees' if job.how == 'probe' else 'every weight'}")
        session = Session(device=choose_device(job.device), progress=written)
        listener = threading.Thread(target=_listen, args=(folder / STOP, over), daemon=True)
        try:
            with session.signals:  # heard from before the first request to stop until after the last
                listener.start()
                try:
                    written.now.result = _train(job, folder, session)
                finally:
                    over.set()
                    listener.join()
            written.now.state, written.now.text, written.now.seconds_left = "done", "", None
        except Stopped:
            written.now.state = "stopped"
        except (TubeletError, OSError) as error:
            written.now.state, written.now.error = "failed", error_line(error)
        except BaseException:
            written.now.state, written.now.error = "failed", "this failed unexpectedly; the terminal says why"
            raise
        finally:
            written.write()


def _train(job: Job, folder: Path, session: Session) -> str:
    """Train, and return the result in one line."""
    out, data = Path(job.out), folder / DATA
    if job.kind == "clips" and job.how == "probe":
        config = ProbeConfig(folds=MIN_FOLDS)  # few clips: each fold keeps some of every class
        recipe = probe_recipe(data, job.encoder, [("data.num_workers", "0")])
        return run_probe(recipe, config, out, Path(job.features) / "clips", session).summary
    if (out / RECIPE).exists():  # it goes on as it began, with whatever version
        recipe = resume_recipe(out)
    else:
        recipe = clips_recipe(job, data) if job.kind == "clips" else stretches_recipe(job, data)
    return run_recipe(recipe, out, session).evaluation.summary


def clips_recipe(job: Job, data: Path) -> Recipe:
    """Of a classifier of clips, all of whose weights learn."""
    return load_recipe(DEFAULT_RECIPE, [data_field(data), *first_weights(job.encoder, suggests=True)])


def stretches_recipe(job: Job, data: Path) -> Recipe:
    """Of a head that labels frames, on features that are stored once for all trainings and looks, or with its encoder.

    Films are few: what is held out is held out for validation, so that bout rules are chosen on it.
    """
    fields: list[Field] = [data_field(data), *first_weights(job.encoder, suggests=True)]
    fields += [("data.manifest.val_fraction", "0.2"), ("data.manifest.test_fraction", "0")]
    if job.how == "probe":
        features = str(Path(job.features).resolve())
        fields += [("per_frame.feature_folder", json.dumps(features)), ("training.validate_every_epochs", "3")]
        return load_recipe(STRETCHES_RECIPE, fields)
    recipe = load_recipe(STRETCHES_RECIPE, fields)
    steps = max(_WINDOW_STEPS, recipe.protocol.num_frames)  # whole clips of encoders whose tokens are pooled
    chosen = {"per_frame.train_backbone": True, "per_frame.window_steps": steps, **EVERY_WEIGHT}
    return load_recipe(STRETCHES_RECIPE, [*fields, *((name, json.dumps(value)) for name, value in chosen.items())])


def _listen(stop: Path, over: threading.Event) -> None:
    """Pass a request to stop on, as the signal that every job understands."""
    while not over.wait(_LOOK_SECONDS):
        if stop.exists():
            with contextlib.suppress(OSError):
                stop.unlink()
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
