"""What an archive of ``torch.export`` may hold before torch reads it.

``torch.export.load`` runs code that an archive brings: pickles, compiled libraries, Python expressions of shapes,
guards, and functions that nodes name. So all of it is read first, and what is not known to be harmless is refused.
Source: pytorch/pytorch, ``torch/export/pt2_archive/_package.py`` and ``torch/_export/serde/serialize.py`` of 2.15.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError

METADATA = "tubelet.json"
_MAX_TEXT_BYTES = 512 * 2**20  # of the graph and the configs, which are parsed as a whole

# Files of an archive, below its root folder. Compiled code (data/aotinductor) and the older pickles are not among them.
_FILES = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    rf"|extra/{re.escape(METADATA)}|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|\.format_version|\.storage_alignment"
)
_ARITHMETIC = "add|sub|mul|truediv|floordiv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_"
_TARGET = re.compile(
    rf"torch\.ops\.aten\.\w+\.\w+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled|_operator\.({_ARITHMETIC})"
    r"|torch\.(sym_max|sym_min|sym_float|sym_int|sym_not|sym_ite|sym_sum)|math\.(floor|ceil|trunc)|_assert_scalar"
)
_SYMBOL = re.compile(r"'?\b[su]\d+\b'?")
_IN_SHAPES = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv"),
    *("CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "FloorToInt", "CeilToInt"),
    *("RoundToInt", "Eq", "Ne", "Gt", "Ge", "Lt", "Le", "Equality", "Unequality", "StrictGreaterThan"),
    *("GreaterThan", "StrictLessThan", "LessThan", "And", "Or", "Not", "Piecewise", "Abs", "floor", "ceiling"),
    *("positive", "nonnegative", "nonzero", "integer", "precision", "evaluate", "True", "False", "None", "true"),
    *("false", "int_oo", "oo"),
}
_SIZE = re.compile(r"L\['(clip|position)'\]\.size\(\)\[\d\]|torch\.sym_(max|min|float)|\b(and|or|not|True|False)\b")


def check_archive(path: Path) -> str:
    """The metadata of an archive that torch may read.

    Raises:
        CheckpointError: it is none, carries no metadata, or holds something that could run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = _file_names(archive, path)
            root = names[0].partition("/")[0]
            for part in ("weights", "constants"):
                config = f"{root}/data/{part}/model_{part}_config.json"
                _check_config(_json(archive, config, path), path)
            _check_sample_inputs(archive.read(f"{root}/data/sample_inputs/model.pt"), path)
            _check_graph(_json(archive, f"{root}/models/model.json", path), path)
            metadata = f"{root}/extra/{METADATA}"
            return _text(archive, metadata, path) if metadata in names else "{}"
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: no archive of torch.export, or a damaged one ({error})") from None


def _refuse(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}, which could run code when it is loaded; not loaded")


def _file_names(archive: zipfile.ZipFile, path: Path) -> list[str]:
    names = archive.namelist()
    roots = {name.partition("/")[0] for name in names}
    if not names or len(roots) != 1 or len({name.lower() for name in names}) != len(names):
        raise _refuse(path, "holds several files of one name or several archives")
    for info in archive.infolist():
        if not _FILES.fullmatch(info.filename.partition("/")[2]):
            raise _refuse(path, f"holds the file {info.filename}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(f"{path}: {info.filename} is compressed, which torch.export does not do; not loaded")
    return names


def _text(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    if archive.getinfo(name).file_size > _MAX_TEXT_BYTES:
        raise CheckpointError(f"{path}: {name} is larger than any graph ({archive.getinfo(name).file_size:,} bytes)")
    return archive.read(name).decode()


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    return json.loads(_text(archive, name, path))


def _check_config(config: Any, path: Path) -> None:
    for name, entry in config["config"].items():
        if entry.get("use_pickle", True) or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise _refuse(path, f"stores the tensor '{name}' as a pickle")


def _check_sample_inputs(content: bytes, path: Path) -> None:
    """torch falls back to a full unpickler where the safe one fails."""
    try:
        if content:
            torch.load(io.BytesIO(content), weights_only=True)
    except Exception:
        raise _refuse(path, "holds sample inputs that are no plain tensors") from None


def _check_graph(graph: Any, path: Path) -> None:
    for key, text in _texts(graph):
        if key == "target" and not _TARGET.fullmatch(text):
            raise _refuse(path, f"calls '{text[:80]}'")
        if key == "expr_str" and not _is_shape(text):
            raise _refuse(path, f"computes a shape by '{text[:80]}'")
        if key in ("in_spec", "out_spec") and re.search(r'"type": "(?!builtins\.(?:tuple|list|dict)")', text):
            raise _refuse(path, "has inputs or outputs of unknown classes")
    for text in graph.get("range_constraints", {}):
        if not _is_shape(text):
            raise _refuse(path, f"bounds a size by '{text[:80]}'")
    for text in graph.get("guards_code", []):
        if not re.fullmatch(r"[\d\s()+\-*/%<>=!,.]*", _SIZE.sub("", text)):
            raise _refuse(path, f"checks its inputs by '{text[:80]}'")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain data, with the name of the field that holds it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value


def _is_shape(text: str) -> bool:
    """Whether an expression is arithmetic on sizes: sympy evaluates it as Python."""
    rest = _SYMBOL.sub("0", text)
    words = set(re.findall(r"[A-Za-z_]\w*", rest))
    return words <= _IN_SHAPES and re.fullmatch(r"[\w\s()+\-*/%<>=!,]*|[\d.]+", rest) is not None
