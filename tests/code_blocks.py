"""The code blocks of README and docs, and a folder in which they run: small clips, films, tables and runs.

A block runs as it stands but for one thing: what trains gets the fields of ``small_fields`` behind its own words, so
that a tiny model trains for an epoch. A block that cannot run here has a line before it that says why:
``<!-- not run: a camera -->``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layout_examples
import tiny_comparison
import tubelet
import vtn_recipe
from film_runs import FIELDS
from support import MODEL, TINY, write_csv
from tubelet import cli
from tubelet.data.synthetic import encode_h264, motion_clip
from tubelet.data.synthetic_films import write_films

ROOT = Path(__file__).parents[1]
PAGES = {
    str(file.relative_to(ROOT)): file
    for file in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if file.parent.name != "reference"  # generated
}
_FENCE = re.compile(r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\S*)\n(?P<code>.*?)^```$", re.M | re.S)
COUNTS = {"train": 24, "val": 24, "test": 8}  # of both classes together
CLASSES = ("left", "right")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str  # path below the root
    line: int  # of its fence, from 1
    language: str
    code: str
    why_not: str  # what keeps it from running here; "" where it runs

    @property
    def lines(self) -> list[str]:
        """The lines of a shell block without comments."""
        lines = self.code.splitlines() if self.language == "bash" else []
        return [line.partition(" #")[0].strip() for line in lines]


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    text = PAGES[page].read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("language")) + 1,
            language=found["language"],
            code=found["code"],
            why_not=found["why"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def run_page(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks of a page in the folder at hand: shell lines by ``cli.main``, Python in one namespace."""
    names: dict[str, Any] = {}
    for name in ("train", "pretrain", "probe"):
        monkeypatch.setattr(tubelet, name, _made_small(name, getattr(tubelet, name)))
    for block in blocks_of(page):
        if block.why_not:
            continue
        for line in block.lines:
            words = shlex.split(line)[1:]
            assert cli.main([*words, *_small_options(words)]) == 0, f"{page}:{block.line}: {line}"
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, str(PAGES[page]), "exec"), names)


def small_fields(command: str, task: str, init: str | None, recipe: str | None) -> dict[str, Any]:
    """Fields that make a training tiny; first weights bring model and clips along, a recipe its kind of model."""
    read = {"data.num_workers": 0}
    trained = {**read, "training.num_epochs": 1, "training.batch_size": 8}
    clips = {"protocol.num_frames": 4, "protocol.resize_short_side": 32, "protocol.crop_size": [32, 32]}
    if command == "probe":
        return {**read, **clips} if init == "lite0" else read
    if command == "pretrain":
        shape = {"tubelet_size": [2, 8, 8], "embed_dim": 16, "depth": 1, "num_heads": 2}
        return {
            **trained,
            **clips,
            **{f"model.{name}": value for name, value in shape.items()},
            **{"masked_pretraining.decoder_depth": 1, "masked_pretraining.mask_ratio": 0.75},
        }
    if task == "per_frame":
        of_head = {name: value for name, value in FIELDS.items() if name.startswith("per_frame.")}
        return {**trained, **of_head, **({} if init else _flat(FIELDS["model"]) | clips)}
    if recipe is not None:
        return {**trained, "model.embed_dim": 16, "model.depth": 1, "model.num_heads": 2}
    if init is not None:
        return {**trained, **(clips if init == "lite0" else {})}
    times = {"protocol.target_fps": 12, "protocol.num_temporal_views": 2}
    return {**trained, **clips, **times, **_flat({"name": MODEL, **TINY})}


def _flat(model: dict[str, Any]) -> dict[str, Any]:
    return {"model": model["name"], **{f"model.{name}": value for name, value in model.items() if name != "name"}}


def _small_options(words: list[str]) -> list[str]:
    """What goes behind the words of a command line."""
    command, *rest = words
    if command in ("evaluate", "features"):
        return ["--num-workers", "0"]
    if command not in ("train", "pretrain", "probe"):
        return []
    said = {name: value for name, value in pairwise(rest) if name.startswith("--")}
    recipe = rest[0] if rest and not rest[0].startswith("-") else None
    init = said.get("--encoder" if command == "probe" else "--init")
    fields = small_fields(command, said.get("--task", "auto"), init, recipe)
    options = ((f"--{name}", value) for name, value in fields.items() if f"--{name}" not in said)
    rounds = ["--epochs", "1", "--folds", "3"] if command == "probe" else []
    return rounds + [
        word
        for name, value in options
        for word in (name, value if isinstance(value, str) else json.dumps(value).replace(" ", ""))
    ]


