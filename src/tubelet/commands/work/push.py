"""``tubelet push``: uploads a run or a checkpoint to huggingface.co, with a model card made from its record."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rich.console import Console

from tubelet.commands.push import Options
from tubelet.errors import CheckpointError, ConfigError
from tubelet.evaluation.trained_on import without_contents
from tubelet.report.model_card import model_card
from tubelet.report.read import read_run
from tubelet.weights.checkpoint.checkpoint import RECORD, Record, load_checkpoint, save_checkpoint
from tubelet.weights.hub import upload_folder

# An absolute path inside a text: two parts or more, behind a blank, quote, bracket or sign, and not of an address.
_PATH = re.compile(r"(?<![^\s\"'`(\[{=:,;])(?:~|[A-Za-z]:)?(?:[/\\][^\s\"'`(){}\[\]/\\:;,]+){2,}[/\\]?")


def run(options: Options) -> int:
    if options.repo.count("/") != 1:
        raise ConfigError(f"'{options.repo}' is no name of a model on the hub: expected owner/name")
    checkpoint, metrics = find(options.run)
    if options.dry_run is not None:
        if options.dry_run.exists():
            raise ConfigError(f"--dry-run {options.dry_run}: is already there; give another folder")
        write_folder(checkpoint, metrics, options, options.dry_run)
        return report(options, str(options.dry_run), options.dry_run)
    with tempfile.TemporaryDirectory() as scratch, Console(stderr=True).status("uploading"):
        folder = Path(scratch) / "upload"
        write_folder(checkpoint, metrics, options, folder)
        return report(options, upload_folder(folder, options.repo, private=options.private), folder)


def find(path: Path) -> tuple[Path, Mapping[str, Any] | None]:
    """The checkpoint of a run folder with its metrics, or a checkpoint folder with those of the run it lies in.

    Raises:
        CheckpointError: neither.
    """
    is_checkpoint = (path / RECORD).is_file()
    run = path.parent if is_checkpoint else path
    checkpoint = (
        path if is_checkpoint else next((path / n for n in ("best", "last") if (path / n / RECORD).is_file()), None)
    )
    if checkpoint is None:
        raise CheckpointError(f"{path}: expected a checkpoint folder (with {RECORD}), or a run folder with best/ in it")
    # The metrics of a run are those of its best weights; those of other folders belong to other weights.
    evaluated = checkpoint.name == "best" and any(run.glob("evaluation/*/metrics.json"))
    return checkpoint, read_run(run).metrics if evaluated else None


def write_folder(checkpoint: Path, metrics: Mapping[str, Any] | None, options: Options, folder: Path) -> None:
    """Write the checkpoint, checked by loading it, and its card, atomically."""
    model, record = load_checkpoint(checkpoint)
    record = without_paths(record)
    if not options.content_hashes:
        record = dataclasses.replace(record, provenance=without_contents(record.provenance))
    card = model_card(record, metrics, options.repo, options.license)
    new = folder.with_name(f".{folder.name}.card")
    save_checkpoint(new, model, record)
    try:
        (new / "README.md").write_text(card, encoding="utf-8")
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def without_paths(record: Record) -> Record:
    """The record with the last part only of every path of this machine, also where a text names one."""
    known = sorted(set(_absolute(record.provenance)), key=len, reverse=True)
    return dataclasses.replace(record, provenance=_shortened(record.provenance, known))


def _absolute(value: Any) -> Iterator[str]:
    """The texts in plain data that are absolute paths. They may have blanks, which end a path inside a text."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _absolute(inner)
    elif isinstance(value, str) and _is_absolute(value):
        yield value


def _is_absolute(text: str) -> bool:
    path = text.removeprefix("file://")
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute() or path.startswith("~/")


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _shortened(value: Any, known: Sequence[str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {_shortened(name, known): _shortened(inner, known, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner, known) for inner in value]
    if not isinstance(value, str):
        return value
    if _is_absolute(value) or (key == "path" and not value.startswith("hf://")):
        return _last_part(value)
    for path in known:
        value = value.replace(path, _last_part(path))
    return _PATH.sub(lambda path: _last_part(path[0]), value)


def report(options: Options, where: str, folder: Path) -> int:
    files = sorted(p.name for p in folder.iterdir())
    if options.json:
        print(json.dumps({"where": where, "files": files}, indent=2))
    else:
        print(f"{'written, nothing uploaded' if options.dry_run else 'uploaded'}: {where}")
        print(f"files: {', '.join(files)}; read them back with tubelet.load({options.repo!r})", file=sys.stderr)
    return 0
