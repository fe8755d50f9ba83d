"""What an ONNX file may hold before a runtime opens it: known operators, data of its own folder, sizes that it has.

Source: onnx/onnx, ``docs/ExternalData.md`` and ``onnx/onnx.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError
from tubelet.weights.exported.module import imported

MAX_PROTOBUF_BYTES = 2**31 - 1
DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operators of ONNX, and of ONNX Runtime without libraries
_LARGEST_DIMENSION = 2**40


def read_checked(path: Path) -> Any:
    """The ``ModelProto`` of a file, whose weights outside it are not read.

    Raises:
        CheckpointError: it is none, or holds what a file from anywhere must not make a runtime do.
    """
    onnx = imported("onnx", "export")
    if path.stat().st_size > MAX_PROTOBUF_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes are more than an ONNX file can have (2 GB)")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own class, which moves between its versions
        raise CheckpointError(f"{path}: no ONNX file, or a damaged one ({type(error).__name__})") from None
    _check_operators(model, path)
    for tensor in _tensors(model.graph):
        _check_tensor(onnx, tensor, path)
    return model


def _check_operators(model: Any, path: Path) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    graphs = [model.graph, *model.functions]
    for node in (node for graph in graphs for node in _nodes(graph)):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise CheckpointError(
                f"{path}: uses the operator {node.domain}.{node.op_type} of an unknown library; it is not loaded"
            )


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of branches and loops too. ``graph`` is a GraphProto or a FunctionProto."""
    for node in graph.node:
        yield node
        for inner in _graphs_of(node):
            yield from _nodes(inner)


def _graphs_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors, those of constants, branches and loops too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _graphs_of(node):
            yield from _tensors(inner)


def files_beside(model: Any) -> set[str]:
    """The names of the files in its folder that hold weights of a model."""
    return {
        entry.value for tensor in _tensors(model.graph) for entry in tensor.external_data if entry.key == "location"
    }


def _check_tensor(onnx: Any, tensor: Any, path: Path) -> None:
    shape = tuple(tensor.dims)
    if any(not 0 <= n <= _LARGEST_DIMENSION for n in shape):
        raise CheckpointError(f"{path}: the tensor '{tensor.name}' has an impossible shape {shape}")
    try:
        bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: the tensor '{tensor.name}' has an unknown type") from None
    needed = math.prod(shape) * bits // 8
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_external({entry.key: entry.value for entry in tensor.external_data}, tensor.name, needed, path)
    elif tensor.raw_data and len(tensor.raw_data) < needed and "INT4" not in _type_name(onnx, tensor):
        raise CheckpointError(
            f"{path}: the tensor '{tensor.name}' of shape {shape} needs {needed:,} bytes and has "
            f"{len(tensor.raw_data):,}; the file is damaged"
        )


def _type_name(onnx: Any, tensor: Any) -> str:
    return str(onnx.TensorProto.DataType.Name(tensor.data_type))


def _check_external(where: dict[str, str], name: str, needed: int, path: Path) -> None:
    """Weights beside the file lie in its folder, and are there as far as the tensor reaches."""
    folder = path.parent.resolve()
    location = where.get("location", "")
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder) or file == folder:
        raise CheckpointError(f"{path}: the weights '{name}' lie outside of its folder ('{location}'); not loaded")
    if not file.is_file():
        raise CheckpointError(f"{path}: its weights {location} are missing; keep both files in one folder")
    try:
        offset, length = int(where.get("offset", 0)), int(where.get("length", needed))
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length < needed or offset + length > file.stat().st_size:
        raise CheckpointError(
            f"{path}: the weights '{name}' reach beyond {location}; it is damaged or of another export"
        )
