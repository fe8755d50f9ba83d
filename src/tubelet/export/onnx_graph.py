"""An ONNX graph of a model: one for each height and width, joined by a branch on the size of the clip."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tubelet.export.trace import Traceable, explaining_trace, traceable
from tubelet.weights.exported.module import imported
from tubelet.weights.exported.record import TakenClips

INPUTS, OUTPUT = ("clip", "position"), "logits"


def onnx_graph(model: nn.Module, name: str, taken: TakenClips, opset: int) -> Any:
    """The ``ModelProto``: ``clip`` (and ``position``) in, ``logits`` out.

    Raises:
        ExportError: torch cannot follow the model.
        CheckpointError: a package of the extra export is missing.
    """
    imported("onnx", "export")
    imported("onnxscript", "export")
    graphs = [_graph_of_size(model, name, taken, size, opset) for size in taken.sizes]
    return graphs[0] if len(graphs) == 1 else _joined(graphs, taken.sizes)


def _graph_of_size(model: nn.Module, name: str, taken: TakenClips, size: tuple[int, int], opset: int) -> Any:
    given = traceable(model, taken, size)
    return traced_graph(given, name, taken, opset, INPUTS[: len(given.inputs)], (OUTPUT,))


def traced_graph(
    given: Traceable, name: str, taken: TakenClips, opset: int, inputs: Sequence[str], outputs: Sequence[str]
) -> Any:
    """The ``ModelProto`` of a module, whose inputs and outputs get these names.

    Raises:
        ExportError: torch cannot follow it.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with explaining_trace(name, taken):
        program = torch.onnx.export(
            given.model,
            given.inputs,
            dynamo=True,
            dynamic_shapes=given.dynamic_shapes,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    del graph.metadata_props[:]
    for node in graph.graph.node:  # where in the source every node came from
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.value_info[:]
    return graph


def _joined(graphs: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> Any:
    """One graph that takes the branch of the clip's height and width; equal weights stand in it once."""
    onnx = imported("onnx", "export")
    first = graphs[0].graph
    weights = _SharedWeights()
    branches = [_branch(graph.graph, f"size{i}/", weights) for i, graph in enumerate(graphs)]
    nodes = [onnx.helper.make_node("Shape", [INPUTS[0]], ["clip_size"], start=3, end=5)]
    tail = branches[-1]
    for i in range(len(sizes) - 2, -1, -1):
        is_size, chosen = f"is_size{i}", f"logits_from{i}"
        test = _size_test(onnx, sizes[i], i)
        choice = onnx.helper.make_node(
            "If", [is_size], [chosen], name=f"choose_size{i}", then_branch=branches[i], else_branch=tail
        )
        output = onnx.helper.make_empty_tensor_value_info(chosen)
        tail = onnx.helper.make_graph([*test, choice], f"sizes{i}", [], [output])
    clip = onnx.helper.make_tensor_value_info(
        INPUTS[0], onnx.TensorProto.FLOAT, [*_axes(first.input[0])[:3], "height", "width"]
    )
    joined = onnx.helper.make_graph(
        [*nodes, *tail.node, onnx.helper.make_node("Identity", [tail.output[0].name], [OUTPUT])],
        "sizes",
        [clip, *first.input[1:]],
        list(first.output),
        initializer=weights.kept,
    )
    result = onnx.helper.make_model(joined, opset_imports=graphs[0].opset_import, ir_version=graphs[0].ir_version)
    result.functions.extend(graphs[0].functions)
    return result


def _axes(value: Any) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _size_test(onnx: Any, size: tuple[int, int], i: int) -> list[Any]:
    """Nodes that give ``is_size{i}``: whether the clip has this height and width."""
    make, int64 = onnx.helper.make_node, onnx.TensorProto.INT64
    value = onnx.helper.make_tensor(f"size{i}", int64, [2], list(size))
    return [
        make("Constant", [], [f"size{i}"], value=value),
        make("Sub", ["clip_size", f"size{i}"], [f"difference{i}"]),
        make("Abs", [f"difference{i}"], [f"distance{i}"]),
        make("ReduceMax", [f"distance{i}"], [f"farthest{i}"], keepdims=0),
        make("Cast", [f"farthest{i}"], [f"is_other{i}"], to=onnx.TensorProto.BOOL),
        make("Not", [f"is_other{i}"], [f"is_size{i}"]),
    ]


class _SharedWeights:
    """Tensors of several graphs, each of them once."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self._names: dict[tuple[Any, ...], str] = {}

    def name_of(self, tensor: Any, prefix: str) -> str:
        """The name under which the values of a tensor are kept."""
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        if key not in self._names:
            kept = type(tensor)()
            kept.CopyFrom(tensor)
            kept.name = self._names[key] = f"{prefix}{tensor.name}" if prefix else tensor.name
            self.kept.append(kept)
        return self._names[key]


def _branch(graph: Any, prefix: str, weights: _SharedWeights) -> Any:
    """The nodes of a graph as a branch, which reads the clip and the weights of the graph around it."""
    onnx = imported("onnx", "export")
    names = {value.name: value.name for value in graph.input}
    names |= {tensor.name: weights.name_of(tensor, prefix) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        copied = type(node)()
        copied.CopyFrom(node)
        copied.name = f"{prefix}{node.name}"
        copied.input[:] = [names.get(name, f"{prefix}{name}") if name else "" for name in node.input]
        copied.output[:] = [f"{prefix}{name}" if name else "" for name in node.output]
        nodes.append(copied)
    result = onnx.helper.make_empty_tensor_value_info(f"{prefix}{OUTPUT}")
    return onnx.helper.make_graph(nodes, prefix.rstrip("/"), [], [result])
