"""TIFF stacks are volumes: pictures in order, 16 bits with a window, and folders of single pictures stay videos."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from support import write_csv
from tubelet.data.layouts.find_files import sources_below
from tubelet.data.manifest.read import read_manifest
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.open_source import open_source
from tubelet.errors import DataError
from tubelet.protocol import Protocol


def stack(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("how", [{}, {"imagej": True}, {"compression": "deflate"}, {"bigtiff": True}])
def test_frames_are_the_pictures_in_order(tmp_path: Path, how: dict[str, object]) -> None:
    pixels = stack(5, 12, 16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    with open_source(tmp_path / "a.tif", None, Protocol()) as reader:
        read = reader.frames_at([4, 0]).pixels
    assert np.array_equal(read.numpy(), np.repeat(pixels[[4, 0], None], 3, axis=1))


def test_colors_and_deep_values_are_read_as_of_other_volumes(tmp_path: Path) -> None:
    colors, deep = stack(4, 12, 16, 3), stack(3, 12, 16, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "rgb.tif", colors, photometric="rgb")
    with open_source(tmp_path / "rgb.tif", None, Protocol()) as reader:
        assert np.array_equal(reader.frames_at([1]).pixels[0].permute(1, 2, 0).numpy(), colors[1])
    tifffile.imwrite(tmp_path / "deep.ome.tif", deep)
    with pytest.raises(DataError, match=r"holds uint16; expected uint8 .* protocol.volume_window"):
        open_source(tmp_path / "deep.ome.tif", None, Protocol())
    with open_source(tmp_path / "deep.ome.tif", None, Protocol(volume_window=(0.0, 255.0))) as reader:
        assert np.array_equal(reader.frames_at([2]).pixels[0, 0].numpy(), deep[2])


def test_a_stack_that_is_named_is_a_row_and_a_folder_of_pictures_stays_a_video(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        tifffile.imwrite(tmp_path / f"frames/img_{number}.tif", stack(12, 16))
    tifffile.imwrite(tmp_path / "cells.ome.tif", stack(5, 12, 16))
    assert sources_below(tmp_path) == [tmp_path / "cells.ome.tif", tmp_path / "frames"]
    assert len(FrameFolderReader(tmp_path / "frames").timestamps) == 3
    for name in "abcd":
        tifffile.imwrite(tmp_path / f"{name}.tif", stack(5, 12, 16))
    rows = [("path", "label", "split"), *((f"{name}.tif", "xy"[i % 2], "train") for i, name in enumerate("abcd"))]
    manifest = read_manifest(write_csv(tmp_path / "list.csv", rows), makes_splits=False)
    assert [sample.path for sample in manifest.samples] == ["a.tif", "b.tif", "c.tif", "d.tif"]


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            open_source(path, None, Protocol())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (tmp_path / "no.tif").write_bytes(b"no TIFF")
    assert "not a TIFF stack that can be read" in says(tmp_path / "no.tif")
    tifffile.imwrite(tmp_path / "many.tif", stack(3, 2, 12, 16), imagej=True, metadata={"axes": "TCYX"})
    assert "holds the axes TCYX of (3, 2, 12, 16); expected one of them beside" in says(tmp_path / "many.tif")
    assert "there is no such file" in says(tmp_path / "gone.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert "pip install 'tubelet[tiff]'" in says(tmp_path / "many.tif")
