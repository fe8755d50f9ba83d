"""What rows cost: the memory of a reader process, and the start of training on ten million rows.

python benchmarks/rows.py    two minutes on one core, --write puts the result into docs/results

Readers: the resident memory of a worker that has read a row of 10,000 rows and of 1,000,000, started by the fork server
and spawned, and the seconds from a new loader to its first batch.

Start: `run_recipe` from a CSV file without splits until it reports its first steps, of a tiny model, once with ten
million rows and once with 110,000, in a process of its own. The difference in memory is that of the rows. Every row has
a path of its own; they lead through links to one clip. What the process opens, lists or asks the system about is
counted as touched: before the first clip is read, and until the end, beside the number of clips that were read. CPU
seconds count from the start of the process, imports among them; `seconds` are those on the clock, which are more where
other processes want the core (`load_average`, of the last minute).
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from results import write_result

from tubelet.config import from_dict
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.runs.run import run_recipe
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session

CLASSES, BATCH = 400, 8
ROWS_OF_READERS, ROWS_OF_START = (10_000, 1_000_000), (110_000, 10_000_000)
OUTER, INNER = 4_000, 2_500  # folders, and folders in each
RECIPE = {
    "model": {"name": "vivit_ti16x2_fe", "tubelet_size": [2, 8, 8], "embed_dim": 32, "depth": 2, "num_heads": 2},
    "protocol": {"num_frames": 8, "frame_stride": 1, "resize_short_side": 18, "crop_size": [16, 16]},
    "training": {"num_epochs": 1, "batch_size": BATCH},
}


def memory(what: str, process: int | str = "self") -> int:
    """Bytes that a process has resident (VmRSS) or has had at most (VmHWM)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])


def make(root: Path) -> None:
    """A clip, and folders of links through which ten million paths lead to it."""
    (root / "clip").mkdir()
    np.save(root / "clip" / "clip.npy", np.zeros((8, 24, 24, 3), dtype=np.uint8))
    (root / "inner").mkdir()
    for inner in range(INNER):
        (root / "inner" / f"{inner:04d}").symlink_to("../clip")
    for outer in range(OUTER):
        (root / f"class_{outer:04d}").symlink_to("inner")
    for number in ROWS_OF_START:
        with (root / f"{number}.csv").open("w", encoding="utf-8") as file:
            file.write("path,label\n")
            for row in range(number):
                outer, inner = divmod(row, INNER)
                file.write(f"class_{outer:04d}/{inner:04d}/clip.npy,class_{row % CLASSES:03d}\n")


def measure_reader(root: Path, number: int, method: str) -> dict[str, Any]:
    """A loader with one worker."""
    multiprocessing.set_start_method(method)
    names = (f"class_{row % OUTER:04d}/{row // OUTER:04d}/clip.npy" for row in range(number))
    rows = [Sample(path=name, labels=(0,), split="train") for name in names]
    manifest = Manifest(root=root, samples=rows, class_names={"label": ("a", "b")}, layout="files")
    del rows
    protocol = Protocol(num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16))
    began = time.perf_counter()
    with Loader(ClipDataset(manifest, protocol), 4, num_workers=1) as loader:
        batch = next(loader.train_batches(0))
        seconds = time.perf_counter() - began
        (worker,) = [child for child in multiprocessing.active_children() if child.name == "tubelet-reader"]
        if batch.failures:
            sys.exit(batch.failures[0])
        return {"worker_megabytes": memory("VmRSS", worker.pid or 0) / 1e6, "seconds_to_first_batch": seconds}


class Began(Exception):
    """The first steps are done."""


class UntilFirstSteps(NoProgress):
    """Ends the run when its first steps are reported."""

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        raise Began


class TouchedFiles:
    """The paths below a folder that this process opens, lists or asks the system about."""

    def __init__(self, root: Path) -> None:
        self.root, self.paths = str(root) + "/class_", set[str]()
        self.at_first_clip, self.clips = 0, 0
        sys.addaudithook(self.hear)
        for name in ("stat", "lstat", "readlink", "access"):
            setattr(os, name, self.seeing(getattr(os, name)))

    def seeing(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Any, *args: Any, **options: Any) -> Any:
            self.see(path)
            return ask(path, *args, **options)

        return asked

    def counting(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.at_first_clip = self.at_first_clip if self.clips else len(self.paths)
            self.clips += 1
            return read(*args)

        return counted

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            self.see(args[0])

    def see(self, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike) and (name := os.fsdecode(path)).startswith(self.root):
            self.paths.add(name)


def measure_start(root: Path, number: int) -> dict[str, Any]:
    """A run until its first steps are reported."""
    recipe = from_dict(Recipe, {**RECIPE, "data": {"source": str(root / f"{number}.csv"), "num_workers": 0}})
    touched = TouchedFiles(root)
    ClipDataset.read = touched.counting(ClipDataset.read)  # type: ignore[method-assign]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_recipe(recipe, Path(folder) / "run", dataclasses.replace(Session(), progress=UntilFirstSteps()))
        except Began:
            return {
                "seconds": time.perf_counter() - began,
                "cpu_seconds": time.process_time(),
                "resident_bytes": memory("VmRSS"),
                "peak_bytes": memory("VmHWM"),
                "files_touched_before_the_first_clip": touched.at_first_clip,
                "files_touched": len(touched.paths),
                "clips_read": touched.clips,
            }
    raise RuntimeError("no step was taken")


def in_process(*words: str | int | Path) -> dict[str, Any]:
    """One measurement, on one core."""
    command = [sys.executable, __file__, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    if len(sys.argv) > 3:  # in a process of its own
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        what, root, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
        print(json.dumps(measure_start(root, number) if what == "start" else measure_reader(root, number, what)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root)
        readers = {
            method: {str(number): in_process(method, root, number) for number in ROWS_OF_READERS}
            for method in ("forkserver", "spawn")
        }
        few, many = (in_process("start", root, number) for number in ROWS_OF_START)
        path_bytes = len("class_0000/0000/clip.npy")
    for of_number in readers.values():
        small, large = (of_number[str(number)] for number in ROWS_OF_READERS)
        of_number["more_megabytes"] = round(large["worker_megabytes"] - small["worker_megabytes"], 1) + 0.0
        for figures in (small, large):
            figures |= {name: round(value, 1) for name, value in figures.items()}
    difference = ROWS_OF_START[1] - ROWS_OF_START[0]
    start = {
        "rows": ROWS_OF_START[1],
        "seconds": round(many["seconds"], 1),
        "cpu_seconds": round(many["cpu_seconds"], 1),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "seconds_of_110000_rows": round(few["seconds"], 1),
        "path_bytes_per_row": path_bytes,
        "bytes_per_row": round((many["resident_bytes"] - few["resident_bytes"]) / difference),
        "bytes_per_row_at_most": round((many["peak_bytes"] - few["peak_bytes"]) / difference),
        **{name: many[name] for name in many if name.startswith(("files_", "clips_"))},
    }
    content = {"command": "python benchmarks/rows.py", "date": date.today().isoformat()}
    write_result("rows", {**content, "readers": readers, "start": start}, write="--write" in sys.argv)
    print(json.dumps({"readers": readers, "start": start}, indent=2))


if __name__ == "__main__":
    main()
