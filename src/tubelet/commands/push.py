"""``tubelet push``: uploads a run or a checkpoint to huggingface.co, with a model card made from its record."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

import tyro
from rich.console import Console

from tubelet.commands import parse
from tubelet.errors import CheckpointError, ConfigError
from tubelet.evaluation.trained_on import without_contents
from tubelet.report.model_card import model_card
from tubelet.report.read import read_run
from tubelet.weights.checkpoint.checkpoint import RECORD, Record, load_checkpoint, save_checkpoint
from tubelet.weights.hub import upload_folder

DESCRIPTION = """Upload a run (its best checkpoint and its metrics) or a checkpoint folder to huggingface.co.

What is uploaded: model.safetensors, tubelet.json, and README.md, a model card made from the record: metrics with
their views and number of videos, protocol, data, license. Paths of this machine are left out, and the hashes of the
training files too unless --content-hashes asks for them: with them anyone can tell whether the model has seen a video.
Log in once with `hf auth login`.

examples:
  tubelet push runs/first owner/my-gestures --license cc-by-4.0
  tubelet push checkpoints/vivit_b owner/vivit-b --private
  tubelet push runs/first owner/my-gestures --dry-run to_upload   write the folder and upload nothing"""

# An absolute path inside a text: two parts or more, behind a blank, quote, bracket or sign, and not of an address.
_PATH = re.compile(r"(?<![^\s\"'`(\[{=:,;])(?:~|[A-Za-z]:)?(?:[/\\][^\s\"'`(){}\[\]/\\:;,]+){2,}[/\\]?")


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]  # a run or a checkpoint folder
    repo: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]  # made if it is missing
    license: str | None = None  # as huggingface.co calls it; by default the one in the record
    private: bool = False  # make a new repository private
    dry_run: Path | None = None  # write what would be uploaded to this folder, which must not exist
    content_hashes: bool = False  # also upload the hashes of the files that it was trained on
    json: bool = False  # print address and files as JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "push", DESCRIPTION)
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
