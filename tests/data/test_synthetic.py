"""The motion set: its symmetry under time reversal, its files, and what a second call does."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.data.synthetic import (
    CLASSES,
    PARAMETERS_FILE,
    SHAPES,
    encode_h264,
    motion_clip,
    opposite,
    shape_clip,
    write_motion_set,
)
from tubelet.errors import DataError

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=25, deadline=None)


def clip_of(class_name: str, seed: int, **sizes: int) -> np.ndarray:
    return motion_clip(class_name, np.random.default_rng(seed), **sizes)


def decode(file: Path | bytes) -> np.ndarray:
    with av.open(io.BytesIO(file) if isinstance(file, bytes) else str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def shape_mask(seed: int, class_name: str) -> np.ndarray:
    """True where the shape is, T H W; the background is what the moving clips of the same draws show most often."""
    background = np.median(np.concatenate([clip_of(name, seed) for name in CLASSES[:4]]), axis=0)
    return np.abs(clip_of(class_name, seed) - background).max(axis=-1) > 40


def centroids(mask: np.ndarray) -> np.ndarray:
    """Mean (x, y) in pixels of each frame's shape, T 2."""
    return np.stack([np.argwhere(frame)[:, ::-1].mean(axis=0) for frame in mask])


@QUICK
@given(seed=SEEDS, class_name=st.sampled_from(CLASSES), num_frames=st.sampled_from([8, 16, 21, 24]))
def test_a_reversed_clip_is_the_opposite_class_with_the_same_draws(seed, class_name, num_frames):
    forward = clip_of(class_name, seed, num_frames=num_frames)
    backward = clip_of(opposite(class_name), seed, num_frames=num_frames)
    np.testing.assert_array_equal(forward[::-1], backward)


@QUICK
@given(seed=SEEDS)
def test_all_classes_share_the_middle_frame(seed):
    middle = [clip_of(name, seed, num_frames=21)[10] for name in CLASSES]
    for frame in middle[1:]:
        np.testing.assert_array_equal(frame, middle[0])


@QUICK
@given(seed=SEEDS, class_name=st.sampled_from(CLASSES))
def test_every_clip_moves_and_its_shape_stays_inside(seed, class_name):
    clip = clip_of(class_name, seed).astype(int)
    border = np.concatenate([clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]], axis=1)
    assert (border == border[:1]).all(), "the shape touched the border"
    steps = np.abs(np.diff(clip, axis=0)).max(axis=(1, 2, 3))
    assert (steps > 8).all(), "two consecutive frames look the same"


@pytest.mark.parametrize("seed", range(5))
def test_class_names_say_what_is_seen(seed):
    for name, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        path = centroids(shape_mask(seed, name))
        assert sign * (path[-1, axis] - path[0, axis]) > 10
        assert abs(path[-1, 1 - axis] - path[0, 1 - axis]) < 2
    for name, sign in (("growing", 1), ("shrinking", -1)):
        area = shape_mask(seed, name).sum(axis=(1, 2))
        assert sign * np.log(area[-1] / area[0]) > np.log(2)


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("counter_clockwise", -1)])
def test_turning_goes_the_way_its_name_says(name, sign):
    turns = []
    for seed in range(24):
        steps = np.diff(centroids(shape_mask(seed, name))[::4], axis=0)
        turns.append(np.sum(steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]))
    # A bar turns around its centroid, so that its path says nothing; the other shapes trace an arc.
    arcs = [turn for turn in turns if abs(turn) > 2]
    assert len(arcs) >= 6
    assert all(sign * turn > 0 for turn in arcs)  # y points down: a positive cross product is clockwise


def test_opposite_is_its_own_inverse_and_unknown_names_are_refused():
    assert {opposite(opposite(name)) for name in CLASSES} == set(CLASSES)
    assert opposite("growing") == "shrinking"
    with pytest.raises(DataError, match="did you mean 'left'"):
        opposite("lefft")


@pytest.mark.parametrize("class_name", CLASSES[::2])
def test_compression_keeps_the_symmetry(class_name):
    forward = decode(encode_h264(clip_of(class_name, 7), fps=24))
    backward = decode(encode_h264(clip_of(opposite(class_name), 7), fps=24))
    np.testing.assert_array_equal(forward[::-1], backward)
    error = forward.astype(float) - clip_of(class_name, 7)
    assert np.sqrt((error**2).mean()) < 10  # levels of 255


COUNTS = {"train": 24, "test": 16}