def _made_small(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with fields that make it small, unless the call gives them."""

    def call(data: str, encoder: str | None = None, **given: Any) -> Any:
        init = encoder or given.get("init")
        fields = small_fields(name, "auto", init, None)
        if name == "probe":
            return function(data, encoder, fields=fields, epochs=1, folds=3, **given)
        if "epochs" in given:
            del fields["training.num_epochs"]
        return function(data, progress=False, **fields, **given)

    return call


def write_workplace(root: Path) -> Path:
    """The files that the pages speak of, below ``root``: clips, films, tables, a run of clips and one of films."""
    rows = []
    for split, count in COUNTS.items():
        for number in range(count):
            label = CLASSES[number % 2]
            file = root / "my_clips" / split / label / f"{number:02d}.mp4"
            _write_clip(file, label, seed=len(rows), num_frames=24)
            rows.append((file.relative_to(root).as_posix(), label, split, number))
    tables = {
        "labels": (("path", "label", "split"), [row[:3] for row in rows]),
        "weights": (("path", "grams", "split"), [(path, 20 + n, split) for path, _, split, n in rows]),
        "echo": (("path", "volume", "fraction", "split"), [(path, 9 + n, n / 40, split) for path, _, split, n in rows]),
    }
    for name, (columns, content) in tables.items():
        write_csv(root / f"{name}.csv", [columns, *content])
    shutil.copy(root / "echo.csv", root / "other.csv")
    for folder in ("footage", "new_clips"):
        (root / folder).mkdir()
        for name in CLASSES:
            shutil.copy(next((root / "my_clips/test" / name).iterdir()), root / folder / f"{name}.mp4")
    shutil.copy(root / "footage/left.mp4", root / "clip.mp4")
    _write_clip(root / "film.mp4", "left", seed=0, num_frames=84)
    write_films(root / "films", {"train": 2, "val": 1, "test": 1}, seconds=(4.0, 5.0), size_pixels=32, seed=14)
    shutil.copy(root / "film.mp4", root / "films/not_labeled.mp4")
    _command("train --data my_clips --out runs/first")
    shutil.copytree("runs/first", "runs/clips")
    return root


def _write_clip(file: Path, label: str, *, seed: int, num_frames: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    clip = motion_clip(label, np.random.default_rng(seed), size_pixels=32, num_frames=num_frames)
    file.write_bytes(encode_h264(clip, 12))


def _command(line: str) -> None:
    """A command in the folder at hand, made small."""
    words = shlex.split(line)
    assert cli.main([*words, *_small_options(words)]) == 0, line


def _behaviors() -> None:
    _command("train --task per_frame --data films/labels.csv --init runs/clips/best --out runs/behaviors")


def _vtn() -> None:
    recipe = vtn_recipe.write_recipe(Path("vtn.yaml"))
    assert cli.main(["train", str(recipe), "--data", "my_clips", "--out", "runs/vtn", "--epochs", "1"]) == 0


def _film_labels(file: str, films: str) -> None:
    """The labels of the films in a table beside other folders."""
    header, *rows = Path("films/labels.csv").read_text(encoding="utf-8").splitlines()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("\n".join([header, *(f"{films}/{row}" for row in rows)]) + "\n", encoding="utf-8")


def _app() -> None:
    _behaviors()
    _film_labels("footage/labels/labels.csv", "../../films")


def _checkpoints() -> None:
    shutil.copytree("runs/first/best", "checkpoints/vivit_b")


def _cluster() -> None:
    _vtn()
    _behaviors()


def _comparisons() -> None:
    tiny_comparison.write_comparison(Path()).rename("my_comparison.yaml")


def _annotations() -> None:
    """Exports of three tools, each of real clips."""
    exports = {"tagged": layout_examples.cvat, "reviewed": layout_examples.label_studio}
    for folder, write in {**exports, "sampled": layout_examples.roboflow}.items():
        write(Path(folder))
        for file in Path(folder).rglob("*.m*"):
            shutil.copy("film.mp4", file)


def _without_first_run() -> None:
    shutil.rmtree("runs/first")  # the page makes it


def _library() -> None:
    _behaviors()
    _without_first_run()
    write_films(Path("days"), {"train": 1}, seconds=(62.0, 62.0), size_pixels=32)
    next(Path("days").glob("*.mp4")).rename("day1.mp4")


def _moments() -> None:
    _film_labels("labels.csv", "films")


def _volumes() -> None:
    for number in range(32):
        file = Path("my_volumes") / "ab"[number % 2] / f"{number}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(number).integers(0, 256, (16, 32, 32), dtype=np.uint8))


PREPARED: dict[str, Callable[[], None]] = {
    "README.md": _without_first_run,
    "docs/app.md": _app,
    "docs/checkpoints.md": _checkpoints,
    "docs/clips.md": _without_first_run,
    "docs/cluster.md": _cluster,
    "docs/comparisons.md": _comparisons,
    "docs/export.md": _vtn,
    "docs/films.md": _vtn,
    "docs/footage.md": _annotations,
    "docs/library.md": _library,
    "docs/moments.md": _moments,
    "docs/volumes.md": _volumes,
}
