"""Files that flax writes (``flax.serialization.to_bytes``), read without flax or jax.

Source: google/flax, ``flax/serialization.py``. The file is one msgpack map of maps. An array is extension 1, a numpy
scalar extension 3, both holding a msgpack list of shape, name of the number format and bytes in C order; a complex
number is extension 2. An array over 1 GiB is a map with ``__msgpack_chunked_array__``, its ``shape`` and its
``chunks``, each a list written as a map from "0", "1", ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.errors import CheckpointError

_ARRAY, _SCALAR = 1, 3
_CHUNKED = "__msgpack_chunked_array__"
_FORMATS = {
    **{"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16},
    **{"int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "bool": torch.bool},
    **{"uint64": torch.uint64, "uint32": torch.uint32, "uint16": torch.uint16, "uint8": torch.uint8},
}


def read_flax(file: Path) -> dict[str, Tensor]:
    """Every array and number of the file, the names of the tree joined by "/"; texts and empty places are left out.

    Raises:
        CheckpointError: damaged or truncated, or no file of flax.
    """
    import msgpack  # here: nothing but these files needs it

    try:
        tree = msgpack.unpackb(file.read_bytes(), ext_hook=_extension, strict_map_key=False)
        if not isinstance(tree, dict):
            raise ValueError(f"holds a {type(tree).__name__}")
        return dict(_leaves(tree, ""))
    except (ValueError, TypeError, KeyError, RuntimeError, msgpack.UnpackException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{file}: damaged, or no flax msgpack file ({reason}); copy or download it again"
        ) from None


def _extension(code: int, data: bytes) -> Any:
    import msgpack

    if code not in (_ARRAY, _SCALAR):
        return None  # a complex number: no parameter of these models
    shape, name, content = msgpack.unpackb(data, raw=False)
    if name not in _FORMATS:
        raise ValueError(f"number format {name} is not known")
    return _tensor(bytearray(content), _FORMATS[name], shape)


def _tensor(content: bytearray, dtype: torch.dtype, shape: list[int]) -> Tensor:
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} with {len(content)} bytes")
    if not content:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)


def _leaves(tree: Mapping[Any, Any], above: str) -> Any:
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and _CHUNKED in value:
            shape = _listed(value["shape"])
            yield name, torch.cat(_listed(value["chunks"])).reshape(shape)
        elif isinstance(value, dict):
            yield from _leaves(value, f"{name}/")
        elif isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, bool | int | float):
            yield name, torch.tensor(value)


def _listed(mapping: Mapping[str, Any]) -> list[Any]:
    """``{"0": a, "1": b}`` -> ``[a, b]``, as flax writes lists."""
    return [mapping[str(i)] for i in range(len(mapping))]
