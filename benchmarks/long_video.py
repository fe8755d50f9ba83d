"""A film of an hour against one of a minute: peak memory, and what overlapping windows cost.

python benchmarks/long_video.py CLIPS                       CLIPS: a folder with the two clips of ``SOURCES``; writes
                                                            the results, goes on where it stopped
python benchmarks/long_video.py CLIPS --cells k340/hour     only cells whose name holds this text
python benchmarks/long_video.py CLIPS --hour-seconds 120 --quick   tries it out, writes nothing

Memory: `tubelet predict FILM --window ...` in a process of its own with random weights, for a film of a minute and of
an hour (the packets of one clip repeated); the peak is the largest resident set that the system kept of the process.
``vtn`` is VTN at 5 frames per second with --window whole: features chunk by chunk, the temporal encoder once over all
of them, however long the film is. ``vivit`` is ViViT-Ti's factorized encoder in windows of 6.4 s (32 frames), one every
0.8 s.

Overlap: the windows of the film of a minute with hop = window / 8 against hop = window, interleaved in one process of
one thread, as the ratio of CPU time, decoding included.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from long_films import make_film
from results import read_result, write_result
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from models import cpu_model
from tubelet.data.video.reader import VideoReader
from tubelet.inference.long_video import predict_windows
from tubelet.inference.predictor import load
from tubelet.inference.windows import plan_windows
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint

SOURCES = {"k340": "arm_wrestling.mp4", "720p": "sam2_01_dog.mp4"}  # 340x256 at 28, 1280x720 at 29.97 frames per second
MODELS = {"vtn": "vtn_deit_ti16", "vivit": "vivit_ti16x2_fe"}
FPS, WINDOW = 5, 6.4  # frames per second that enter the models; seconds
LENGTHS = {"minute": 60, "hour": 3600}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure long films."""

    clips: Annotated[Path, tyro.conf.Positional]  # folder with the real clips
    folder: Path = Path("runs/long_video")  # where films and checkpoints are kept
    cells: str = ""  # only the cells whose name (size/length/model, size/overlap/model) holds this text
    threads: int = 2  # CPU threads of the processes whose memory is measured
    hour_seconds: int = LENGTHS["hour"]  # length of the long film
    repetitions: int = 3  # of the overlap's pairs, after one that is not counted
    quick: bool = False  # one repetition; writes nothing
    write: bool = False  # into docs/results; else into runs/results


def checkpoint_of(kind: str, folder: Path) -> Path:
    """A checkpoint of random weights, whose head is not zero."""
    path = folder / kind
    if not path.exists():
        torch.manual_seed(0)
        fields = {"num_frames": 32}
        model = create_model(MODELS[kind], **fields)
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        labels = tuple(f"class {i}" for i in range(400))
        protocol = Protocol(num_frames=32, target_fps=FPS, frame_stride=None, labels={"label": labels})
        config = vars(model_config(MODELS[kind], fields))
        save_checkpoint(path, model, Record(model_name=MODELS[kind], model_config=config, protocol=protocol))
    return path


