"""The result of a run, kept in its folder: finished with its validation metrics, or diverged.

Sweeps and comparisons choose between runs by their results. Results are measured on the validation split alone; the
test split is evaluated later, for the runs that were chosen. A run with a result is never trained again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tubelet import config
from tubelet.errors import ConfigError, DataError, Diverged, reason
from tubelet.files import write_atomically
from tubelet.recipe import Recipe
from tubelet.runs.folder import package_versions
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session

FILE = "outcome.json"
SOURCES = "sources.json"  # beside the runs of a sweep or comparison: first weights from files, and what is in them
# Fields of DataConfig that change how fast videos are read, and never what is read.
_SPEED_ONLY = ("num_workers", "decode_timeout_seconds")
# The release since which a recipe gives the same weights; raised by a change that alters them. So sweeps and
# comparisons that an earlier release began go on in a later one that computes the same.
SAME_WEIGHTS_SINCE = "0.1.0"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How one training ended."""

    key: str  # of its recipe and data, see content_key
    diverged: str | None  # the message, when the loss was no longer finite; None means it finished
    metrics: dict[str, float | None]  # of the best checkpoint on the validation split; empty where it diverged
    num_steps: int  # optimizer steps
    train_seconds: float  # from the first step to the last, validation included


def content_key(recipe: Recipe, fingerprint: str, memory: Path) -> str:
    """Return 16 hex digits that are the same for runs that come to the same weights on one machine.

    Args:
        fingerprint: of the data.
        memory: folder of the runs. It keeps a digest of the files that first weights come from, because they may be
            gone when the runs are read again.
    """
    content = config.to_identity(recipe)
    content["data"] = {name: value for name, value in content["data"].items() if name not in _SPEED_ONLY}
    content["data"]["source"] = fingerprint  # wherever it lies
    if recipe.init is not None:
        content["init"]["source"] = _content_of(recipe.init.source, memory / SOURCES)
    versions = {**package_versions(), "tubelet": SAME_WEIGHTS_SINCE}
    return hashlib.sha256(json.dumps([content, versions], sort_keys=True).encode()).hexdigest()[:16]


def _content_of(source: str, memory: Path) -> str:
    """What first weights are known by: what files hold, or held when they were last seen, else their name."""
    known: dict[str, str] = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
    path = Path(source)
    if not path.exists():
        return known.get(source, source)
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file() and f.suffix != ".md")
    found = "sha256:" + _digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))
    if known.get(source) != found:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(known | {source: found}, indent=2) + "\n")
    return found


@lru_cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Over names and contents; size and time tell files that have changed since."""
    whole = hashlib.sha256()
    for file, _, _ in files:
        with file.open("rb") as stream:
            whole.update(file.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def carry_out(recipe: Recipe, folder: Path, key: str, session: Session, like: Path | None = None) -> RunResult:
    """Train in ``folder``, or resume there, or read the result.

    Args:
        key: what the run is known by (``content_key``).
        like: the folder of another run, whose split a new run takes. None means its own.

    Raises:
        ConfigError: The folder holds a run of another recipe or other data.
        TubeletError: Whatever else ends a run but divergence, which is a result.
    """
    known = read_result(folder)
    if known is not None:
        if known.key != key:
            raise ConfigError(
                f"{folder}: holds a run of another recipe, data, first weights or versions; give another --out"
            )
        return known
    try:
        completed = run_recipe(recipe, folder, session, final_split="val", like=like)
    except Diverged as error:
        result = RunResult(key=key, diverged=str(error), metrics={}, num_steps=0, train_seconds=0.0)
    else:
        result = RunResult(
            key=key,
            diverged=None,
            metrics=_figures(completed.evaluation.metrics),
            num_steps=completed.state.step,
            train_seconds=round(completed.state.seconds, 3),
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return result


def read_result(folder: Path) -> RunResult | None:
    """Read the result of the run in ``folder``. None means it is not over.

    Raises:
        DataError: The file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return config.from_dict(RunResult, json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ConfigError) as error:
        raise DataError(f"{file}: cannot be read ({reason(error)}); remove {folder} to run it again") from None


def _figures(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers among the metrics, without tables and counts of classes."""
    return {
        name: None if value is None else float(value)
        for name, value in metrics.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
