"""Tensors out of a file or folder of foreign weights, in every format the field uses, and never any code.

The content decides about the format, not the name: published files are called ``checkpoint``, ``model.bin`` or
``weights.pyth``. A pickle is read by torch's unpickler for tensors (``weights_only=True``) or refused; numpy reads
without pickle; flax files are read without flax (``weights/mapping/flax_file.py``).
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.weights.mapping.flax_file import read_flax

# What a folder may hold, in the order in which it is looked for.
_IN_FOLDER = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "checkpoint", "flax_model.msgpack"),
)
# Where training code puts the state dict inside the object that it pickles; torchvision and timm pickle it alone.
_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")
# Where training states of flax keep the parameters: scenic of 2021, big_vision and vision_transformer, scenic today.
_PARAMETERS = ("optimizer/target/params/", "optimizer/target/", "opt/target/", "params/params/", "params/")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of a folder with such files, under the names that they have there.

    Reads safetensors (whole or sharded), ``.npz``, pickles of torch (``.pth .pt .pyth .bin``) and flax's msgpack.
    What training adds is left out: the object around a state dict, ``module.`` before every name, and in a flax
    training state everything but the parameters, whose names are joined by "/".

    Raises:
        CheckpointError: no such file, a format that is none of these, a damaged file, or one that needs code to run.
    """
    file = _file_in(path)
    try:
        if file.name.endswith(".index.json"):
            return _read_sharded(file)
        weights = _reader_of(file)(file)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not weights:
        raise CheckpointError(f"{file}: holds no tensors")
    return weights


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


def _reader_of(file: Path) -> Callable[[Path], dict[str, Tensor]]:
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
        return lambda file: _parameters_of(read_flax(file))
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
        where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = dict(where.items())
    except (ValueError, KeyError, TypeError, AttributeError):
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
    return _parameters_of(weights)


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file}: {_why_refused(str(error))}") from None
    except OSError:
        raise
    except Exception as error:  # damage shows wherever the unpickler stands: struct.error, EOFError, KeyError, ...
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: damaged torch file ({reason}); copy or download it again") from None
    return _state_dict_in(content, file)


def _why_refused(message: str) -> str:
    """One line from torch's paragraph, with the name of the function or class that the file asks for."""
    asked = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"\b([\w]+(?:\.[\w]+)+) which is blocked", message)
    if asked is None:
        return "is no torch file of tensors alone (its pickle is damaged or holds something else); it was not run"
    return (
        f"refused, because its pickle asks for {asked[1]}, and a pickle can run any code; nothing of it was run. "
        "If you trust its source, save its state dict alone, best as safetensors"
    )


def _state_dict_in(content: Any, file: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        wrapped = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if wrapped is None:
            break
        content = wrapped
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}, expected a state dict (names and tensors)")
    other = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if other:
        known = ", ".join(_WRAPPERS)
        raise CheckpointError(
            f"{file}: no state dict, since {other[0]} is no tensor ({len(other)} of {len(content)} entries); "
            f"expected names and tensors, alone or under one of {known}"
        )
    weights = {str(name): value.detach() for name, value in content.items()}
    while prefix := next((p for p in _PREFIXES if weights and all(n.startswith(p) for n in weights)), None):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _parameters_of(tree: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a flax training state, or the whole tree when it is none."""
    for prefix in _PARAMETERS:
        found = {name.removeprefix(prefix): value for name, value in tree.items() if name.startswith(prefix)}
        if found:
            return found
    return dict(tree)
