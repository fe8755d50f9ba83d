"""Any exported file as a model, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.errors import CheckpointError
from tubelet.files import lfs_pointer
from tubelet.weights.exported.module import ExportedModel
from tubelet.weights.exported.onnx_file import open_onnx, read_onnx_record
from tubelet.weights.exported.openvino_file import open_openvino, read_openvino_record
from tubelet.weights.exported.record import ExportRecord
from tubelet.weights.exported.torch_archive import open_archive, read_archive_record


@dataclass(frozen=True, kw_only=True)
class _Kind:
    open: Callable[[Path], ExportedModel]
    read: Callable[[Path], ExportRecord]


KINDS = {
    ".onnx": _Kind(open=open_onnx, read=read_onnx_record),
    ".xml": _Kind(open=open_openvino, read=read_openvino_record),
    ".pt2": _Kind(open=open_archive, read=read_archive_record),
}


def exported_file(source: str | Path) -> Path | None:
    """The file that ``source`` names, where its name ends as those of exported models do; else None."""
    path = Path(source)
    return path if path.suffix in KINDS and not path.is_dir() else None


def open_exported(path: Path) -> ExportedModel:
    """The model of an exported file.

    Raises:
        CheckpointError: there is none, it carries no protocol or a changed one, it cannot be trusted, or its runtime
            is not installed.
    """
    _check_there(path)
    return KINDS[path.suffix].open(path)


def read_exported(path: Path) -> ExportRecord:
    """What an exported file says of itself. Raises as ``open_exported`` does."""
    _check_there(path)
    return KINDS[path.suffix].read(path)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a model that `tubelet export` wrote")
    if (pointer := lfs_pointer(path)) is not None:
        raise CheckpointError(f"{path}: {pointer}")
