"""Reading clips from video files on one CPU core: tubelet against torchcodec, decord2, OpenCV and PyAV decoding all.

    python -m venv --system-site-packages peers        # from the environment that tubelet is installed in
    peers/bin/pip install --no-deps torchcodec decord2 opencv-python-headless
    peers/bin/python benchmarks/decode.py --clips DIR  # 20 minutes; --write: into docs/results

torchcodec needs FFmpeg's shared libraries (4 to 8) where the loader finds them; the committed results used those
inside PyAV's wheel for both, so that no difference is one of FFmpeg's versions. A peer that cannot be imported is
named and left out. Workloads, all on files of ten seconds, short side 256 and 224 x 224 crops:

    W1  a training clip: 32 frames, every second one, random start, one random crop. Half of tubelet's clips start one
        frame before those of the others: its training snaps an even stride to even frames (``snap_start``)
    W2  8 frames, one of each eighth of the video, one random crop
    W3  an evaluation: 4 clips of 32 frames at stride 2, 3 crops of each
    W4  every frame at short side 256

Readers take turns on the same file and frames; every repetition draws other clips. A figure is the median over files
and repetitions of the peer's time over ours, and time is the CPU time of the process, with all its threads. Files are
in the page cache, the packet index is warm, and what it cost to make is printed. *decoding alone* is the share of
tubelet's time that goes into the decoder: the rest is all that scaling, colors and copies could still save. Peak memory
is that of a process of its own that reads one file, above its imports.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from decode_fidelity import psnr_of_resizing
from decode_readers import READERS, Clips
from decode_sets import SETS, make_sets
from results import write_result
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.frame_sampling import random_clip, view_clips
from tubelet.data.clips.resize_crop import Geometry, random_geometry, short_side_size, view_geometry
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.protocol import Protocol

WORKLOADS = ("W1", "W2", "W3", "W4")
SET_NAMES = (*SETS, "prepared")
PROTOCOL = Protocol()
OURS, DECODING = "tubelet", "decoding alone"
PACKAGES = ("av", "torch", "torchvision", "torchcodec", "decord2", "opencv-python-headless")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure how fast clips are read ."""

    clips: Path  # folder with the real clips that the sets are made from
    sets: Path = Path("runs/decode")  # where the sets are made and kept, 24 MB
    num_clips: int = 8  # files of each set
    read: tuple[str, ...] = SET_NAMES  # which sets
    workloads: tuple[str, ...] = WORKLOADS  # which of them
    repetitions: int = 2  # reads of every file by every reader
    write: bool = False  # into docs/results; else into runs/results. Not where a set or workload is left out
    peak: str | None = None  # internal: print the peak memory of one read, given as JSON, and exit


@dataclass(frozen=True)
class Task:
    """What is read of one file."""

    indices: list[int]
    geometry: Geometry


def task_of(workload: str, path: Path, store: IndexStore, seed: int, name: str) -> Task:
    """The same for every reader, but for the start of a training clip."""
    with VideoReader(path, store.get(path)) as reader:
        times, height, width = reader.timestamps, reader.height, reader.width
    rng = np.random.default_rng(seed)
    if workload == "W3":
        plans = view_clips(times, PROTOCOL)
        indices = sorted({index for plan in plans for index in plan.indices})
        return Task(indices, view_geometry(height, width, PROTOCOL))
    if workload == "W4":
        size = short_side_size(height, width, PROTOCOL.resize_short_side)
        box = (0, 0, height, width)
        return Task(list(range(len(times))), Geometry(box=box, resized=size, crops=((0, 0),), crop_size=size))
    uniform = Protocol(num_frames=8, sampling="uniform", frame_stride=None)
    plan = random_clip(times, PROTOCOL if workload == "W1" else uniform, rng, snap=name == OURS)
    return Task(list(plan.indices), random_geometry(height, width, PROTOCOL, AugmentConfig(), rng))


def run(name: str, path: Path, task: Task, store: IndexStore) -> tuple[float, Clips]:
    """CPU seconds and what was read."""
    began = time.process_time()
    clips = READERS[name](path, task.indices, task.geometry, store)
    return time.process_time() - began, clips


def importable(store: IndexStore, path: Path) -> tuple[list[str], dict[str, str]]:
    """Readers that work here, and why the others do not."""
    works, missing = [], {}
    task = task_of("W2", path, store, 0, OURS)
    for name in READERS:
        try:
            run(name, path, task, store)
            works.append(name)
        except Exception as error:
            missing[name] = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return works, missing


def decode(path: Path, task: Task, store: IndexStore) -> float:
    """CPU seconds of tubelet's reader that converts nothing."""
    began = time.process_time()
    with VideoReader(path, store.get(path)) as reader:
        reader.decode_only(task.indices)
    return time.process_time() - began


