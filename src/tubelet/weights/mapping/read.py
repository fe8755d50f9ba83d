"""Tensors out of a file or folder of foreign weights, in every format the field uses, and never any code.

The content decides about the format, not the name: published files are called ``checkpoint``, ``model.bin`` or
``weights.pyth``. A pickle is read by torch's unpickler for tensors (``weights_only=True``) or refused; numpy reads
without pickle; flax files are read without flax (``weights/mapping/flax_file.py``).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.files import lfs_pointer
from tubelet.types import WhichWeights
from tubelet.weights.mapping.flax_file import read_flax
from tubelet.weights.mapping.huggingface import read_json
from tubelet.weights.mapping.training_state import Weights, weights_in

# What a folder may hold, in the order in which it is looked for.
_IN_FOLDER = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "checkpoint", "flax_model.msgpack"),
)


def read_weights(path: Path, which: WhichWeights | None = None) -> Weights:
    """The tensors of a file, or of a folder with such files, under the names that they have there.

    Reads safetensors (whole or sharded), ``.npz``, pickles of torch (``.pth .pt .pyth .bin``) and flax's msgpack.
    What training adds is left out: the object around a state dict, ``module.`` before every name, and in a flax
    training state everything but the parameters, whose names are joined by "/".

    Args:
        which: averaged or raw weights of a file that holds both. None means the averaged ones.

    Raises:
        CheckpointError: no such file, a format that is none of these, a damaged file, one that needs code to run, or
            one without the weights that ``which`` asks for.
    """
    file = _file_in(path)
    content = read_content(file)
    try:
        weights = weights_in(content, which)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    if not weights.tensors:
        raise CheckpointError(f"{file}: holds no tensors")
    return weights


def read_content(file: Path) -> Any:
    """What one file holds: names and tensors, or the object around them that training code saved.

    Raises:
        CheckpointError: a format that is none of those, a damaged file, or one that needs code to run.
    """
    try:
        return _read_sharded(file) if file.name.endswith(".index.json") else _reader_of(file)(file)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from None


def _file_in(path: Path) -> Path:
    """The file itself, or the one file of weights in a folder."""
    if not path.is_dir():
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file or folder")
        return path
    for name in _IN_FOLDER:
        if (path / name).is_file():
            return path / name
    steps = sorted(f for f in path.glob("checkpoint_*") if f.is_file())
    if len(steps) == 1:
        return steps[0]
    found = f"found {', '.join(f.name for f in steps)}: name one of them" if steps else "found none of them"
    raise CheckpointError(
        f"{path}: expected weights under one of {', '.join(_IN_FOLDER)} or checkpoint_<step>; {found}"
    )


def _reader_of(file: Path) -> Callable[[Path], Any]:
    if (pointer := lfs_pointer(file)) is not None:
        raise CheckpointError(f"{file}: {pointer}")
    with file.open("rb") as stream:
        start = stream.read(16)
    if start[:4] == b"PK\x03\x04":
        _refuse_torchscript(file)
        return _read_npz if _is_npz(file) else _read_pickle
    if start[8:9] == b"{" or (file.suffix == ".safetensors"):  # 8 bytes of length, then a JSON header
        return _read_safetensors
    if start[:1] == b"\x80" or file.suffix in (".pth", ".pt", ".pyth", ".bin"):
        return _read_pickle
    if start and (0x81 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF)):  # a msgpack map
        return read_flax
    raise CheckpointError(
        f"{file}: expected weights as safetensors, .npz, .pth/.pt/.pyth/.bin of torch, or a flax msgpack file; "
        f"its first bytes are {start[:8]!r}"
    )


def _refuse_torchscript(file: Path) -> None:
    """OpenAI publishes CLIP so, for example: a program beside its tensors, which only running it would give."""
    try:
        with zipfile.ZipFile(file) as archive:
            inside = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:  # its reader says so
        return
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        raise CheckpointError(
            f"{file}: is a TorchScript archive, which holds code; nothing of it was run. If you trust its source, save "
            "its tensors alone: torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), OUT); of OpenAI's "
            "CLIP, --init vit_base_patch16_clip_quickgelu_224.openai gives the same weights"
        )


def _is_npz(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return file.suffix == ".npz"
    return all(name.endswith(".npy") for name in names)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged safetensors file ({error}); copy or download it again") from None


def _read_sharded(index: Path) -> dict[str, Tensor]:
    """The files that an index of ``transformers`` names, which must lie beside it and hold what it says."""
    try:
        where = read_json(index)["weight_map"]
        names = dict(where.items())
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index}: no index of sharded weights (expected a 'weight_map')") from None
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(names.values()), key=str):
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointError(f"{index}: names the file {shard!r}, which does not lie beside it")
        file = index.with_name(shard)
        if not file.is_file():
            raise CheckpointError(f"{index}: names {shard}, which is not there; copy or download it too")
        weights |= _reader_of(file)(file)
    differ = sorted(names.keys() ^ weights.keys())
    if differ:
        raise CheckpointError(f"{index}: index and files disagree about {len(differ)} tensors, such as {differ[0]}")
    return weights


def _read_npz(file: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    name = "the archive"
    try:
        with np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                weights[name] = torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
                weights[name] = weights[name].reshape(array.shape)  # ascontiguousarray makes a number a vector
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file}: {name} cannot be read as numbers ({reason})") from None
    return weights


def _read_pickle(file: Path) -> Any:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: {_why_refused(str(error))}") from None
    except OSError:
        raise
    except Exception as error:  # damage shows wherever the unpickler stands: struct.error, EOFError, KeyError, ...
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: damaged torch file ({reason}); copy or download it again") from None
    return content


def _why_refused(message: str) -> str:
    """One line from torch's paragraph, with the name of the function or class that the file asks for."""
    asked = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"\b([\w]+(?:\.[\w]+)+) which is blocked", message)
    if asked is None:
        return "is no torch file of tensors alone (its pickle is damaged or holds something else); it was not run"
    return (
        f"refused, because its pickle asks for {asked[1]}, and a pickle can run any code; nothing of it was run. "
        "If you trust its source, save its state dict alone, best as safetensors"
    )
