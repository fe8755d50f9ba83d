"""Windows over frames that come one by one have the scores of the same windows cut out and predicted alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support import MODEL, PROTOCOL, tiny_model
from tubelet.data.clips.fixed_rate import fixed_rate_indices
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import crop_frames, resize_frames, view_geometry
from tubelet.errors import ConfigError, DataError
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.window_stages import SharedFrames
from tubelet.inference.windows import WindowPlan, plan_windows
from tubelet.models import create_model
from tubelet.models.stages import model_inputs
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.model import VTN
from tubelet.types import Segment
from tubelet.weights.checkpoint.checkpoint import Record

TIMES = {
    "24": np.arange(50) / 24,
    "29.97": 3.5 + np.arange(61) * 1001 / 30000,
    "variable": np.cumsum(np.random.default_rng(3).uniform(0.01, 0.09, size=45)),
}
PLAN = WindowPlan(num_frames=4, hop=2, seconds_per_sample=0.08)


def classifier(model: nn.Module | None = None, **protocol: Any) -> Classifier:
    torch.manual_seed(0)
    if model is None:
        model, _ = tiny_model()
    record = Record(model_name=MODEL, model_config={}, protocol=dataclasses.replace(PROTOCOL, **protocol))
    return Classifier(model, record, "cpu")


def tiny_vtn() -> VTN:
    torch.manual_seed(0)
    tiny = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = VTN(
        VTNConfig(
            num_classes=8,
            image_size=(16, 16),
            backbone="vit_tiny_patch16_224",
            backbone_fields=tiny,
            depth=2,
            num_heads=2,
            hidden_dim=16,
            attention_window=(4,),
            head_dim=None,
        )
    )
    nn.init.normal_(model.get_parameter("temporal_encoder.pos_embed.table"))  # a wrong frame number must show
    return model.eval()


def joint_model() -> nn.Module:
    torch.manual_seed(0)
    options = {"tubelet_size": [2, 8, 8], "embed_dim": 16, "depth": 1, "num_heads": 2, "num_frames": 4}
    model = create_model("vivit_ti16x2_joint", num_classes=8, image_size=[16, 16], **options)
    nn.init.normal_(model.get_parameter("head.weight"))
    return model.eval()


MODELS = {"fe": lambda: tiny_model()[0], "vtn": tiny_vtn, "joint": joint_model}


def video(num_frames: int, size: tuple[int, int] = (24, 30)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (num_frames, 3, *size), dtype=torch.uint8, generator=generator)


def cut_out(
    judge: Classifier, frames: Tensor, timestamps: np.ndarray, plan: WindowPlan, numbers: Sequence[int] | None = None
) -> list[tuple[float, Tensor]]:
    """Start and probabilities of every window, each read and predicted by itself; ``numbers`` are those of frames that
    are not simply one after the other."""
    of_frames = torch.arange(len(frames)) if numbers is None else torch.tensor(numbers)
    samples = fixed_rate_indices(timestamps, plan.seconds_per_sample, "on_screen")
    geometry = view_geometry(frames.shape[2], frames.shape[3], dataclasses.replace(judge.protocol, num_spatial_crops=1))
    starts = list(range(0, len(samples) - plan.num_frames + 1, plan.hop))
    found = []
    for start in starts:
        window = frames[samples[start : start + plan.num_frames].tolist()]
        (clip,) = crop_frames(resize_frames(window, geometry), geometry)
        of_window = of_frames[samples[start : start + plan.num_frames].tolist()]
        with torch.inference_mode():
            pixels = normalize(clip.transpose(0, 1)[None], judge.protocol)
            logits = judge.model(*model_inputs(judge.model, pixels, (of_window - of_window.min())[None]))
        found.append((timestamps[0] + start * plan.seconds_per_sample, logits.softmax(-1)[0]))
    return found


def pushed(
    judge: Classifier, frames: Tensor, timestamps: np.ndarray, plan: WindowPlan, **options: Any
) -> list[Segment]:
    """All segments, frames pushed in chunks of random length."""
    rng, stream = np.random.default_rng(0), StreamingClassifier(judge, plan, **options)
    found, start = [], 0
    while start < len(frames):
        stop = start + int(rng.integers(1, 7))
        found += stream.push(frames[start:stop], timestamps[start:stop].tolist())
        start = stop
    return found + stream.close()


def probs_of(segment: Segment, judge: Classifier) -> Tensor:
    by_label = dict(zip(segment.labels, segment.probs, strict=True))
    return torch.tensor([by_label[label] for label in judge.labels])


@pytest.mark.parametrize("timestamps", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("hop", [2, 4, 6])
@pytest.mark.parametrize("frames_per_batch", [1, 7, 64])
def test_windows_have_the_scores_they_get_alone(
    timestamps: np.ndarray, kind: str, hop: int, frames_per_batch: int
) -> None:
    judge = classifier(MODELS[kind]())
    frames, plan = video(len(timestamps)), dataclasses.replace(PLAN, hop=hop)
    expected = cut_out(judge, frames, timestamps, plan)
    found = pushed(judge, frames, timestamps, plan, frames_per_batch=frames_per_batch)
    assert len(expected) >= 3
    assert len(found) in (len(expected), len(expected) + 1)  # and one that ends with the last sample
    for segment, (start, probs) in zip(found, expected, strict=False):
        assert segment.start_seconds == pytest.approx(start)
        assert segment.end_seconds == pytest.approx(start + plan.window_seconds)
        torch.testing.assert_close(probs_of(segment, judge), probs, atol=1e-5, rtol=0)
    assert len({segment.probs for segment in found}) > 1


@pytest.mark.parametrize("kind", MODELS)
def test_the_end_of_the_video_is_covered(kind: str) -> None:
    judge, timestamps = classifier(MODELS[kind]()), np.arange(22) * 0.08  # windows of 4 and hop 6: 0, 6, 12, 18 and...
    found = pushed(judge, video(21), timestamps[:21], dataclasses.replace(PLAN, hop=6))
    starts = [round(segment.start_seconds / 0.08) for segment in found]
    whole = 21 if kind != "fe" else 20  # a tubelet has two frames: an odd last one makes none
    assert starts == [0, 6, 12, whole - 4]


def test_a_window_is_given_as_soon_as_its_last_sample_is_known() -> None:
    stream = StreamingClassifier(classifier(), PLAN)
    frames = video(10)
    counts = [len(stream.push(frames[i : i + 1], [i * 0.08])) for i in range(10)]
    assert counts == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0]  # a sample is known when the next frame comes


@pytest.mark.parametrize("how", ["loop", "hold"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_source_shorter_than_a_window_is_one_segment(how: Any, kind: str) -> None:
    judge, frames = classifier(MODELS[kind](), short_video=how), video(3)
    (segment,) = pushed(judge, frames, np.arange(3) * 0.08, PLAN)
    rows = [0, 1, 2, 0] if how == "loop" else [0, 1, 2, 2]
    ((_, probs),) = cut_out(judge, frames[rows], np.arange(4) * 0.08, PLAN, numbers=rows)
    torch.testing.assert_close(probs_of(segment, judge), probs, atol=1e-5, rtol=0)
    assert segment.end_seconds == pytest.approx(3 * 0.08)


@pytest.mark.parametrize("how", ["loop", "hold"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("num_samples", [1, 3, 4, 7])
@pytest.mark.parametrize("frames_per_batch", [1, 4])
def test_a_source_of_a_fraction_of_its_window_has_the_scores_of_the_whole_clip(
    how: Any, kind: str, num_samples: int, frames_per_batch: int
) -> None:
    """Where rounds begin inside a tubelet too."""
    judge, frames = classifier(MODELS[kind](), short_video=how), video(num_samples)
    plan, times = dataclasses.replace(PLAN, num_frames=10), np.arange(10) * 0.08
    (segment,) = pushed(judge, frames, times[:num_samples], plan, frames_per_batch=frames_per_batch)
    rows = [i % num_samples if how == "loop" else min(i, num_samples - 1) for i in range(10)]
    ((_, probs),) = cut_out(judge, frames[rows], times, plan, numbers=rows)
    torch.testing.assert_close(probs_of(segment, judge), probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["fe", "vtn"])
@pytest.mark.parametrize("num_frames", [400, 800])
def test_of_a_window_as_long_as_a_film_only_features_are_kept(kind: str, num_frames: int) -> None:
    """At 5 frames per second an hour has 18,000 samples: 2.7 GB as pixels, 14 MB as features of ViT-Ti."""
    judge, frames = classifier(MODELS[kind]()), video(num_frames)
    plan = dataclasses.replace(PLAN, num_frames=600, hop=600)
    stream = StreamingClassifier(judge, plan, frames_per_batch=32)
    kept, segments = 0, []
    for i in range(num_frames):
        segments += stream.push(frames[i : i + 1], [i * 0.08])
        stage = stream._stage
        assert isinstance(stage, SharedFrames)
        kept = max(kept, len({id(sample) for sample in (*stage.pending, *stage.early)}))
    assert kept <= 32 if kind == "vtn" else kept <= 256 + 32
    assert len(segments + stream.close()) == (1 if num_frames < 600 else 2)


def test_a_short_source_is_refused_where_the_protocol_says_so() -> None:
    stream = StreamingClassifier(classifier(short_video="error"), PLAN)
    stream.push(video(2), [0.0, 0.1])
    with pytest.raises(DataError, match="the source has 3 samples where a window takes 4"):
        stream.close()


def test_a_source_without_frames_has_no_segments() -> None:
    assert StreamingClassifier(classifier(), PLAN).close() == []


def test_what_is_kept_does_not_grow() -> None:
    stream = StreamingClassifier(classifier(), PLAN)
    kept = []
    for i in range(200):
        stream.push(video(1), [i * 0.08])
        kept.append(sum(part.vectors.shape[1] for part in stream._stage.parts))  # type: ignore[union-attr]
    assert max(kept[100:]) <= max(kept[:20])


@pytest.mark.parametrize("hop", [1, 3])
def test_frames_are_made_only_where_a_sample_falls(hop: int) -> None:
    made: list[int] = []
    stream, frames = StreamingClassifier(classifier(), PLAN), video(80)

    def picture(i: int) -> Tensor:
        made.append(i)
        return frames[i]

    for i in range(80):
        stream.push_one(lambda i=i: picture(i), i / 100)  # type: ignore[misc]
    assert made == fixed_rate_indices(np.arange(80) / 100, 0.08, "on_screen")[: len(made)].tolist()


def test_frames_that_were_left_out_keep_their_numbers() -> None:
    """VTN's positions are those of the source, also where a slow model was not given every frame."""
    judge, frames, plan = classifier(tiny_vtn()), video(30), dataclasses.replace(PLAN, hop=4)
    given = [i for i in range(30) if i % 3]
    stream, found = StreamingClassifier(judge, plan), []
    for i in given:
        found += stream.push_one(lambda i=i: frames[i], i * 0.04, i)  # type: ignore[misc]
    expected = cut_out(judge, frames[given], np.array(given) * 0.04, plan, numbers=given)
    assert len(found) >= 3
    for segment, (_, probs) in zip(found, expected, strict=False):
        torch.testing.assert_close(probs_of(segment, judge), probs, atol=1e-5, rtol=0)


