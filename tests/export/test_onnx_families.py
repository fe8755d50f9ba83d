"""Every family as an ONNX file: any batch, any T, the sizes it was exported for, no resizing inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from exported_models import TINY, VARIANTS, difference, export, opened, tiny
from torch import nn

from tubelet.models import create_model
from tubelet.weights.checkpoint.checkpoint import Record

MADE_FOR, OTHER = (16, 16), (24, 32)  # the size of the position tables, and another


# The others have a test of their own: two sizes below, and test_resized_tables.py.
@pytest.mark.parametrize("family", ["vtn", "videomae", "vjepa2", "videoprism"])
def test_a_file_follows_batch_and_frames_and_resizes_nothing(family: str, tmp_path: Path) -> None:
    check_file(*tiny(family), tmp_path / "model.onnx", (OTHER,))


def test_one_file_takes_several_sizes(onnx_file: Path) -> None:
    model, _ = tiny("vivit")
    assert "Resize" not in operators(onnx_file)
    for size in (MADE_FOR, OTHER):
        for batch, frames in ((1, 2), (2, 10)):
            assert difference(model, opened(onnx_file), batch, frames, size) < 1e-5, (size, batch, frames)


@pytest.mark.soak
@pytest.mark.parametrize("case", [*TINY, *VARIANTS])
def test_every_variant_follows_batch_frames_and_sizes(case: str, tmp_path: Path) -> None:
    model, record = tiny(case)
    sizes = (record.protocol.crop_size, (48, 64) if case == "vtn_resnet" else OTHER)
    check_file(model, record, tmp_path / "model.onnx", sizes)


@pytest.mark.soak
@pytest.mark.parametrize("network", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_convolutional_networks_follow_batch_and_frames(network: str, tmp_path: Path) -> None:
    model, record = torchvision(network)
    check_file(model, record, tmp_path / "model.onnx", (MADE_FOR, OTHER))


def torchvision(network: str) -> tuple[nn.Module, Record]:
    fields = {"network": network, "num_classes": 5, "image_size": [16, 16], "num_frames": 4}
    _, record = tiny("vivit")
    model = create_model(f"torchvision/{network}", **{k: v for k, v in fields.items() if k != "network"})
    return model.eval(), dataclasses.replace(record, model_name=f"torchvision/{network}", model_config=fields)


def check_file(model: nn.Module, record: Record, path: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    exported = export(model, record, path, sizes=sizes)
    assert exported.record.clips.num_frames is None
    assert len(exported.record.proof.cases) == 5 * 2 * len(sizes)
    assert exported.record.proof.largest.difference < 1e-5
    assert "Resize" not in operators(path)
    file, least = opened(path), exported.record.clips.min_frames
    assert file.takes_frame_numbers == getattr(model, "takes_frame_numbers", False)
    for size in sizes:
        for batch, frames in ((1, least), (2, least + 4 * exported.record.clips.frame_step)):
            assert difference(model, file, batch, frames, size) < 1e-5, (size, batch, frames)


def operators(path: Path) -> set[str]:
    def of(graph: Any) -> Iterator[str]:
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from of(attribute.g)

    return set(of(onnx.load(path).graph))
