"""``tubelet explain`` of films, folders and volumes: maps lie where their source has its pixels and times."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from support import PROTOCOL, error_of
from tubelet import cli, load
from tubelet.data.sources.nifti import nifti_like, read_nifti
from tubelet.data.synthetic_films import encode_at_times
from tubelet.data.video.reader import VideoReader
from tubelet.report.relevance.film_files import window_spans

CHEAP = ("--method", "attention_rollout", "--device", "cpu", "--class", "left")


def explain(checkpoint: Path, *arguments: str | Path) -> int:
    return cli.main(["explain", str(checkpoint), *map(str, arguments), *CHEAP])


def film_at(path: Path, times: list[float], size: tuple[int, int] = (24, 40)) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (len(times), *size, 3)).astype(np.uint8)
    path.write_bytes(encode_at_times(frames, tuple(round(1000 * time) for time in times)))
    return path


def test_the_overlay_has_the_size_and_the_frame_times_of_its_source(checkpoint: Path, tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.2, 1.3]
    assert explain(checkpoint, film_at(tmp_path / "a.mp4", times), "--out", tmp_path / "why") == 0
    with VideoReader(tmp_path / "why/overlay.mp4") as film:
        assert (film.height, film.width) == (24, 40)
        first, last = np.load(tmp_path / "why/relevance.npz")["frames"][[0, -1]]
        shown = np.array(times[first : last + 1])
        assert np.allclose(film.timestamps, shown - shown[0], atol=1e-4)
        colors = film.frames_at([0]).pixels[0].float()  # C H W
    assert colors[:, :, :4].mean() < 0.6 * colors[:, :, 12:28].mean()  # what the crop leaves out is darker


def test_windows_of_a_film_are_explained_as_its_stretches_are(checkpoint: Path, tmp_path: Path) -> None:
    film, out = film_at(tmp_path / "a.mp4", [i / 10 for i in range(40)]), tmp_path / "why"
    assert explain(checkpoint, film, "--out", out, "--window", "1s", "--hop", "500ms") == 0
    said, arrays = json.loads((out / "explanation.json").read_text("utf-8")), np.load(out / "relevance.npz")
    assert [(w["start_seconds"], w["end_seconds"]) for w in said["windows"]] == window_spans(4.0, 1.0, 0.5)
    third = said["windows"][2]
    reading = {"start_seconds": third["start_seconds"], "end_seconds": third["end_seconds"]}
    alone = load(checkpoint, "cpu").explain(film, class_name="left", method="attention_rollout", reading=reading)
    assert np.array_equal(arrays["relevance_clip_00002"], alone.relevance)
    assert third["prob"] == alone.prob
    assert third["time_curve"] == pytest.approx(alone.time_curve.tolist())
    assert said["display"]["quantile_over"] == "this film alone"
    with VideoReader(out / "overlay.mp4") as shown:
        assert len(shown.timestamps) >= 36  # of 40: nothing is shown behind the last window's last frame


def test_the_last_window_ends_with_the_film_and_is_as_long_as_the_others() -> None:
    assert window_spans(4.2, 1.0, 1.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (pytest.approx(3.2), 4.2)]
    assert window_spans(0.7, 1.0, 1.0) == [(0.0, 0.7)]
    assert window_spans(2.0, 1.0, 1.0) == [(0.0, 1.0), (1.0, 2.0)]


def nifti_at(path: Path, flips: tuple[int, int, int], order: tuple[int, int, int]) -> Path:
    """A volume whose stored axes are not those of the patient."""
    array = np.random.default_rng(0).integers(0, 255, (24, 28, 20)).astype(np.uint8).transpose(order)
    affine = np.zeros((4, 4))
    for stored, axis in enumerate(order):
        affine[axis, stored] = (1.5, 2.0, 3.0)[axis] * flips[stored]
    affine[:, 3] = (10, -20, 30, 1)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_values_go_back_to_the_voxels_that_they_are_of(
    flips: tuple[int, int, int], order: tuple[int, int, int], tmp_path: Path
) -> None:
    path = nifti_at(tmp_path / "a.nii.gz", flips, order)
    (tmp_path / "b.nii.gz").write_bytes(nifti_like(path, read_nifti(path).astype(np.float32)))
    first, second = nibabel.load(path), nibabel.load(tmp_path / "b.nii.gz")
    assert np.array_equal(first.affine, second.affine)
    assert np.array_equal(np.asanyarray(first.dataobj), np.asanyarray(second.dataobj))


def test_a_volume_gets_a_montage_and_a_map_in_its_own_space(checkpoint: Path, tmp_path: Path) -> None:
    path, out = nifti_at(tmp_path / "a.nii.gz", (-1, 1, 1), (0, 1, 2)), tmp_path / "why"
    assert explain(checkpoint, path, "--out", out) == 0
    assert {file.name for file in out.iterdir()} == {
        "relevance.npz", "explanation.json", "sheet.png", "montage.png", "relevance.nii.gz", "report.html"
    }  # fmt: skip
    assert Image.open(out / "montage.png").width == 1200
    made, source = nibabel.load(out / "relevance.nii.gz"), nibabel.load(path)
    assert made.shape == source.shape
    assert np.array_equal(made.affine, source.affine)
    values, arrays = np.asanyarray(made.dataobj), np.load(out / "relevance.npz")
    slices = arrays["frames"]
    # x runs backward in the file; rows of a slice run from front to back, against y
    of_slice = values[::-1, ::-1, int(slices[1])].T
    assert np.array_equal(of_slice, arrays["relevance"][1], equal_nan=True)
    assert np.isnan(values[:, :, : int(slices.min())]).all()


def test_a_frame_folder_is_a_film(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (24, 40, 3)).astype(np.uint8)).save(folder / f"{i:04d}.png")
    assert explain(checkpoint, folder, "--out", tmp_path / "why", "--frame-fps", "5") == 0
    with VideoReader(tmp_path / "why/overlay.mp4") as film:
        assert np.allclose(np.diff(film.timestamps), 0.2, atol=1e-4)


def test_a_volume_has_no_windows(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.zeros((10, 24, 24), dtype=np.uint8))
    words = ["explain", str(checkpoint), str(tmp_path / "a.npy"), "--out", str(tmp_path / "why"), "--window", "2s"]
    assert "no time that windows could lie on" in error_of([*words, *CHEAP], capsys)
    assert not (tmp_path / "why").exists()


def test_a_map_on_every_slice_is_that_of_the_nearest_shown_one(checkpoint: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 255, (10, 24, 24, 3)).astype(np.uint8)
    protocol = dataclasses.replace(PROTOCOL, num_temporal_views=1)
    found = (
        load(checkpoint, "cpu").with_protocol(protocol).explain(volume, class_name="left", method="attention_rollout")
    )
    shown, values = found.view.indices, found.in_volume(10)
    for place, index in enumerate(shown):
        assert np.array_equal(values[index], found.in_source()[place], equal_nan=True)
    assert np.isnan(values[: min(shown)]).all()
