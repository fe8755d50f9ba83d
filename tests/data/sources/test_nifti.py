"""NIfTI volumes: slices from the feet up, whatever axes the file is stored in, and values only by a stated window."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from support import assert_one_line
from tubelet.data.sources.open_source import open_source
from tubelet.data.sources.volume import is_volume, read_volume
from tubelet.errors import DataError
from tubelet.protocol import Protocol


def ramp() -> np.ndarray:
    """[X, Y, Z] = [3, 4, 5], every voxel different."""
    return np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "V.NII.GZ"])
def test_slices_run_from_the_feet_up_with_the_front_at_the_top(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ramp())
    assert is_volume(path)
    frames = read_volume(path, None, 1)
    assert frames.shape == (5, 1, 4, 3)
    for z in range(5):
        for y in range(4):
            assert frames[z, 0, 3 - y].tolist() == ramp()[:, y, z].tolist()


def test_the_axes_of_the_file_do_not_matter(tmp_path: Path) -> None:
    straight = read_volume(write(tmp_path / "a.nii.gz", ramp()), None, 1)
    stored = ramp().transpose(2, 0, 1)[::-1]  # first axis: from head to feet
    affine = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 4], [0, 0, 0, 1]], dtype=float)
    turned = read_volume(write(tmp_path / "b.nii.gz", np.ascontiguousarray(stored), affine), None, 1)
    assert turned.equal(straight)


def test_hounsfield_units_need_a_window(tmp_path: Path) -> None:
    values = np.array([-1000, -160, 40, 240, 3000, 0], dtype=np.int16).reshape(1, 1, 6)
    path = write(tmp_path / "ct.nii.gz", values)
    with pytest.raises(DataError) as caught:
        read_volume(path, None, 1)
    assert_one_line(caught, "int16", "protocol.volume_window")
    protocol = Protocol(num_frames=6, frame_stride=1, volume_window=(-160.0, 240.0))
    with open_source(path, None, protocol) as reader:
        assert reader.frames_at(range(6)).pixels[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255, 102]


def test_other_shapes_and_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(b"no volume")
    cut = write(tmp_path / "cut.nii", np.zeros((20, 20, 20), np.uint8))
    cut.write_bytes(cut.read_bytes()[:2000])
    series = write(tmp_path / "series.nii", np.zeros((2, 2, 2, 3), np.uint8))
    for path, part in ((tmp_path / "x.nii.gz", "not a NIfTI"), (cut, "not a NIfTI"), (series, "(2, 2, 2, 3)")):
        with pytest.raises(DataError) as caught:
            read_volume(path, None, 1)
        assert_one_line(caught, str(path), part)


def test_without_nibabel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "v.nii.gz", None, 1)
    assert_one_line(caught, "tubelet[nifti]")
