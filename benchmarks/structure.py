"""How the code is built: files that a training run walks through, and figures of the tree under src/tubelet.

python benchmarks/structure.py [--json FILE] [--before FILE] [--write]

It knows no module of tubelet but the command line (``tubelet.cli.main``), so that it measures the same before and after
files move. ``--write`` puts the figures as "now" into docs/results/structure.json; "before" there stays as it is, or
comes from ``--before`` (a file that ``--json`` wrote). Without it nothing tracked is written.

**Walks** (``sys.setprofile``; main thread of the process that trains, which decodes too, as ``data.num_workers`` is 0).
The *current file* is that of the innermost frame of tubelet on the stack; frames of torch, timm and others between two
files of tubelet do not count. A *change of file* is a call or return (also of a generator, and by an exception) after
which the current file is another. *Files* are those that were current at least once. Module bodies, and what they
call, do not count: an import is no step of the walk. ``outside_forward`` leaves out what happens inside the forward of
the outermost module of tubelet that has parameters. Each run is its own process, on the same tiny videos:
  step   from the 2nd to the 3rd call of an optimizer's ``step``; two clips, accumulation 1, no log line is due
  step_with_readers  the same step with ``data.num_workers`` 1: what is left when another process decodes, as by default
  start  from ``tubelet train`` to the first ``Tensor.backward``
  init   the same with ``--init``, for each family from one image ViT of timm, and for a ViViT from a checkpoint and,
         as ``vivit_suggested``, without a recipe. Files *concerned with first weights* are those whose path says so
         (``FIRST_WEIGHTS``) and those outside models/ and nn/ that ``start`` does not enter. A *return* is an entry by
         a call from another file after the first one; ``sites`` counts places in the code that call into the file
         (other file, line and function called), so a loop counts once; ``visits`` are all entries, returns too.

**Tree**: see structure_tree.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

from results import read_result, write_result
from structure_tree import SOURCE, measure_tree

ROOT = Path(__file__).parents[1]
FIRST_WEIGHTS = re.compile(r"weights|mapping|start|init(?!__)|from_image|from_video")  # in the path of a file
SIZE: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
IMAGE: dict[str, Any] = {"img_size": 32, "patch_size": 8, **SIZE}  # timm's names
VIVIT = {"name": "vivit_ti16x2_fe", "tubelet_size": [2, 8, 8], "temporal_depth": 1, **SIZE}
FAMILIES: dict[str, dict[str, Any]] = {
    "vivit": VIVIT,
    "timesformer": {"name": "timesformer_b16_divided", "patch_size": 8, **SIZE},
    "vtn": {"name": "vtn_vit_b16", "depth": 1, "num_heads": 2, "hidden_dim": 32, "head_dim": 16},
    "uniformerv2": {"name": "uniformerv2_b16", "patch_size": 8, "global_layers": 1, **SIZE},
}
FIELDS: dict[str, Any] = {
    "data": {"source": "videos", "num_workers": 0},
    "protocol": {"num_frames": 8, "frame_stride": 1, "resize_short_side": 34, "crop_size": [32, 32]},
    "augment": {"mix": {"mixup": 0.3}},
    "optim": {"warmup_epochs": 0},
    "training": {"num_epochs": 1, "batch_size": 2},
}
Entry = tuple[str, tuple[str, int, str] | None, bool]  # file, by a call: from where and what, inside the forward


class Walk:
    """The changes of file of this thread, in order, and where in that list something happened."""

    def __init__(self, last: str) -> None:
        self.last = last  # event after which nothing is measured
        self.entries: list[Entry] = []
        self.marks: dict[str, int] = {}  # name of an event: entries before it
        self.files: dict[str, str | None] = {}
        self.current: str | None = None
        self.importing = self.forwards = 0

    def file_of(self, frame: FrameType) -> str | None:
        name = frame.f_code.co_filename
        if name not in self.files:
            inside = Path(name).is_relative_to(SOURCE)
            self.files[name] = Path(name).relative_to(SOURCE).as_posix() if inside else None
        return self.files[name]

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return") or (file := self.file_of(frame)) is None:
            return
        if frame.f_code.co_name == "<module>":
            self.importing += 1 if event == "call" else -1
        if self.importing or frame.f_code.co_name == "<module>":
            return
        outer = frame.f_back
        while outer is not None and self.file_of(outer) is None:
            outer = outer.f_back
        caller = None if outer is None else self.file_of(outer)
        site = (caller or "", outer.f_lineno if outer else 0, frame.f_code.co_name) if event == "call" else None
        entered = file if event == "call" else caller
        if entered is not None and entered != self.current:
            self.entries.append((entered, site, self.forwards > 0))
        self.current = entered

    def mark(self, name: str) -> None:
        number = sum(mark.startswith(name) for mark in self.marks) + 1
        self.marks[f"{name}{number}"] = len(self.entries)
        if f"{name}{number}" == self.last:
            sys.setprofile(None)

    def forward(self, change: int) -> Callable[..., None]:
        def hook(module: Any, *_: Any) -> None:
            if type(module).__module__.startswith("tubelet.") and next(module.parameters(), None) is not None:
                self.forwards += change

        return hook


def walk(argv: list[str], last: str) -> tuple[list[Entry], dict[str, int]]:
    """Carry out the command in this process, and measure until the event ``last``."""
    import torch
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from tubelet.cli import main

    walk, backward = Walk(last), torch.Tensor.backward

    def marked(*args: Any, **options: Any) -> None:
        walk.mark("backward")
        backward(*args, **options)

    torch.Tensor.backward = marked  # type: ignore[method-assign]
    register_optimizer_step_pre_hook(lambda *_: walk.mark("step"))
    register_module_forward_pre_hook(walk.forward(1))
    register_module_forward_hook(walk.forward(-1), always_call=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        sys.setprofile(walk.profile)
        try:
            code = main(argv)
        finally:
            sys.setprofile(None)
    if code:
        raise RuntimeError(f"tubelet {' '.join(argv)}: exit code {code}\n{said.getvalue()}")
    return walk.entries, walk.marks


def write_videos(root: Path) -> None:
    """Twelve videos of 12 frames in two classes: four steps of two clips, and a video of each class to test on."""
    import av
    import numpy as np

    noise = np.random.default_rng(0)
    for split, label, number in [(s, c, n) for s in ("train", "val", "test") for c in "ab" for n in range(4)]:
        if split != "train" and number:
            continue
        picture = noise.integers(0, 200, (5, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)  # no two videos are near-copies
        file = root / split / label / f"{number}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
            for time in range(12):
                pixels = np.roll(picture, 2 * time * (1 if label == "b" else -1), axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())


def write_image_model(folder: Path) -> None:
    """An image ViT with random weights, as timm's own files are."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    architecture = "vit_tiny_patch16_224"
    model = timm.create_model(architecture, num_classes=5, **IMAGE)
    save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32]}
    content = {"architecture": architecture, "num_classes": 5, "model_args": IMAGE, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def measure_walks(folder: Path) -> dict[str, Any]:
    """Every run, each in a process of its own."""
    write_videos(folder / "videos")
    write_image_model(folder / "image")
    image, best = str(folder / "image"), str(folder / "start" / "best")
    common = ["--data", str(folder / "videos"), "--device", "cpu"]
    for name, model in FAMILIES.items():  # JSON is YAML
        (folder / f"{name}.yaml").write_text(json.dumps({"model": model, **FIELDS}), encoding="utf-8")
    sizes = {"data.num_workers": 0, "protocol.num_frames": 8, "training.batch_size": 2, "training.num_epochs": 1}
    suggested = [f"--{key}={value}" for key, value in sizes.items()]
    vivit = str(folder / "vivit.yaml")
    runs = {"start": [vivit], "readers": [vivit, "--data.num_workers=1"]}
    runs |= {name: [str(folder / f"{name}.yaml"), "--init", image] for name in FAMILIES}
    runs |= {"vivit_checkpoint": [str(folder / "vivit.yaml"), "--init", best]}
    runs |= {"vivit_suggested": ["--init", image, *suggested]}
    walks = {}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, argv in runs.items():
            print(f"tubelet train: {name}", file=sys.stderr)
            command = ["train", *argv, *common, "--out", str(folder / name)]
            last = "step3" if name in ("start", "readers") else "backward1"
            walks[name] = pool.submit(walk, command, last).result()
    (entries, marks), (with_readers, reader_marks) = walks.pop("start"), walks.pop("readers")
    start = entries[: marks["backward1"]]
    init = {name: entries[: marks["backward1"]] for name, (entries, marks) in walks.items()}
    concerned = sorted({e[0] for w in init.values() for e in w if is_concerned(e[0], start)})
    return {
        "step": figures(entries[marks["step2"] - 1 : marks["step3"]]),
        "step_with_readers": figures(with_readers[reader_marks["step2"] - 1 : reader_marks["step3"]]),
        "start": figures(start),
        "init": {name: {**figures(w), **returns(w, start)} for name, w in init.items()},
        "first_weights": {"num_files": len(concerned), "num_lines": num_lines(concerned), "files": concerned},
    }


def num_lines(files: Iterable[str]) -> int:
    return sum(len((SOURCE / file).read_text(encoding="utf-8").splitlines()) for file in files)


def is_concerned(file: str, start: list[Entry]) -> bool:
    is_of_model = file.startswith(("models/", "nn/"))  # another family than that of ``start`` has other files there
    return bool(FIRST_WEIGHTS.search(file)) or not (is_of_model or file in {entry[0] for entry in start})


def figures(entries: list[Entry]) -> dict[str, Any]:
    """Of a window, whose first entry says where it begins."""
    outside = [entry for entry in entries[1:] if not entry[2]]
    pairs = Counter(f"{a[0]} -> {b[0]}" for a, b in itertools.pairwise(entries) if not b[2])
    return {
        "num_files": len({entry[0] for entry in entries}),
        "num_changes": len(entries) - 1,
        "num_files_outside_forward": len({entry[0] for entry in outside}),
        "num_changes_outside_forward": len(outside),
        "most_frequent_changes": dict(pairs.most_common(10)),
    }


def returns(entries: list[Entry], start: list[Entry]) -> dict[str, Any]:
    """How often the walk comes back to the files concerned with first weights."""
    visits, calls, sites = Counter[str](), Counter[str](), defaultdict[str, set[Any]](set)
    for file, site, _ in entries:
        if is_concerned(file, start):
            visits[file] += 1
            if site is not None:
                calls[file] += 1
                sites[file].add(site)
    rows = {f: {"returns": calls[f] - 1, "sites": len(sites[f]), "visits": visits[f]} for f in visits}
    worst = sorted(rows, key=lambda f: (-rows[f]["sites"], -rows[f]["returns"], f))[:10]
    most = {f"max_{key}": max(row[key] for row in rows.values()) for key in ("returns", "sites", "visits")}
    sizes = {"num_first_weights_files": len(rows), "num_first_weights_lines": num_lines(rows)}
    return {**sizes, **most, "worst": {file: rows[file] for file in worst}}


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Figures by dotted name; of a list its length."""
    rows: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and key not in ("most_frequent_changes", "worst"):
            rows |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and not any(name.startswith("num_") for name in content):
            rows[f"{prefix}{key}"] = len(value)
        elif not isinstance(value, Mapping | list):
            rows[f"{prefix}{key}"] = value
    return rows


def print_table(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = flat(before), flat(now)
    print(f"{'':<64}{'before':>12}{'now':>12}")
    for key in dict.fromkeys((*old, *new)):
        print(f"{key:<64}{old.get(key, '-'):>12}{new.get(key, '-'):>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Walks of a training run and figures of the tree.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--before", type=Path, help="figures to compare with, as --json wrote them")
    parser.add_argument("--write", action="store_true", help="write docs/results/structure.json")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    now: dict[str, Any] = {"commit": commit.stdout.strip(), "date": date.today().isoformat()}
    with tempfile.TemporaryDirectory() as folder:
        now["walks"] = measure_walks(Path(folder))
    now["tree"] = measure_tree()
    kept = read_result("structure", write=True).get("before", now)
    before = json.loads(options.before.read_text(encoding="utf-8")) if options.before else kept
    print_table(before, now)
    if options.json:
        options.json.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    if options.write:
        content = {"command": "python benchmarks/structure.py --write", "before": before, "now": now}
        write_result("structure", content, write=True)


if __name__ == "__main__":
    main()