@pytest.fixture(scope="module")
def motion_set(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("motion") / "set"
    write_motion_set(root, COUNTS, size_pixels=32, num_frames=10, fps=12, seed=5)
    return root


def test_files_are_balanced_h264_of_the_asked_size(motion_set):
    for split, count in COUNTS.items():
        for name in CLASSES:
            files = sorted((motion_set / split / name).iterdir())
            assert [file.name for file in files] == [f"{i:04d}.mp4" for i in range(count // 8)]
    with av.open(str(motion_set / "test" / "up" / "0001.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (12, 10)
    for file in motion_set.glob("*/*/*.mp4"):
        assert decode(file).shape == (10, 32, 32, 3)


def test_no_two_clips_are_equal(motion_set):
    files = list(motion_set.glob("*/*/*.mp4"))
    clips = {decode(file).tobytes() for file in files}
    backward = {decode(file)[::-1].tobytes() for file in files}
    assert len(clips) == sum(COUNTS.values())
    assert not clips & backward


def test_an_interrupted_set_is_finished_to_the_same_bytes(motion_set, tmp_path):
    class StopError(Exception):
        pass

    def stop_at_seven(done: int, total: int) -> None:
        assert total == 40
        if done == 7:
            raise StopError

    root = tmp_path / "again"
    sizes = {"size_pixels": 32, "num_frames": 10, "fps": 12, "seed": 5}
    with pytest.raises(StopError):
        write_motion_set(root, COUNTS, **sizes, progress=stop_at_seven)
    kept = sorted(root.glob("*/*/*.mp4"))
    assert len(kept) == 7
    written_at = [file.stat().st_mtime_ns for file in kept]
    seen = []
    write_motion_set(root, COUNTS, **sizes, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 40) for i in range(1, 41)]
    assert [file.stat().st_mtime_ns for file in kept] == written_at
    for file in motion_set.rglob("*.*"):
        assert (root / file.relative_to(motion_set)).read_bytes() == file.read_bytes()
    assert len(list(root.rglob("*.*"))) == 41  # 40 clips and the parameters: nothing half-written is left


@pytest.mark.parametrize("change", [{"seed": 6}, {"fps": 24}, {"num_frames": 12}, {"size_pixels": 64}])
def test_other_parameters_in_the_same_folder_are_refused(motion_set, change):
    before = (motion_set / PARAMETERS_FILE).read_text()
    with pytest.raises(DataError, match="holds a motion set made with"):
        write_motion_set(motion_set, COUNTS, **{"size_pixels": 32, "num_frames": 10, "fps": 12, "seed": 5, **change})
    assert (motion_set / PARAMETERS_FILE).read_text() == before
    assert json.loads(before)["counts"] == COUNTS


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="got other files"):
        write_motion_set(tmp_path, COUNTS)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("counts", "options"),
    [
        ({"train": 12}, {}),
        ({"train": 0}, {}),
        ({"train": 8}, {"size_pixels": 33}),
        ({"train": 8}, {"num_frames": 7}),
        ({"train": 8}, {"fps": 0}),
        ({"train": 8}, {"seed": -1}),
    ],
)
def test_parameters_out_of_range_write_nothing(tmp_path, counts, options):
    with pytest.raises(DataError, match="motion set"):
        write_motion_set(tmp_path / "set", counts, **options)
    assert not (tmp_path / "set").exists()


@QUICK
@given(seed=SEEDS)
def test_a_clip_of_the_shape_set_is_one_of_the_motion_set_under_another_label(seed):
    """With the shape that the motion set draws itself, it is the clip of one of the eight classes."""
    clips = [clip_of(name, seed) for name in CLASSES]
    shown = [shape_clip(shape, np.random.default_rng(seed)) for shape in SHAPES]
    same = [(s, c) for s, one in enumerate(shown) for c, other in enumerate(clips) if np.array_equal(one, other)]
    assert len(same) == 1
    (middle,) = {clip.shape[0] // 2 for clip in shown}
    assert len({clip[middle].tobytes() for clip in shown}) == len(SHAPES)


def test_every_motion_occurs_in_the_shape_set():
    ways = set()
    for seed in range(60):
        clips = {name: clip_of(name, seed) for name in CLASSES}
        for shape in SHAPES:
            shown = shape_clip(shape, np.random.default_rng(seed))
            ways |= {name for name, clip in clips.items() if np.array_equal(shown, clip)}
    assert ways == set(CLASSES)


def test_the_shape_set_is_written_by_shape_and_is_no_motion_set(tmp_path):
    write_motion_set(tmp_path / "set", {"train": 10, "val": 5}, labels="shapes", size_pixels=32, num_frames=8)
    assert {p.name for p in (tmp_path / "set" / "train").iterdir()} == set(SHAPES)
    assert len(list(tmp_path.rglob("*.mp4"))) == 15
    with pytest.raises(DataError, match="holds a motion set made with"):
        write_motion_set(tmp_path / "set", {"train": 8}, size_pixels=32, num_frames=8)
    with pytest.raises(DataError, match="positive multiple of 5 clips, got 8"):
        write_motion_set(tmp_path / "other", {"train": 8}, labels="shapes")
    with pytest.raises(DataError, match=r"no shape 'bat'.*bar"):
        shape_clip("bat", np.random.default_rng(0))
