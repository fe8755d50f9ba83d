"""What the tests of ``fixtures/earlier`` share: a place where its files lie as they were, and comparisons.

Everything goes through the command line and the public names, so that no test here has to change when files and classes
of the package do.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

from tubelet.cli import main

EARLIER = Path(__file__).parent / "fixtures" / "earlier"
GOLDEN = EARLIER / "golden"
WHEN_NS = 1_700_000_000_000_000_000  # of the data when they were scanned: a scan knows files by their times too
RELATIVE, ABSOLUTE = 1e-5, 2e-6  # of numbers: another processor rounds otherwise
# What depends on the machine, the day or the installed versions.
VOLATILE = re.compile(r"(.*_seconds|seconds.*|.*_spread|started|versions|num_threads|peak_bytes|clip_seconds|command)$")


@contextlib.contextmanager
def place(folder: Path, *names: str) -> Iterator[Path]:
    """The data, the recipes and these parts of the fixtures below ``folder``, which is the current one meanwhile: the
    recipes name their data by paths relative to it."""
    for name in ("data", "recipes", *names):
        shutil.copytree(EARLIER / name, folder / name)
    for file in (folder / "data").rglob("*"):
        os.utime(file, ns=(WHEN_NS, WHEN_NS))
    with contextlib.chdir(folder):
        yield folder


def run(*words: str, code: int = 0) -> str:
    """The stdout of a command."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(words) == code, words
    return out.getvalue()


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def assert_same(was: Any, now: Any, where: str = "") -> None:
    """Everything that was said is said now, with the same values; more may be said."""
    if isinstance(was, dict):
        assert isinstance(now, dict), where
        for key, value in was.items():
            assert key in now, f"{where}: {key} is gone"
            if not VOLATILE.match(key):
                assert_same(value, now[key], f"{where}.{key}")
    elif isinstance(was, list):
        assert isinstance(now, list), where
        assert len(now) == len(was), where
        for number, (one, other) in enumerate(zip(was, now, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(was, float) and isinstance(now, float):
        assert math.isclose(was, now, rel_tol=RELATIVE, abs_tol=ABSOLUTE), f"{where}: {was} is now {now}"
    else:
        assert was == now, f"{where}: {was!r} is now {now!r}"


def assert_same_table(was: Path, now: Path, exact: tuple[str, ...] = ()) -> None:
    """The same rows in the same order; numbers are compared as numbers, but for the columns ``exact``."""
    old, new = _rows(was), _rows(now)
    assert len(old) == len(new), now
    for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
        for column in exact:
            assert one[column] == other[column], f"{now}, row {number}, {column}"
        assert_same({k: _cell(v) for k, v in one.items()}, {k: _cell(v) for k, v in other.items()}, f"{now}:{number}")


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k != "wait_share"} for row in csv.DictReader(stream)]


def _cell(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def assert_same_tensors(was: Path, now: Path) -> None:
    """The same tensors, each within ``RELATIVE`` of its length."""
    old, new = load_file(was), load_file(now)
    assert list(old) == list(new), now
    for name, tensor in old.items():
        assert tensor.shape == new[name].shape, name
        assert tensor.dtype == new[name].dtype, name
        difference = np.linalg.norm((tensor.astype(np.float64) - new[name]).ravel())
        if name.endswith("qkv.bias"):  # no output depends on the keys' bias: rounding alone, enlarged by Adam, moves it
            queries, _, values = np.split(tensor.astype(np.float64) - new[name], 3)
            difference = np.linalg.norm(np.concatenate([queries, values]))
        assert difference <= RELATIVE * np.linalg.norm(tensor.ravel()) + ABSOLUTE, f"{now}: {name} by {difference}"


def with_versions_of_today(runs: Path) -> None:
    """The runs of a sweep or a comparison, as if the packages that are installed now had made them.

    Their keys hold the versions: a run of other versions is not gone on with. All else in a key is as it was written,
    so that a recipe which has another content today is noticed.
    """
    for facts in sorted(runs.rglob("run.json")):
        folder = facts.parent
        old, new = key_of_run(folder, of_today=False), key_of_run(folder)
        outcome = folder / "outcome.json"
        if outcome.exists():
            text = outcome.read_text(encoding="utf-8")
            assert f'"{old}"' in text, f"{outcome}: the key is of another content than {folder / 'recipe.yaml'}"
            outcome.write_text(text.replace(old, new), encoding="utf-8")
        if folder.name.endswith(old[:8]):
            folder.rename(folder.with_name(folder.name.removesuffix(old[:8]) + new[:8]))


def key_of_run(folder: Path, *, lr: float | None = None, seed: int | None = None, of_today: bool = True) -> str:
    """The key of a run as commit 1045975 makes it, with the versions of today or those that it was made with.

    Args:
        lr: in place of the run's own learning rate.
        seed: in place of the run's own seed.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    versions = {name: number for name, number in facts["versions"].items() if name != "python"}
    if of_today:
        others = {name: version(name) for name in versions if name != "tubelet"}
        versions = {**others, "tubelet": versions["tubelet"]}  # a key names the release since which weights are these
    content = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    content["data"] = {k: v for k, v in content["data"].items() if k not in ("num_workers", "decode_timeout_seconds")}
    content["data"]["source"] = facts["data_fingerprint"]
    content["optim"]["lr"] = content["optim"]["lr"] if lr is None else lr
    content["seed"] = content["seed"] if seed is None else seed
    return hashlib.sha256(json.dumps([content, versions], sort_keys=True).encode()).hexdigest()[:16]


def outcomes(runs: Path) -> dict[str, str]:
    """What finished runs left, by their folder."""
    return {str(file.parent): file.read_text(encoding="utf-8") for file in sorted(runs.rglob("outcome.json"))}