def measure_memory(checkpoint: Path, film: Path, kind: str, threads: int) -> dict[str, Any]:
    """One `tubelet predict` in a process of its own."""
    how = ["whole"] if kind == "vtn" else [f"{WINDOW}s", "--hop", f"{WINDOW / 8}s"]
    words = ["predict", str(checkpoint), str(film), "--window", *how, "--fps", str(FPS), "--device", "cpu", "--json"]
    output, begin = film.with_suffix(f".{kind}.json"), time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        os.execve(sys.executable, [sys.executable, "-m", "tubelet", *words], environment)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"tubelet {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    (content,) = json.loads(output.read_text(encoding="utf-8"))["films"]
    return {
        "command": " ".join(["tubelet", words[0], kind, film.name, *words[3:]]),
        "threads": threads,
        "film_seconds": round(content["duration_seconds"], 2),
        "num_segments": len(content["segments"]),
        "peak_rss_mib": round(usage.ru_maxrss / 1024, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "wall_seconds": round(time.monotonic() - begin, 1),
    }


def measure_overlap(checkpoint: Path, film: Path, repetitions: int) -> dict[str, Any]:
    """CPU time of hop = window / 8 over that of hop = window, in turns."""
    torch.set_num_threads(1)
    classifier = load(checkpoint, "cpu")
    hops = {"side_by_side": WINDOW, "overlapping": WINDOW / 8}
    seconds: dict[str, list[float]] = {name: [] for name in hops}
    counts: dict[str, int] = {}
    for turn in track(range(repetitions + 1), description=f"{film.name}, {classifier.record.model_name}"):
        for name, hop in hops.items():
            with VideoReader(film) as reader:
                plan = plan_windows(
                    classifier.model, classifier.protocol, window_seconds=WINDOW, hop_seconds=hop, sample_fps=FPS
                )
                begin = time.process_time()
                counts[name] = sum(1 for _ in predict_windows(classifier, reader, plan, top_k=5))
                if turn:
                    seconds[name].append(time.process_time() - begin)
    ratios = [many / few for many, few in zip(seconds["overlapping"], seconds["side_by_side"], strict=True)]
    return {
        "num_segments": counts,
        "cpu_seconds": {name: round(statistics.median(values), 2) for name, values in seconds.items()},
        "repetitions": repetitions,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def circumstances() -> dict[str, Any]:
    return {
        "command": "python benchmarks/long_video.py CLIPS",
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "versions": {name: version(name) for name in ("torch", "av")},
    }


def growths(cells: dict[str, Any]) -> dict[str, float]:
    """Peak of the hour over that of the minute, in MiB, where both are known."""
    found = {}
    for size in SOURCES:
        for kind in MODELS:
            pair = [cells.get(f"{size}/{length}/{kind}") for length in LENGTHS]
            if pair[0] and pair[1]:
                found[f"{size}/{kind}"] = round(pair[1]["peak_rss_mib"] - pair[0]["peak_rss_mib"], 1)
    return found


def known_cells(options: Options) -> dict[str, Any]:
    """What has been measured already."""
    cells: dict[str, Any] = read_result("long_video", write=options.write).get("cells", {})
    return cells


def names_of_cells() -> list[str]:
    """The short ones first."""
    cells = [f"{size}/minute/{kind}" for size in SOURCES for kind in MODELS]
    cells += [f"{size}/overlap/{kind}" for size in SOURCES for kind in MODELS]
    return cells + [f"{size}/hour/{kind}" for size in SOURCES for kind in ("vivit", "vtn")]


def run_cell(name: str, options: Options, known: dict[str, Any]) -> dict[str, Any]:
    size, length, kind = name.split("/")
    checkpoint, clip = checkpoint_of(kind, options.folder), options.clips / SOURCES[size]
    if length == "overlap":
        film = make_film(clip, options.folder / f"{size}-60s.mp4", 60)
        return measure_overlap(checkpoint, film, 1 if options.quick else options.repetitions)
    seconds = options.hour_seconds if length == "hour" else LENGTHS[length]
    film = make_film(clip, options.folder / f"{size}-{seconds}s.mp4", seconds)
    minute = known.get(f"{size}/minute/{kind}")
    if length == "hour" and minute:
        Console(stderr=True).print(f"{name}: about {minute['wall_seconds'] * seconds / 3600:.0f} minutes")
    return measure_memory(checkpoint, film, kind, options.threads)


def main(options: Options) -> None:
    cells: dict[str, Any] = {} if options.quick else known_cells(options)
    for name in names_of_cells():
        if options.cells not in name or name in cells:
            continue
        cells[name] = run_cell(name, options, cells)
        if not options.quick:
            cells = {**known_cells(options), name: cells[name]}  # another part may have been measured at the same time
            ordered = {each: cells[each] for each in names_of_cells() if each in cells}
            content = {**circumstances(), "growth_mib": growths(cells), "cells": ordered}
            write_result("long_video", content, write=options.write)
    table = Table(title="long films")
    for column in ("cell", "peak MiB", "CPU seconds", "segments", "ratio"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for name, cell in cells.items():
        table.add_row(
            name, *(str(cell.get(key, "")) for key in ("peak_rss_mib", "cpu_seconds", "num_segments", "ratio"))
        )
    Console().print(table)
    Console().print({"hour over minute, MiB": growths(cells)})


if __name__ == "__main__":
    main(tyro.cli(Options))
