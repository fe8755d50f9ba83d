"""Index plans: always the right number of valid frames, evenly spread views, the same times at every frame rate."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tubelet.data.clips.frame_sampling import ClipPlan, random_clip, row_views, view_clips
from tubelet.data.clips.segments import segment
from tubelet.errors import DataError
from tubelet.protocol import Protocol


def at_rate(fps: float, count: int) -> np.ndarray:
    """Timestamps of ``count`` frames, float64 seconds."""
    return np.arange(count) / fps


def dense(num_frames: int, frame_stride: int = 1, **fields: Any) -> Protocol:
    return Protocol(num_frames=num_frames, frame_stride=frame_stride, **fields)


def timed(num_frames: int, target_fps: float, **fields: Any) -> Protocol:
    return Protocol(num_frames=num_frames, frame_stride=None, target_fps=target_fps, **fields)


def uniform(num_frames: int, **fields: Any) -> Protocol:
    return Protocol(num_frames=num_frames, sampling="uniform", **fields)


def sparse(num_frames: int, **fields: Any) -> Protocol:
    return Protocol(num_frames=num_frames, sampling="sparse", **fields)


@st.composite
def variable_times(draw: st.DrawFn) -> np.ndarray:
    """1 to 80 frames, 5 to 100 ms apart, that begin anywhere."""
    gaps = draw(st.lists(st.integers(5, 100), max_size=79))
    return draw(st.floats(0, 50)) + np.cumsum([0, *gaps]) / 1000


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a Protocol of any sampling."""
    sampling = draw(
        st.sampled_from(
            [
                {"frame_stride": draw(st.integers(1, 8))},
                {"frame_stride": None, "target_fps": draw(st.floats(1, 70))},
                {"sampling": "uniform"},
                {"sampling": "sparse"},
                {"sampling": "segment_start"},
                {
                    "sampling": "windows",
                    "num_segments": draw(st.integers(1, 4)),
                    "frame_stride": draw(st.integers(1, 8)),
                },
            ]
        )
    )
    return sampling | {
        "num_frames": draw(st.integers(1, 40 // sampling.get("num_segments", 1))) * sampling.get("num_segments", 1),
        "short_video": draw(st.sampled_from(["loop", "hold"])),
        "num_temporal_views": draw(st.integers(1, 6)),
    }


@given(times=variable_times(), choice=choices(), seed=st.integers(0, 99))
def test_every_plan_has_exactly_num_frames_valid_indices(times: np.ndarray, choice: dict[str, Any], seed: int) -> None:
    protocol = Protocol(**choice)
    views = view_clips(times, protocol)
    assert len(views) == protocol.num_temporal_views
    whole = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1)
    for plan in [random_clip(times, protocol, np.random.default_rng(seed)), *views]:
        assert len(plan.indices) == protocol.num_frames
        assert all(type(index) is int and 0 <= index < len(times) for index in plan.indices)
        assert 0 <= plan.seconds_covered <= whole + 1e-9
        if not plan.notes:  # windows may overlap
            windows = np.split(np.array(plan.indices), protocol.num_segments)
            assert all((np.diff(window) >= 0).all() for window in windows)
            assert [window[0] for window in windows] == sorted(window[0] for window in windows)


@given(times=variable_times(), choice=choices(), shift=st.integers(0, 1000), seed=st.integers(0, 99))
def test_plans_do_not_depend_on_when_the_segment_begins(
    times: np.ndarray, choice: dict[str, Any], shift: int, seed: int
) -> None:
    protocol = Protocol(**choice)
    times = np.round(times * 1024) / 1024  # which a shift of whole seconds leaves exact
    early, late = (
        [random_clip(t, protocol, np.random.default_rng(seed)), *view_clips(t, protocol)]
        for t in (times, times + shift)
    )
    assert [plan.indices for plan in early] == [plan.indices for plan in late]


@pytest.mark.parametrize(("count", "num_frames"), [(300, 16), (61, 8), (3, 16), (1, 8)])
def test_segment_starts_are_spread_from_the_first_frame_on_and_views_follow_them(count: int, num_frames: int) -> None:
    protocol = Protocol(num_frames=num_frames, sampling="segment_start", num_temporal_views=2)
    times = at_rate(25.0, count)
    (one,) = view_clips(times, protocol, 1)
    assert list(one.indices) == [i * count // num_frames for i in range(num_frames)]
    first, second = view_clips(times, protocol)
    assert first.indices == one.indices
    assert list(second.indices) == [(2 * i + 1) * count // (2 * num_frames) for i in range(num_frames)]


@given(choice=choices(), extra=st.integers(0, 60))
def test_views_differ_when_the_video_is_long_enough(choice: dict[str, Any], extra: int) -> None:
    protocol = Protocol(**choice)
    fps, views = 10.0, protocol.num_temporal_views
    if protocol.sampling in ("uniform", "segment_start"):
        count = protocol.num_frames * views + extra
    elif protocol.sampling == "sparse":
        count = protocol.num_frames * (views + 1) + 1 + extra
    elif protocol.sampling == "windows":
        assert protocol.frame_stride is not None
        count = protocol.num_frames * protocol.frame_stride + protocol.num_segments * views + extra
    elif protocol.frame_stride is not None:
        count = protocol.num_frames * protocol.frame_stride + views - 1 + extra
    else:
        assert protocol.target_fps is not None
        count = int(np.ceil(protocol.num_frames * fps / protocol.target_fps)) + 2 * views + extra
    plans = view_clips(at_rate(fps, count), protocol)
    assert len({plan.indices for plan in plans}) == views
    assert not any(plan.notes for plan in plans)


def test_windows_begin_with_their_segments_and_anywhere_in_them_in_training() -> None:
    protocol = Protocol(num_frames=8, sampling="windows", num_segments=2, frame_stride=3)
    (plan,) = view_clips(at_rate(25.0, 100), protocol, 1)
    assert plan.indices == (0, 4, 8, 11, 50, 54, 58, 61)  # 4 frames spread over 12
    later = view_clips(at_rate(25.0, 100), protocol, 2)[1]
    assert later.indices == tuple(index + 37 for index in plan.indices)
    rng = np.random.default_rng(0)
    drawn = np.array([random_clip(at_rate(25.0, 100), protocol, rng).indices for _ in range(800)])
    assert set(drawn[:, 0]) == set(range(38))
    assert set(drawn[:, 4]) == set(range(50, 88))
    (short,) = view_clips(at_rate(25.0, 5), protocol, 1)
    assert short.indices[:4] == short.indices[4:]
    assert short.notes == ("video has 5 frames, the clip takes windows of 12: last frame held",)
    with pytest.raises(DataError, match="takes windows of 12"):
        view_clips(at_rate(25.0, 5), dataclasses.replace(protocol, short_video="error"), 1)


@given(count=st.integers(1, 300), num_frames=st.integers(1, 40), stride=st.integers(1, 8), seed=st.integers(0, 99))
def test_random_dense_clip_keeps_its_stride_and_stays_in_range(
    count: int, num_frames: int, stride: int, seed: int
) -> None:
    assume(count > (num_frames - 1) * stride)
    plan = random_clip(at_rate(30, count), dense(num_frames, stride), np.random.default_rng(seed))
    assert np.all(np.diff(plan.indices) == stride)
    assert plan.indices[0] >= 0
    assert plan.indices[-1] < count
    assert plan.notes == ()


def test_random_dense_clips_start_at_every_frame_where_they_fit() -> None:
    rng = np.random.default_rng(0)
    starts = {random_clip(at_rate(30, 20), dense(4, 3), rng).indices[0] for _ in range(400)}
    assert starts == set(range(11))


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("first", [0, 7])
def test_snapped_clips_start_at_all_even_frames_of_the_file_where_they_fit(stride: int, first: int) -> None:
    rng, protocol, times = np.random.default_rng(0), dense(4, stride), at_rate(30, 20)
    starts = {random_clip(times, protocol, rng, first=first, snap=True).indices[0] + first for _ in range(400)}
    assert starts == {frame for frame in range(first, first + 20 - 3 * stride) if frame % 2 == 0}


def test_a_snapped_start_is_the_drawn_one_or_its_neighbor() -> None:
    for seed in range(50):
        drawn, snapped = (
            random_clip(at_rate(30, 30), dense(4, 4), np.random.default_rng(seed), snap=snap).indices[0]
            for snap in (False, True)
        )
        assert drawn - snapped == drawn % 2


@pytest.mark.parametrize(
    ("protocol", "count", "first"),
    [(dense(4, 3), 20, 0), (timed(4, 12.0), 20, 0), (uniform(4), 20, 0), (dense(12, 2), 5, 0), (dense(4, 2), 7, 3)],
)
def test_snapping_changes_nothing_where_it_could_not_help_or_not_fit(
    protocol: Protocol, count: int, first: int
) -> None:
    for seed in range(20):
        plans = [
            random_clip(at_rate(30, count), protocol, np.random.default_rng(seed), first=first, snap=snap)
            for snap in (False, True)
        ]
        assert plans[0] == plans[1]


def test_random_clip_depends_on_the_generator_alone() -> None:
    for protocol in (dense(8, 2), timed(8, 12.0), uniform(8)):
        plans = [random_clip(at_rate(30, 300), protocol, np.random.default_rng(seed)) for seed in (5, 5, 6)]
        assert plans[0] == plans[1] != plans[2]


def test_views_start_at_truncated_evenly_spread_offsets() -> None:
    """scenic: linspace(0, 250 - 32 * 2, 4) = 0, 62, 124, 186."""
    starts = [plan.indices[0] for plan in view_clips(at_rate(25, 250), dense(32, 2), num_views=4)]
    assert starts == [0, 62, 124, 186]
    odd = [plan.indices[0] for plan in view_clips(at_rate(25, 75), dense(32, 2), num_views=4)]
    assert odd == np.linspace(0, 11, 4).astype(int).tolist() == [0, 3, 7, 11]


@pytest.mark.parametrize(("count", "start"), [(250, 93), (251, 93), (64, 0), (63, 0)])
def test_one_view_is_the_middle_clip(count: int, start: int) -> None:
    (plan,) = view_clips(at_rate(25, count), dense(32, 2), num_views=1)
    assert plan.indices == tuple(range(start, start + 64, 2))
    assert plan.notes == ()


def test_one_view_by_seconds_is_the_middle_clip() -> None:
    (plan,) = view_clips(at_rate(30, 300), timed(20, 10.0), num_views=1)
    assert plan.indices == tuple(range(120, 180, 3))


def test_num_views_defaults_to_the_protocol() -> None:
    assert len(view_clips(at_rate(25, 100), dense(4, num_temporal_views=7))) == 7


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("source_fps", [24, 25, 30, 60])
def test_target_fps_takes_the_same_times_from_every_frame_rate(source_fps: int, views: int) -> None:
    """At most a frame of the source before, for ten seconds filmed at any rate."""
    plans = view_clips(at_rate(source_fps, 10 * source_fps), timed(16, 12.0), views)
    starts = [4.333333] if views == 1 else [0.0, 4.333333, 8.666667]
    for plan, start in zip(plans, starts, strict=True):
        error = np.array(plan.indices) / source_fps - (start + np.arange(16) / 12)
        assert -1 / source_fps < error.min() <= error.max() <= 1e-5


@given(times=variable_times(), num_frames=st.integers(1, 20), target_fps=st.floats(2, 60), seed=st.integers(0, 99))
def test_target_fps_takes_the_frame_on_screen(times: np.ndarray, num_frames: int, target_fps: float, seed: int) -> None:
    plan = random_clip(times, timed(num_frames, target_fps), np.random.default_rng(seed))
    assume(not plan.notes)
    seconds = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1)
    start = np.random.default_rng(seed).uniform(0, max(0.0, seconds - (num_frames - 1) / target_fps))
    wanted = start + np.arange(num_frames) / target_fps
    assert plan.indices == tuple(np.searchsorted(times - times[0], wanted + 1e-6, side="right") - 1)


@given(times=variable_times(), num_frames=st.integers(1, 20), target_fps=st.floats(2, 60), seed=st.integers(0, 99))
def test_target_fps_of_earlier_versions_takes_the_nearest_shown_frame(
    times: np.ndarray, num_frames: int, target_fps: float, seed: int
) -> None:
    protocol = timed(num_frames, target_fps, frame_at_time="nearest")
    plan = random_clip(times, protocol, np.random.default_rng(seed))
    last = times[-1] - times[0]
    assume(not plan.notes and (num_frames - 1) / target_fps <= last)
    start = np.random.default_rng(seed).uniform(0, last - (num_frames - 1) / target_fps)
    wanted = times[0] + start + np.arange(num_frames) / target_fps
    distance = np.abs(times[:, None] - wanted)
    assert (distance[list(plan.indices), range(num_frames)] <= distance.min(axis=0) + 1e-5).all()


def test_target_fps_of_the_source_takes_every_frame_once() -> None:
    for fps in (23.976, 25.0, 29.97, 59.94):
        (plan,) = view_clips(at_rate(fps, 40), timed(40, fps), num_views=1)
        assert plan.indices == tuple(range(40))
        assert plan.notes == ()


def test_uniform_training_takes_one_frame_of_each_segment() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([random_clip(at_rate(25, 100), uniform(10), rng).indices for _ in range(300)])
    assert (drawn // 10 == np.arange(10)).all()
    assert all(len(set(column % 10)) == 10 for column in drawn.T)


def test_uniform_evaluation_takes_the_middles_and_shifts_them() -> None:
    (middle,) = view_clips(at_rate(25, 60), uniform(10), num_views=1)
    assert middle.indices == tuple(range(3, 60, 6))
    views = view_clips(at_rate(25, 60), uniform(10), num_views=3)
    assert [plan.indices[0] for plan in views] == [1, 3, 5]
    assert views[1] == middle


def test_uniform_of_as_many_frames_takes_each_once() -> None:
    for count in (1, 7, 32, 33):
        assert view_clips(at_rate(25, count), uniform(count), num_views=1)[0].indices == tuple(range(count))


def test_sparse_evaluation_steps_into_segments_between_whole_frames() -> None:
    """UniFormerV2: segments of s = (N - 1) / T, clip k of K at round(i s) + int(s / (K + 1) (k + 1))."""
    clips = view_clips(at_rate(30, 30), sparse(4, num_temporal_views=2))  # s = 7.25, bounds 0 7 14 22 29, thirds 2.42
    assert [clip.indices for clip in clips] == [(2, 9, 16, 24), (4, 11, 18, 26)]
    (middle,) = view_clips(at_rate(30, 30), sparse(4), num_views=1)
    assert middle.indices == (3, 10, 17, 25)
    (halves,) = view_clips(at_rate(30, 11), sparse(4), num_views=1)  # s = 2.5: 2.5 and 7.5 round to 2 and 8
    assert halves.indices == (1, 3, 6, 9)


def test_sparse_training_takes_any_frame_of_each_segment_both_ends_included() -> None:
    drawn = np.array([random_clip(at_rate(30, 30), sparse(4), np.random.default_rng(i)).indices for i in range(500)])
    assert drawn.min(0).tolist() == [0, 7, 14, 22]
    assert drawn.max(0).tolist() == [7, 14, 22, 29]


def test_loop_repeats_from_first_frame() -> None:
    (plan,) = view_clips(at_rate(10, 5), dense(12), num_views=1)
    assert plan.indices == (0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1)
    assert plan.notes == ("video has 5 frames, the clip spans 12: looped",)
    assert plan.seconds_covered == pytest.approx(0.5)


def test_random_loop_starts_anywhere_and_wraps() -> None:
    rng = np.random.default_rng(0)
    plans = [random_clip(at_rate(10, 5), dense(12), rng) for _ in range(60)]
    assert {plan.indices[0] for plan in plans} == set(range(5))
    assert all((np.diff(plan.indices) % 5 == 1).all() for plan in plans)


def test_hold_repeats_the_last_frame() -> None:
    protocol = dense(4, 2, short_video="hold")
    for plan in (
        view_clips(at_rate(10, 5), protocol, 1)[0],
        random_clip(at_rate(10, 5), protocol, np.random.default_rng(0)),
    ):
        assert plan.indices == (0, 2, 4, 4)
        assert plan.notes == ("video has 5 frames, the clip spans 7: last frame held",)


def test_short_video_by_seconds_loops_or_holds() -> None:
    times = at_rate(10, 10)
    (looped,) = view_clips(times, timed(6, 4.0), num_views=1)
    assert looped.indices == (0, 2, 5, 7, 0, 2)
    assert looped.notes == ("video has 1.00 s, the clip spans 1.50 s: looped",)
    (held,) = view_clips(times, timed(6, 4.0, short_video="hold"), num_views=1)
    assert held.indices == (0, 2, 5, 7, 9, 9)


def test_uniform_of_a_short_video_repeats_in_order() -> None:
    (plan,) = view_clips(at_rate(10, 3), uniform(6), num_views=1)
    assert plan.indices == (0, 0, 1, 1, 2, 2)
    assert plan.notes == ("video has 3 frames, the clip takes 6: frames repeated",)


@pytest.mark.parametrize("protocol", [dense(12), timed(12, 10.0), uniform(12), sparse(12)])
def test_short_video_is_an_error_where_the_protocol_says_so(protocol: Protocol) -> None:
    strict = dataclasses.replace(protocol, short_video="error")
    with pytest.raises(DataError, match="short_video"):
        view_clips(at_rate(10, 5), strict)
    with pytest.raises(DataError, match="short_video"):
        random_clip(at_rate(10, 5), strict, np.random.default_rng(0))
    assert view_clips(at_rate(10, 12), strict)[0].notes == ()


@pytest.mark.parametrize("protocol", [dense(4), timed(4, 10.0), uniform(4), sparse(4)])
def test_single_frame_fills_the_clip(protocol: Protocol) -> None:
    for plan in (
        view_clips(at_rate(10, 1), protocol, 1)[0],
        random_clip(at_rate(10, 1), protocol, np.random.default_rng(0)),
    ):
        assert plan == ClipPlan(indices=(0, 0, 0, 0), seconds_covered=0.0, notes=plan.notes)
        assert len(plan.notes) == 1


def test_seconds_covered_reach_until_the_last_frame_leaves_the_screen() -> None:
    (plan,) = view_clips(np.array([0.0, 0.1, 0.5, 0.6, 1.0]), dense(2, 1), num_views=1)
    assert plan.indices == (1, 2)
    assert plan.seconds_covered == pytest.approx(0.5)  # frame 3 appears at 0.6
    assert view_clips(at_rate(25, 250), dense(32, 2), 1)[0].seconds_covered == pytest.approx(63 / 25)


def test_video_without_frames_is_an_error() -> None:
    for call in (
        lambda: view_clips(at_rate(25, 0), dense(4)),
        lambda: random_clip(at_rate(25, 0), dense(4), np.random.default_rng(0)),
    ):
        with pytest.raises(DataError, match="none"):
            call()


@given(times=variable_times(), start=st.floats(0, 60), length=st.floats(0.001, 10))
def test_segment_holds_exactly_the_frames_of_its_time(times: np.ndarray, start: float, length: float) -> None:
    inside = np.flatnonzero((times >= start) & (times < start + length))
    if len(inside):
        assert segment(times, start, start + length) == (inside[0], inside[-1] + 1)
    else:
        with pytest.raises(DataError, match="holds no frame"):
            segment(times, start, start + length)


FROZEN = np.concatenate([np.arange(10) / 25, 5.4 + np.arange(50) / 25])  # the picture stands for five seconds


@pytest.mark.parametrize(("start", "end"), [(2.0, 4.0), (4.0, 6.5), (0.1, 4.1), (2.0, None), (None, 3.0)])
def test_a_segment_by_time_shows_what_is_on_screen_in_it(start: float | None, end: float | None) -> None:
    whole = FROZEN[-1] + FROZEN[-1] / (len(FROZEN) - 1)  # the last frame lasts as long as frames do on average
    seconds = (whole if end is None else end) - (start or 0.0)
    (plan,) = row_views(FROZEN, start, end, timed(int(seconds / 0.25), 4.0, num_temporal_views=1))
    offset = (seconds - int(seconds / 0.25) * 0.25) / 2
    times = (start or 0.0) + offset + np.arange(int(seconds / 0.25)) / 4
    assert plan.indices == tuple(np.searchsorted(FROZEN, times + 1e-6, side="right") - 1)
    assert plan.notes == ()


def test_a_clip_of_a_frozen_segment_covers_the_segment() -> None:
    (plan,) = row_views(FROZEN, 2.0, 4.0, timed(8, 4.0, num_temporal_views=1))
    assert (set(plan.indices), plan.seconds_covered) == ({9}, 2.0)


@pytest.mark.parametrize("protocol", [dense(2, 2, num_temporal_views=1), uniform(2, num_temporal_views=1)])
def test_sampling_that_counts_frames_takes_those_that_appear_or_the_one_on_screen(protocol: Protocol) -> None:
    assert row_views(FROZEN, 5.0, 5.5, protocol)[0].indices == (10, 12) if protocol.sampling == "dense" else (10, 11)
    assert set(row_views(FROZEN, 2.0, 4.0, protocol)[0].indices) == {9}
    with pytest.raises(DataError, match="holds no frame"):
        row_views(FROZEN, 2.0, 4.0, dataclasses.replace(protocol, frame_at_time="nearest"))


def test_a_segment_after_the_end_is_refused_by_either_rule() -> None:
    for rule in ("on_screen", "nearest"):
        with pytest.raises(DataError, match="holds no frame"):
            row_views(FROZEN, 7.5, 9.0, timed(4, 4.0, frame_at_time=rule))


def test_neighboring_segments_share_no_frame() -> None:
    times = at_rate(30, 300)
    assert [segment(times, float(t), float(t + 1)) for t in (6, 7, 8)] == [(180, 210), (210, 240), (240, 270)]


def test_open_sides_of_a_segment_reach_the_ends() -> None:
    times = at_rate(10, 50)
    assert segment(times) == (0, 50)
    assert segment(times, 2.0) == (20, 50)
    assert segment(times, None, 2.0) == (0, 20)


@pytest.mark.parametrize(("start", "end"), [(3.0, 2.0), (2.0, 2.0), (5.0, 6.0), (0.01, 0.02), (float("nan"), 1.0)])
def test_empty_segment_is_one_clear_error(start: float, end: float) -> None:
    with pytest.raises(DataError, match=r"holds no frame.*check its start and end") as caught:
        segment(at_rate(10, 50), start, end)
    assert "\n" not in str(caught.value)
