"""Every family as an ONNX file: any batch, any T, the sizes it was exported for, no resizing inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from exported_models import TINY, difference, export, opened, tiny

SIZES = ((16, 16), (24, 32))  # that of the position tables, and another


@pytest.mark.parametrize("family", TINY)
def test_a_file_follows_batch_frames_and_size_and_resizes_nothing(family: str, tmp_path: Path) -> None:
    model, record = tiny(family)
    exported = export(model, record, tmp_path / "model.onnx", sizes=SIZES)
    assert exported.record.clips.num_frames is None
    assert len(exported.record.proof.cases) == 5 * 2 * 2
    assert "Resize" not in operators(tmp_path / "model.onnx")
    file = opened(tmp_path / "model.onnx")
    assert file.takes_frame_numbers == (family == "vtn")
    for size in SIZES:
        for batch, frames in ((1, 2), (2, 10)):
            assert difference(model, file, batch, frames, size) < 1e-5, (size, batch, frames)


def test_a_file_of_a_convolutional_network_follows_batch_and_frames(tmp_path: Path) -> None:
    model, record = tiny("vivit")
    del model
    from tubelet.models import create_model

    network = create_model("torchvision/r3d_18", num_classes=5).eval()
    export(network, of_network(record), tmp_path / "model.onnx")
    assert difference(network, opened(tmp_path / "model.onnx"), 2, 5, (16, 16)) < 1e-5


def of_network(record: Any) -> Any:
    import dataclasses

    config = {"network": "r3d_18", "num_classes": 5, "image_size": [16, 16], "num_frames": 4}
    return dataclasses.replace(record, model_name="torchvision/r3d_18", model_config=config)


def operators(path: Path) -> set[str]:
    def of(graph: Any) -> Iterator[str]:
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from of(attribute.g)

    return set(of(onnx.load(path).graph))
