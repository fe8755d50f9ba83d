"""A film in windows: the numbers of the same windows cut out of the file, whatever its frame rate."""

from __future__ import annotations

import dataclasses
import gc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import nn

from support import PROTOCOL, write_checkpoint
from tubelet import load
from tubelet.data.clips.fixed_rate import fixed_rate_indices
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import crop_frames, resize_frames, view_geometry
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, VideoError
from tubelet.inference.long_video import merge_neighbors, predict_windows
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.windows import WindowPlan, plan_whole
from tubelet.models import create_model
from tubelet.types import HeadScores, Segment
from tubelet.weights.checkpoint.checkpoint import Record

TICKS = 30_000  # per second: holds 24, 29.97 and any variable rate exactly
RATES = {
    "24": np.arange(60) * (TICKS // 24),
    "29.97": np.arange(70) * 1001,
    "variable": np.cumsum(np.random.default_rng(5).integers(300, 3000, size=60)),
}
PLAN = WindowPlan(num_frames=4, hop=2, seconds_per_sample=0.1)


def write_film(path: Path, ticks: np.ndarray, size: tuple[int, int] = (24, 32)) -> Path:
    """An H.264 film with B-frames and several key frames whose frames appear at these ticks; they all differ."""
    rng = np.random.default_rng(0)
    background = rng.integers(0, 100, size=(*size, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "12", "bf": "2"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for i, tick in enumerate(ticks.tolist()):
            pixels = (background + 2 * i) % 256
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(params=RATES)
def film(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_film(tmp_path / f"{request.param}.mp4", RATES[request.param])


@pytest.fixture
def judge(checkpoint: Path) -> Classifier:
    return load(checkpoint, "cpu")


def alone(judge: Classifier, reader: VideoReader, indices: list[int]) -> dict[str, float]:
    """The frames of one window as an array, predicted by the path that every other video takes."""
    protocol = dataclasses.replace(
        judge.protocol, frame_stride=1, target_fps=None, num_temporal_views=1, num_spatial_crops=1
    )
    frames = reader.frames_at(indices).pixels.permute(0, 2, 3, 1).numpy()
    one = Classifier(judge.model, dataclasses.replace(judge.record, protocol=protocol), "cpu").predict(frames)
    return dict(zip(one.labels, one.probs, strict=True))


@pytest.fixture(params=["vivit_ti16x2_fe", "vivit_ti16x2_joint"])
def either(request: pytest.FixtureRequest) -> Classifier:
    """A model of two stages, whose windows share what is computed of a frame, and one that sees whole clips."""
    torch.manual_seed(0)
    fields = {"tubelet_size": [2, 8, 8], "embed_dim": 16, "depth": 1, "num_heads": 2, "num_frames": 4}
    model = create_model(request.param, num_classes=8, image_size=[16, 16], **fields)
    nn.init.normal_(model.get_parameter("head.weight"))
    return Classifier(model, Record(model_name=request.param, model_config={}, protocol=PROTOCOL), "cpu")


@pytest.mark.parametrize("hop", [2, 4])
def test_windows_of_a_file_have_the_scores_they_get_cut_out(film: Path, either: Classifier, hop: int) -> None:
    judge = either
    plan = dataclasses.replace(PLAN, hop=hop)
    with VideoReader(film) as reader:
        segments = list(predict_windows(judge, reader, plan))
        samples = fixed_rate_indices(reader.timestamps, plan.seconds_per_sample, "on_screen").tolist()
        assert len(segments) >= 4
        for segment in segments:
            first = round(segment.start_seconds / plan.seconds_per_sample)
            expected = alone(judge, reader, samples[first : first + plan.num_frames])
            for label, prob in zip(segment.labels, segment.probs, strict=True):
                assert prob == pytest.approx(expected[label], abs=1e-5)
    assert len({segment.probs for segment in segments}) > 1


@pytest.mark.parametrize("fps", [10.0, None])
def test_the_whole_film_is_one_window_with_the_scores_of_all_its_frames_at_once(film: Path, fps: float | None) -> None:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    sizes: dict[str, Any] = {"image_size": [16, 16], "num_heads": 2, "hidden_dim": 16, "attention_window": [4]}
    model = create_model("vtn_vit_b16", num_classes=8, head_dim=None, backbone_fields=fields, **sizes).eval()
    judge = Classifier(model, Record(model_name="vtn_vit_b16", model_config={}, protocol=PROTOCOL), "cpu")
    with VideoReader(film) as reader:
        plan = plan_whole(model, PROTOCOL, reader.timestamps, sample_fps=fps, source_fps=reader.fps)
        assert plan.seconds_per_sample == pytest.approx(1 / fps if fps else PROTOCOL.frame_stride / reader.fps)  # type: ignore[operator]
        samples = fixed_rate_indices(reader.timestamps, plan.seconds_per_sample, "on_screen").tolist()
        (segment,) = predict_windows(judge, reader, plan)
        assert plan.num_frames == len(samples) > 20
        assert segment.start_seconds == 0
        assert segment.end_seconds == pytest.approx(reader.duration_seconds, abs=plan.seconds_per_sample)
        frames = reader.frames_at(samples).pixels
    geometry = view_geometry(*frames.shape[-2:], PROTOCOL)
    clip = crop_frames(resize_frames(frames, geometry), geometry)[1].transpose(0, 1)  # the centered one, C T H W
    with torch.inference_mode():
        expected = model(normalize(clip[None], PROTOCOL), torch.tensor([samples])).softmax(-1)[0].tolist()
    found = dict(zip(segment.labels, segment.probs, strict=True))
    assert [found[label] for label in PROTOCOL.labels["label"]] == pytest.approx(expected, abs=1e-5)


def test_a_film_whole_is_refused_where_its_pixels_would_be_kept() -> None:
    model = create_model("vivit_ti16x2_joint", depth=1)
    with pytest.raises(ConfigError, match="needs a per-frame stage, ViViTJoint has none; give a length"):
        plan_whole(model, PROTOCOL, np.arange(10) / 10, sample_fps=10.0)


def test_frames_pushed_in_chunks_of_any_size_have_the_segments_of_the_file(film: Path, either: Classifier) -> None:
    rng, stream = np.random.default_rng(1), StreamingClassifier(either, PLAN)
    with VideoReader(film) as reader:
        expected = list(predict_windows(either, reader, PLAN))
        pixels, seconds = reader.frames_at(range(len(reader.timestamps))).pixels, reader.timestamps.tolist()
    found, start = [], 0
    while start < len(pixels):
        stop = start + int(rng.integers(1, 9))
        found += stream.push(pixels[start:stop], seconds[start:stop])
        start = stop
    found += stream.close()
    assert [(s.start_seconds, s.end_seconds) for s in found] == [(s.start_seconds, s.end_seconds) for s in expected]
    for one, other in zip(found, expected, strict=True):
        probs = dict(zip(one.labels, one.probs, strict=True))
        assert probs == pytest.approx(dict(zip(other.labels, other.probs, strict=True)), abs=1e-5)


def test_progress_ends_at_the_end(film: Path, judge: Classifier) -> None:
    told: list[tuple[float, float]] = []
    with VideoReader(film) as reader:
        list(predict_windows(judge, reader, PLAN, on_progress=lambda done, total: told.append((done, total))))
        assert told[-1] == (reader.duration_seconds, reader.duration_seconds)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_file_that_breaks_in_the_middle_is_an_error_and_not_a_shorter_film(tmp_path: Path, judge: Classifier) -> None:
    film = write_film(tmp_path / "film.mp4", RATES["24"])
    content = bytearray(film.read_bytes())
    start = content.index(b"mdat")
    for i in range(start + 1500, min(start + 6000, len(content) - 2000), 3):
        content[i] ^= 0xFF
    film.write_bytes(bytes(content))
    with pytest.raises(VideoError, match=r"film\.mp4"), VideoReader(film) as reader:
        list(predict_windows(judge, reader, PLAN))


def test_frames_in_order_are_those_of_random_access(film: Path) -> None:
    with VideoReader(film) as reader:
        wanted = [0, 1, 2, 11, 12, 13, 30, 31, 57]
        found = list(reader.frames_in_order(wanted))
        assert [index for index, _ in found] == wanted
        expected = reader.frames_at(wanted).pixels
        assert torch.from_numpy(np.stack([pixels for _, pixels in found])).equal(expected)
        assert list(reader.frames_in_order([])) == []


def segment(start: float, end: float, **probs: float) -> Segment:
    ordered = sorted(probs.items(), key=lambda item: -item[1])
    return Segment(
        start_seconds=start, end_seconds=end, labels=tuple(k for k, _ in ordered), probs=tuple(v for _, v in ordered)
    )


def test_neighbors_with_the_same_label_become_one_with_their_mean_scores() -> None:
    merged = merge_neighbors(
        [
            segment(0.0, 2.0, a=0.75, b=0.25),
            segment(2.0, 4.0, a=0.5, c=0.5),
            segment(4.0, 6.0, b=1.0),
            segment(6.0, 8.0, a=1.0),
        ]
    )
    assert [(s.start_seconds, s.end_seconds, s.top1) for s in merged] == [(0, 4, "a"), (4, 6, "b"), (6, 8, "a")]
    assert dict(zip(merged[0].labels, merged[0].probs, strict=True)) == {"a": 0.625, "c": 0.25, "b": 0.125}


def test_the_scores_of_every_head_are_means_too() -> None:
    def of(start: float, noun: float) -> Segment:
        heads = {"noun": HeadScores(labels=("door", "tap"), probs=(noun, 1 - noun))}
        return dataclasses.replace(segment(start, start + 1, **{"door + open": noun}), heads=heads)

    (merged,) = merge_neighbors([of(0.0, 0.75), of(1.0, 0.5)])
    assert merged.heads == {"noun": HeadScores(labels=("door", "tap"), probs=(0.625, 0.375))}


def test_overlapping_windows_meet_half_way_between_their_middles() -> None:
    merged = merge_neighbors(
        [segment(0.0, 4.0, a=1.0), segment(1.0, 5.0, a=1.0), segment(2.0, 6.0, b=1.0), segment(3.0, 7.0, b=1.0)]
    )
    assert [(s.start_seconds, s.end_seconds, s.top1) for s in merged] == [(0, 3.5, "a"), (3.5, 7, "b")]
    assert merge_neighbors([]) == []


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    """Frames and features of a film twenty times as long: the Python and tensor objects alive stay as many."""
    judge = load(write_checkpoint(tmp_path / "best", PROTOCOL), "cpu")
    film = write_film(tmp_path / "long.mp4", np.arange(1200) * (TICKS // 24))
    alive: list[int] = []
    with VideoReader(film) as reader:
        for i, _ in enumerate(predict_windows(judge, reader, PLAN)):
            if i in (20, 200):
                gc.collect()
                alive.append(sum(o.numel() for o in gc.get_objects() if type(o) is torch.Tensor))
    assert alive[1] <= alive[0] * 1.05
