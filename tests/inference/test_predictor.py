"""A file, its frames as an array, its frames as a tensor and an evaluation give one and the same answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from support import PROTOCOL, rows_of, write_checkpoint
from tubelet import Classifier, cli, load
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, DataError, TubeletError, VideoError
from tubelet.types import Prediction


@pytest.fixture
def classifier(checkpoint: Path) -> Classifier:
    return load(checkpoint, "cpu")


@pytest.fixture
def native(tmp_path: Path) -> Classifier:
    """For videos at their own size: files and arrays are resized by two programs, which round differently."""
    return load(write_checkpoint(tmp_path / "native", dataclasses.replace(PROTOCOL, resize_short_side=32)), "cpu")


@pytest.fixture
def video(videos: Path) -> Path:
    return videos / "test" / "growing" / "0001.mp4"


def same(one: Prediction, other: Prediction, tolerance: float = 0.0) -> bool:
    """Whether two predictions say the same of sources with different names."""
    rank = dict(zip(one.labels, one.probs, strict=True))
    return rank == pytest.approx(dict(zip(other.labels, other.probs, strict=True)), abs=tolerance, rel=0)


def test_predicting_a_file_equals_evaluating_it(
    classifier: Classifier, checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    argv = ["evaluate", str(checkpoint), "--data", str(videos), "--out", str(tmp_path), "--num-workers", "0"]
    assert cli.main([*argv, "--device", "cpu"]) == 0
    rows = rows_of(tmp_path / "scores.csv")
    assert len(rows) == 16
    for row in rows:
        prediction = classifier.predict(videos / row["path"])
        assert prediction.top1 == row["predicted"]
        for label, prob in zip(prediction.labels, prediction.probs, strict=True):
            assert prob == pytest.approx(float(row[label]), abs=1e-6)


def test_the_frames_of_a_file_as_array_and_as_tensor_give_its_prediction(native: Classifier, video: Path) -> None:
    with VideoReader(video) as reader:
        frames = reader.frames_at(range(len(reader.timestamps))).pixels  # T C H W
    of_file = native.predict(video)
    array = native.predict(frames.permute(0, 2, 3, 1).numpy())
    tensor = native.predict(frames.transpose(0, 1))
    assert same(of_file, array)
    assert same(of_file, tensor)
    assert (of_file.source, array.source, tensor.source) == (str(video), "ndarray", "Tensor")


def test_the_answer_holds_every_label_best_first_with_its_views(classifier: Classifier, video: Path) -> None:
    prediction = classifier.predict(video)
    assert sorted(prediction.labels) == list(PROTOCOL.labels["label"])
    assert list(prediction.probs) == sorted(prediction.probs, reverse=True)
    assert sum(prediction.probs) == pytest.approx(1)
    assert prediction.top1 == prediction.labels[0]
    assert (prediction.num_views, prediction.notes) == (6, ())
    assert prediction.seconds_covered == pytest.approx(0.9)  # two clips of 7 frames from frames 0 and 2, 10 per second


def test_top_k_gives_the_first_of_all_labels(classifier: Classifier, video: Path) -> None:
    whole, best = classifier.predict(video), classifier.predict(video, top_k=3)
    assert (best.labels, best.probs) == (whole.labels[:3], whole.probs[:3])
    assert classifier.predict(video, top_k=100) == whole
    for top_k in (0, -1):
        with pytest.raises(ConfigError, match=f"top_k must be at least 1, got {top_k}"):
            classifier.predict(video, top_k=top_k)


def test_a_segment_is_predicted_like_a_file_that_holds_nothing_else(native: Classifier, video: Path) -> None:
    with VideoReader(video) as reader:
        frames = reader.frames_at(range(2, 9)).pixels.permute(0, 2, 3, 1).numpy()
    part = native.predict(video, start_seconds=0.2, end_seconds=0.9)
    assert same(part, native.predict(frames))
    assert not same(part, native.predict(video))
    rest = native.predict(video, start_seconds=0.2)
    assert same(rest, native.predict(video, start_seconds=0.2, end_seconds=1.0))


def test_a_segment_without_frames_is_refused(classifier: Classifier, video: Path) -> None:
    with pytest.raises(DataError, match="segment 5 to 6 s holds no frame"):
        classifier.predict(video, start_seconds=5.0, end_seconds=6.0)


def test_a_video_shorter_than_the_clip_is_looped_and_the_answer_says_so(classifier: Classifier) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    prediction = classifier.predict(frames)
    assert prediction.notes == ("video has 5 frames, the clip spans 7: looped",)
    assert same(prediction, classifier.predict(np.concatenate([frames, frames])[:7]), 1e-6)


def test_an_array_says_its_rate_where_the_protocol_samples_by_time(tmp_path: Path, video: Path) -> None:
    protocol = dataclasses.replace(PROTOCOL, resize_short_side=32, frame_stride=None, target_fps=5.0)
    classifier = load(write_checkpoint(tmp_path / "best", protocol), "cpu")
    with VideoReader(video) as reader:
        frames = reader.frames_at(range(len(reader.timestamps))).pixels.transpose(0, 1)
    assert same(classifier.predict(frames, fps=10.0), classifier.predict(video))
    with pytest.raises(DataError, match="the protocol samples 5 frames per second; give the array's fps"):
        classifier.predict(frames)
    with pytest.raises(DataError, match="is for arrays and frame folders; a file has its own, leave it out"):
        classifier.predict(video, fps=10.0)


def test_an_npy_volume_is_a_file_like_any_other(classifier: Classifier, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (9, 20, 20), dtype=np.uint8)
    np.save(tmp_path / "volume.npy", volume)
    assert same(classifier.predict(tmp_path / "volume.npy"), classifier.predict(volume))


def test_files_that_cannot_be_read_are_refused_with_their_name(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("empty.mp4", "text.mp4", "missing.mp4"):
        with pytest.raises(VideoError, match=name):
            classifier.predict(tmp_path / name)


@pytest.mark.parametrize(("num_workers", "batch_size"), [(0, 1), (0, 3), (2, 1), (2, 3)])
def test_a_bad_file_in_the_middle_gives_its_line_and_the_others_keep_their_place(
    classifier: Classifier, videos: Path, tmp_path: Path, num_workers: int, batch_size: int
) -> None:
    bad = [tmp_path / "empty.mp4", tmp_path / "text.mp4"]
    bad[0].write_bytes(b"")
    bad[1].write_text("not a video")
    good = sorted((videos / "test").glob("*/0000.mp4"))[:3]
    files = [good[0], bad[0], good[1], bad[1], good[2]]
    results = list(classifier.predict_files(files, num_workers=num_workers, batch_size=batch_size, top_k=2))
    for file, result in zip(files, results, strict=True):
        if file in bad:
            assert isinstance(result, str)
            assert result.startswith(str(file))
            assert "\n" not in result
        else:
            assert isinstance(result, Prediction)
            assert result.source == str(file)
            alone = classifier.predict(file, top_k=2)
            assert (result.labels, result.seconds_covered) == (alone.labels, alone.seconds_covered)
            assert same(result, alone, 1e-6)


def test_a_classifier_predicts_in_evaluation_mode(checkpoint: Path, video: Path) -> None:
    classifier = load(checkpoint, "cpu")
    assert not classifier.model.training
    assert classifier.predict(video) == classifier.predict(video)


def test_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TubeletError, match="no checkpoint here"):
        load(tmp_path)