def test_wrong_frames_are_refused_in_one_line() -> None:
    stream = StreamingClassifier(classifier(), PLAN)
    with pytest.raises(DataError, match="2 frames came with 1 times"):
        stream.push(video(2), [0.0])
    with pytest.raises(DataError, match="in the order of their times"):
        stream.push(video(2), [1.0, 0.5])
    with pytest.raises(DataError, match="expected \\(channels, height, width\\) in RGB"):
        StreamingClassifier(classifier(), PLAN).push(video(2)[:, :1], [0.0, 1.0])
    stream.close()
    with pytest.raises(DataError, match="the stream is closed"):
        stream.push(video(1), [9.0])


class TestPlan:
    def test_by_default_a_window_is_the_clip_of_the_protocol(self) -> None:
        model, _ = tiny_model()
        plan = plan_windows(model, PROTOCOL, source_fps=25.0)  # 4 frames, every second one
        assert (plan.num_frames, plan.hop) == (4, 4)
        assert plan.seconds_per_sample == pytest.approx(0.08)
        timed = dataclasses.replace(PROTOCOL, frame_stride=None, target_fps=10.0)
        assert plan_windows(model, timed).seconds_per_sample == pytest.approx(0.1)

    def test_a_longer_window_spreads_its_frames_or_has_more_of_them(self) -> None:
        model, _ = tiny_model()
        spread = plan_windows(model, PROTOCOL, window_seconds=4.0, hop_seconds=1.0)
        assert (spread.num_frames, spread.hop, spread.seconds_per_sample) == (4, 2, 1.0)
        more = plan_windows(model, PROTOCOL, window_seconds=4.0, hop_seconds=1.0, sample_fps=8.0)
        assert (more.num_frames, more.hop, more.seconds_per_sample) == (32, 8, 0.125)

    @pytest.mark.parametrize(("hop", "samples"), [(0.01, 2), (0.3, 2), (0.31, 4), (0.5, 4), (7.0, 70)])
    def test_the_hop_is_rounded_to_whole_tubelets(self, hop: float, samples: int) -> None:
        model, _ = tiny_model()
        assert plan_windows(model, PROTOCOL, window_seconds=4.0, hop_seconds=hop, sample_fps=10.0).hop == samples

    def test_a_model_of_single_frames_hops_by_frames(self) -> None:
        assert plan_windows(tiny_vtn(), PROTOCOL, window_seconds=4.0, hop_seconds=0.1, sample_fps=10.0).hop == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window_seconds": -1.0}, "window must be positive, got -1"),
            ({"window_seconds": 1.0, "hop_seconds": 0.0}, "hop must be positive, got 0"),
            ({"window_seconds": float("nan")}, "window must be positive, got nan"),
            ({}, "the rate of the source is not known"),
            ({"window_seconds": 0.1, "sample_fps": 5.0}, "less than one tubelet of 2 frames"),
        ],
    )
    def test_what_cannot_be_is_refused(self, options: dict[str, float], message: str) -> None:
        model, _ = tiny_model()
        with pytest.raises(ConfigError, match=message):
            plan_windows(model, PROTOCOL, **options)
