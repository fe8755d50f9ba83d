"""A model to a file of another runtime, proven before it has its name."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tubelet.errors import CheckpointError, ConfigError
from tubelet.export.calibration import calibration_inputs
from tubelet.export.config import SUFFIXES, ExportConfig
from tubelet.export.fitted_protocol import fitted_protocol
from tubelet.export.proof import check_clips_given, prove
from tubelet.export.taken_clips import taken_clips
from tubelet.export.two_files import write_two_files
from tubelet.export.writers import Job, write_one_file
from tubelet.files import check_path, naming
from tubelet.session.progress import NoProgress, Progress
from tubelet.tables import Table
from tubelet.types import ExportFormat
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.exported.module import ExportedModel
from tubelet.weights.exported.record import ExportRecord, Proof, TakenClips
from tubelet.weights.exported.stages import stage_paths


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported file."""

    path: Path
    files: tuple[str, ...]  # names in the folder: the file, and its weights where they lie beside it
    record: ExportRecord

    @property
    def table(self) -> Table:
        """A row per comparison of the proof."""
        rows = tuple((c.num_frames, f"{c.size[0]}x{c.size[1]}", c.batch, c.difference) for c in self.record.proof.cases)
        return Table(title=self.path.name, columns=("frames", "size", "batch", "difference"), rows=rows)

    def to_dataframe(self) -> Any:
        """The table as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()


def export_model(
    model: nn.Module,
    record: Record,
    path: Path,
    config: ExportConfig,
    *,
    clips: Sequence[Path] = (),
    progress: Progress = NoProgress(),  # noqa: B008
) -> Exported:
    """Write ``model`` as a file of another runtime, which ``tubelet.load`` opens.

    The file is written in a folder beside ``path``, opened, compared with the model, and only then moved to its name.

    Args:
        model: in eval mode on the CPU.
        record: of its checkpoint.
        path: of the file, whose name ends as those of the format do. Two files get names made of it
            (``model.frames.onnx``, ``model.time.onnx``); either of them opens the model.
        clips: real videos, on which the labels are compared. A low precision needs them.

    Raises:
        ConfigError: ``path`` is there, or does not fit the format.
        ExportError: the model cannot be exported as asked, or the file does not compute what the model does.
        CheckpointError: a package that the format needs is not installed.
    """
    check_target(path, config.format, two_files=config.two_files)
    if isinstance(model, ExportedModel):
        raise CheckpointError(f"{model.path}: is exported already; export the checkpoint that it was made from")
    if not record.labels:
        raise CheckpointError(f"{record.model_name}: an encoder without classes gives no logits to export")
    check_clips_given(config.precision, clips)
    record = dataclasses.replace(record, protocol=fitted_protocol(record.protocol, config))
    with _without_notes():
        return _export(model.eval(), record, path, config, clips, progress)


def _export(
    model: nn.Module, record: Record, path: Path, config: ExportConfig, clips: Sequence[Path], progress: Progress
) -> Exported:
    taken = taken_clips(model, record.model_name, record.protocol, config)
    write = write_two_files if config.two_files else write_one_file
    prefix = f".{path.name[:100]}."
    with (
        naming(path, instead_of=path.parent / prefix),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as scratch,
    ):
        new = Path(scratch) / path.name
        inputs = calibration_inputs(model, record.protocol, clips)
        job = Job(model=model, name=record.model_name, taken=taken, config=config, inputs=inputs)
        blank = _record(record, config, taken, Proof(reference="", runtime="", tolerance=None, cases=()))
        written = write(job, new, blank)
        proof = prove(
            model,
            written.model,
            record.protocol,
            taken,
            precision=config.precision,
            runtime=written.model.exported.proof.runtime,
            clips=clips,
            progress=progress,
        )
        exported = written.finish(dataclasses.replace(blank, proof=proof))
        files = _move(written.model.path, path.parent)
    return Exported(path=path.parent / files[0], files=files, record=exported)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Position tables say when they are resized; a proof resizes them many times."""
    log = logging.getLogger("tubelet")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def check_target(path: Path, form: ExportFormat, *, two_files: bool = False) -> None:
    """Raise ConfigError where no file, or no two, of a format can be written."""
    if path.suffix != SUFFIXES[form]:
        raise ConfigError(f"{path}: a file of {form} ends in {SUFFIXES[form]}; name it {path.stem}{SUFFIXES[form]}")
    for file in stage_paths(path).values() if two_files else (path,):
        if file.exists():
            raise ConfigError(f"{file}: is already there; give another name, or remove it first")
    check_path(path.parent, "name", is_written=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):  # of some file systems only a write tells
            pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); give another name or folder") from None


def _record(record: Record, config: ExportConfig, taken: TakenClips, proof: Proof) -> ExportRecord:
    own = dataclasses.replace(record, precision="fp32", adapter=None)  # autocast is not for other runtimes
    return ExportRecord(record=own, license=record.license, precision=config.precision, clips=taken, proof=proof)


def _move(new: Path, folder: Path) -> tuple[str, ...]:
    """Move a finished file to a folder, behind those that lie beside it, and return all their names."""
    beside = sorted(file for file in new.parent.iterdir() if file != new and not file.is_dir())
    for file in beside:
        if (folder / file.name).exists():
            raise ConfigError(f"{folder / file.name}: is already there; give another name, or remove it first")
    for file in (*beside, new):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(folder / file.name)
    return (new.name, *(file.name for file in beside))