def measure(
    names: Sequence[str], files: Sequence[Path], workload: str, store: IndexStore, repetitions: int
) -> dict[str, list[float]]:
    """CPU seconds of every reader for every file, again and again; readers start in another order each time."""
    seconds: dict[str, list[float]] = {name: [] for name in (*names, DECODING)}
    reads = [*files] * repetitions
    for number, path in enumerate(track(reads, description=f"{files[0].parent.name} {workload}")):
        shape = None
        seconds[DECODING].append(decode(path, task_of(workload, path, store, number, OURS), store))
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            elapsed, clips = run(name, path, task_of(workload, path, store, number, name), store)
            seconds[name].append(elapsed)
            shapes = [tuple(clip.shape) for clip in clips]
            if shape is not None and shapes != shape:
                raise SystemExit(f"{name} gave {shapes}, another reader {shape}")
            shape = shapes
    return seconds


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of every peer: the median over files of its time over ours."""
    ours = seconds[OURS]
    return {
        name: statistics.median(theirs / mine for theirs, mine in zip(times, ours, strict=True))
        for name, times in seconds.items()
    }


def compare(
    names: Sequence[str], sets: dict[str, list[Path]], options: Options, store: IndexStore
) -> dict[str, dict[str, Any]]:
    """A row for each set and workload, and prepared files against the fastest peer on the raw ones."""
    table: dict[str, dict[str, Any]] = {}
    raw_best = 0.0
    for set_name, workload in itertools.product(options.read, options.workloads):
        seconds = measure(names, sets[set_name], workload, store, options.repetitions)
        compared = ratios(seconds)
        best = min((name for name in compared if name not in (OURS, DECODING)), key=lambda name: compared[name])
        ours = statistics.median(seconds[OURS])
        table[f"{set_name} {workload}"] = {
            "tubelet_ms": round(1000 * ours, 1),
            "decoding_alone": round(compared[DECODING], 2),
            "ratios": {name: round(compared[name], 2) for name in names if name != OURS},
            "best_peer": best,
            "best_ratio": round(compared[best], 2),
        }
        if (set_name, workload) == ("raw720", "W1"):
            raw_best = min(statistics.median(seconds[name]) for name in names if name != OURS)
        if (set_name, workload) == ("prepared", "W1") and raw_best:
            table["prepared W1 against raw720"] = {"best_ratio": round(raw_best / ours, 1)}
    return table


def index_cost(files: Sequence[Path], store: IndexStore) -> float:
    """CPU milliseconds for one file, written to the store."""
    began = time.process_time()
    store.put({path: PacketIndex.of(path) for path in files})
    return 1000 * (time.process_time() - began) / len(files)


def peak_megabytes(name: str, path: Path, task: Task, store: IndexStore) -> float:
    """How far one read raises the peak resident memory of a process that has imported everything."""
    read = {"name": name, "path": str(path), "store": str(store.file), "indices": task.indices}
    words = ["--clips", ".", "--peak", json.dumps(read | {"geometry": vars(task.geometry)})]
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def print_peak(read: dict[str, Any]) -> None:
    """The other end of ``peak_megabytes``; Linux only."""
    for module in ("torchcodec.decoders", "decord", "cv2"):
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    fields = {key: tuple(map(tuple, v)) if key == "crops" else tuple(v) for key, v in read["geometry"].items()}
    task = Task(read["indices"], Geometry(**fields))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of the imports: begin anew
    before = _status_kilobytes("VmRSS")
    _, clips = run(read["name"], Path(read["path"]), task, IndexStore(Path(read["store"])))
    assert clips
    print((_status_kilobytes("VmHWM") - before) / 1024)


def _status_kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    if options.peak is not None:
        print_peak(json.loads(options.peak))
        return
    sets = make_sets(options.clips, options.sets, options.num_clips)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory() as folder:
        store = IndexStore(Path(folder) / "packets")
        cost = {name: index_cost(files, store) for name, files in sets.items()}
        names, missing = importable(store, sets["k340"][0])
        for name, reason in missing.items():
            console.print(f"left out: {name} ({reason})", markup=False)
        table = compare(names, sets, options, store)
        peak = {
            f"{set_name} {workload}": {
                name: round(peak_megabytes(name, files[0], task_of(workload, files[0], store, 0, name), store))
                for name in names
            }
            for set_name, workload, files in (("raw720", "W1", sets["raw720"]), ("raw720", "W3", sets["raw720"]))
        }
    content = {
        "command": "python benchmarks/decode.py --clips DIR",
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "versions": {name: _version(name) for name in PACKAGES},
        "num_clips": options.num_clips,
        "repetitions": options.repetitions,
        "left_out": missing,
        "index_ms_per_file": {name: round(value, 1) for name, value in cost.items()},
        "megabytes": {name: round(sum(f.stat().st_size for f in files) / 1e6, 1) for name, files in sets.items()},
        "best_peer_time_over_ours": table,
        "peak_megabytes_above_imports": peak,
        "psnr_of_resizing": psnr_of_resizing(sets["raw720"]),
    }
    _show(console, names, table, content)
    if (set(options.read), set(options.workloads)) == (set(SET_NAMES), set(WORKLOADS)):
        write_result("decode", content, write=options.write)


def _show(console: Console, names: Sequence[str], table: dict[str, Any], content: dict[str, Any]) -> None:
    shown = Table("workload", "tubelet ms", DECODING, *(name for name in names if name != OURS), "best peer / ours")
    for row, cell in table.items():
        values = [f"{cell['ratios'][name]:.2f}" if "ratios" in cell else "" for name in names if name != OURS]
        own = (str(cell.get(name, "")) for name in ("tubelet_ms", "decoding_alone"))
        shown.add_row(row, *own, *values, f"{cell['best_ratio']:.2f}")
    console.print(shown)
    for name in ("index_ms_per_file", "megabytes", "peak_megabytes_above_imports", "psnr_of_resizing"):
        console.print(f"{name}: {content[name]}", markup=False)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
