"""Whether explanations find a cause that is known, for every family and method.

python benchmarks/explain_truth.py           goes on where it was; --write: into docs/results
python benchmarks/explain_truth.py --quick   one model, few clips, writes nothing

``explain_set.py`` has clips and models, ``explain_measures.py`` what is measured, ``explain_table.py`` what passes. A
model below 95 % on fresh clips is not testable. Every model and every method of it is kept in ``runs/explain_truth``:
a call that was stopped goes on behind the last one, and asks for the same clips and seed to use it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from explain_measures import measured, random_orders
from explain_set import MODELS, explained_clips, trained
from explain_table import table, tested_rows
from results import ROOT, write_result

from tubelet.explain.config import METHODS
from tubelet.explain.tested import FILE, MethodResult
from tubelet.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Options:
    models: tuple[str, ...] = tuple(MODELS)  # which
    num_clips: int = 32  # explained, per model and method; half of them choose, half are reported
    max_steps: int = 800  # of training, at most
    seed: int = 0  # of weights, training and clips
    quick: bool = False  # one model and four clips
    finished: bool = False  # report what is there and measure nothing
    write: bool = False  # put the result into docs/results


def main(options: Options) -> None:
    if options.quick:
        options = dataclasses.replace(options, models=("vivit_fsa",), num_clips=4)
    kept = ROOT / "runs" / "explain_truth" / f"{options.num_clips}_clips_{options.max_steps}_steps_seed_{options.seed}"
    about: dict[str, Any] = {}
    values: dict[str, dict[str, Any]] = {}
    for name in options.models:
        if options.finished and not (kept / name / f"{METHODS[-1]}.json").exists() and not _failed(kept / name):
            about[name] = {"not_measured": True}
            continue
        about[name], found = of_model(name, kept / name, options)
        if found:
            values[name] = found
    rows = table(values)
    result = {
        "num_clips": options.num_clips,
        "seed": options.seed,
        "chance": _chance(options),
        "models": {name: entry | rows.get(name, {}) for name, entry in about.items()},
    }
    if not options.quick:
        write_result("explain_truth", result, write=options.write)
    if options.write and not options.quick:
        write_tested(result["models"])
    for name, entry in result["models"].items():
        print(name, json.dumps(entry))


def write_tested(models: dict[str, Any]) -> None:
    """What ``tubelet explain`` offers: a file of the package."""
    content = io.StringIO()
    writer = csv.DictWriter(content, [field.name for field in dataclasses.fields(MethodResult)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(tested_rows(models))
    write_atomically(ROOT / "src" / "tubelet" / "explain" / FILE, content.getvalue())


def of_model(name: str, folder: Path, options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the model reached, and the values of every method; none where it is not testable."""
    began = time.monotonic()
    model, about = trained(name, options.seed, options.max_steps, folder / "weights.safetensors")
    write_atomically(folder / "model.json", json.dumps(about))
    print(f"{name}: accuracy {about['accuracy']:.3f} after {about['steps']} steps", flush=True)
    if not about["testable"]:
        return about, {}
    how = {"seed": options.seed, "num_clips": options.num_clips}
    found = {"random": _kept(folder / "random.json", partial(random_orders, model, **how))}
    for method in METHODS:
        found[method] = _kept(folder / f"{method}.json", partial(measured, model, method, **how))
        print(f"  {method}, {time.monotonic() - began:.0f} s", flush=True)
    return about, found


def _kept(file: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not file.exists():
        write_atomically(file, json.dumps(measure()))
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _failed(folder: Path) -> bool:
    """Whether the model was trained and is not testable."""
    file = folder / "model.json"
    return file.exists() and not json.loads(file.read_text("utf-8"))["testable"]


def _chance(options: Options) -> dict[str, float]:
    """What a random pixel and frame of the reported clips hit."""
    tubes = [tube for _, tube, _ in explained_clips(options.seed, options.num_clips)][options.num_clips // 2 :]
    space, frames = ([tube.any(axis).mean() for tube in tubes] for axis in (0, (1, 2)))
    return {"pointing_space": float(np.mean(space)), "pointing_time": float(np.mean(frames))}


if __name__ == "__main__":
    main(tyro.cli(Options))
