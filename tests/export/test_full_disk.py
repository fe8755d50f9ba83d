"""A disk that is full while a file is exported: one line, and nothing half-written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import export, tiny, traced_before

from support import content_of
from tubelet.errors import ExportError

BOTH_SIZES: Any = {"sizes": ((16, 16), (24, 32))}


@contextmanager
def files_no_longer_than(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The graph alone has some 100 kB: the first write fails, one in the middle, or that with the metadata.
@pytest.mark.parametrize(("form", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
@pytest.mark.parametrize("num_bytes", [1000, 50_000])
def test_a_full_disk_leaves_nothing(
    form: str, suffix: str, num_bytes: int, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    out = tmp_path / f"model{suffix}"
    with files_no_longer_than(num_bytes), pytest.raises((OSError, ExportError)) as caught:
        export(*tiny("vivit"), out, format=form, **BOTH_SIZES)
    assert "\n" not in str(caught.value)
    assert content_of(tmp_path) == {}


def test_a_full_disk_leaves_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Layer(torch.nn.Module):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return clip.mean((2, 3, 4))

    program = torch.export.export(Layer(), (torch.zeros(2, 3, 4, 16, 16),))
    monkeypatch.setattr("tubelet.export.torch_writer._program", lambda given: program)
    with files_no_longer_than(1000), pytest.raises(OSError, match="File too large") as caught:
        export(*tiny("vivit"), tmp_path / "model.pt2", format="torch")
    assert "\n" not in str(caught.value)
    assert content_of(tmp_path) == {}
