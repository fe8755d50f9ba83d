"""Peak memory of ``tubelet moments`` on an hour of film beside a minute of it, each in a process of its own.

    python benchmarks/moments_memory.py OUT [--minutes 60] [--write]

The long film repeats the packets of the short one, so that nothing is encoded for it; frames come at variable rate. The
run is small, with random weights: it has every part of a large one, and what grows with the length of a film is the
same. What is compared is the largest resident memory of the whole command, with its files and report.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from long_films import make_film
from results import write_result

from tubelet.data.synthetic_films import write_films
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session

MOST_MEGABYTES = 100  # that an hour may take more than a minute
RUN: dict[str, Any] = {
    "model": {"name": "vivit_ti16x2_fe", "embed_dim": 32, "depth": 1, "num_heads": 2, "temporal_depth": 1},
    "protocol.num_frames": 8,
    "protocol.resize_short_side": 32,
    "protocol.crop_size": [32, 32],
    "training.num_epochs": 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    labels = write_films(options.out / "films", {"train": 1}, seconds=(60.0, 61.0), size_pixels=32)
    short = labels.parent / "train-00.mp4"
    long = make_film(short, options.out / "long.mp4", 60 * options.minutes)
    fields = {**RUN, "data.source": str(labels)}
    recipe = load_recipe("films/per_frame", [(name, json.dumps(value)) for name, value in fields.items()])
    run_recipe(recipe, options.out / "run", Session())
    found = {name: measure(film, options.out / "run", options.out / name) for name, film in
             {"minute": short, "long": long}.items()}  # fmt: skip
    more = found["long"]["peak_megabytes"] - found["minute"]["peak_megabytes"]
    content = {
        "minutes": options.minutes,
        "films": found,
        "more_megabytes": round(more, 1),
        "bound_megabytes": MOST_MEGABYTES,
        "versions": {name: version(name) for name in ("torch", "av", "numpy")},
    }
    print(json.dumps(content, indent=2))
    write_result("moments_memory", content, write=options.write)


def measure(film: Path, run: Path, out: Path) -> dict[str, Any]:
    """One call, and the largest memory that it held."""
    began = time.monotonic()
    words = ["moments", str(film), "--model", str(run), "--out", str(out), "--device", "cpu"]
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tubelet", *words],
        {**os.environ, "OMP_NUM_THREADS": "1"},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"tubelet moments {film} ended with status {status}")
    with open(next(out.glob("*/frames.csv")), encoding="utf-8") as rows:
        num_frames = sum(1 for _ in rows) - 1
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes there, KiB elsewhere
    return {"frames": num_frames, "peak_megabytes": round(peak, 1), "seconds": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    main()
