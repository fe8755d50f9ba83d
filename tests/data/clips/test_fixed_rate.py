"""Sampling at a fixed rate: the frame on screen, the same for a known video and for a stream of frames."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.data.clips.fixed_rate import FixedRateSampler, fixed_rate_indices
from tubelet.data.clips.frame_sampling import view_clips
from tubelet.data.video.frame_times import FrameRule
from tubelet.protocol import Protocol

RATES = {
    "24": np.arange(97) / 24,
    "29.97": np.arange(120) * 1001 / 30000,
    "60": np.arange(240) / 60,
    "variable": np.cumsum(np.random.default_rng(3).uniform(0.005, 0.2, size=60)),
    "one frame": np.array([7.0]),
    "far origin": 5000 + np.arange(50) / 25,
}


def streamed(timestamps: np.ndarray, step: float, rule: FrameRule) -> list[int]:
    sampler: FixedRateSampler[int] = FixedRateSampler(step, rule)
    found = [index for i, t in enumerate(timestamps) for index in sampler.push(float(t), i)]
    found += sampler.close()
    assert sampler.num_samples == len(found)
    return found


@pytest.mark.parametrize("rule", ["on_screen", "nearest"])
@pytest.mark.parametrize("timestamps", RATES.values(), ids=RATES)
@pytest.mark.parametrize("step", [1 / 120, 1 / 24, 0.1, 1 / 5, 0.37, 2.0])
def test_frame_by_frame_gives_the_frames_of_the_whole_video(
    timestamps: np.ndarray, step: float, rule: FrameRule
) -> None:
    assert streamed(timestamps, step, rule) == fixed_rate_indices(timestamps, step, rule).tolist()


@pytest.mark.parametrize("timestamps", RATES.values(), ids=RATES)
@pytest.mark.parametrize("step", [1 / 24, 0.1, 0.37])
def test_every_point_has_the_frame_on_screen(timestamps: np.ndarray, step: float) -> None:
    times = timestamps - timestamps[0]
    for point, index in enumerate(fixed_rate_indices(timestamps, step, "on_screen")):
        assert index == np.flatnonzero(times <= point * step + 1e-6)[-1]


@pytest.mark.parametrize("timestamps", RATES.values(), ids=RATES)
@pytest.mark.parametrize("step", [1 / 24, 0.1, 0.37])
def test_with_the_rule_of_earlier_versions_every_point_has_the_frame_nearest_in_time(
    timestamps: np.ndarray, step: float
) -> None:
    times = timestamps - timestamps[0]
    for point, index in enumerate(fixed_rate_indices(timestamps, step, "nearest")):
        distance = abs(times - point * step)
        assert distance[index] <= distance.min() + 3e-6


@pytest.mark.parametrize("timestamps", [RATES["24"], RATES["29.97"], RATES["60"], RATES["far origin"]])
@pytest.mark.parametrize("fps", [5.0, 10.0, 12.0])
def test_the_first_clip_is_that_of_the_sampling_by_seconds(timestamps: np.ndarray, fps: float) -> None:
    protocol = Protocol(num_frames=8, frame_stride=None, target_fps=fps, num_temporal_views=2)
    first, _ = view_clips(timestamps, protocol)
    assert fixed_rate_indices(timestamps, 1 / fps, "on_screen")[:8].tolist() == list(first.indices)


def test_frames_a_stride_apart_are_hit_exactly() -> None:
    for timestamps, fps in ((RATES["24"], 24), (RATES["29.97"], 30000 / 1001), (RATES["60"], 60)):
        assert fixed_rate_indices(timestamps, 2 / fps, "on_screen").tolist() == list(range(0, len(timestamps), 2))


def test_a_point_is_known_as_soon_as_a_later_frame_shows_it() -> None:
    sampler: FixedRateSampler[str] = FixedRateSampler(1.0, "on_screen")
    assert list(sampler.push(10.0, "a")) == []
    assert list(sampler.push(10.4, "b")) == ["a"]
    assert list(sampler.push(10.9, "c")) == []
    assert list(sampler.push(11.3, "d")) == ["c"]
    assert list(sampler.push(14.0, "e")) == ["d", "d"]
    assert list(sampler.close()) == ["e"]


@pytest.mark.parametrize("later", [1.0, 0.5])
def test_times_that_do_not_ascend_are_refused(later: float) -> None:
    sampler: FixedRateSampler[int] = FixedRateSampler(0.1, "on_screen")
    list(sampler.push(1.0, 0))
    with pytest.raises(ValueError, match="in the order of their times"):
        list(sampler.push(later, 1))


def test_without_frames_there_are_no_samples() -> None:
    assert list(FixedRateSampler[int](0.1, "on_screen").close()) == []
