"""Targets of steps: exact at the times of frames, whatever the rate, and nothing labeled is lost."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from support import touch
from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.errors import DataError
from tubelet.tasks.per_frame.targets import FilmClock, seen_classes, spans_by_label, step_targets

TIMES = np.array([0.0, 0.04, 0.08, 0.20, 0.24, 0.40, 0.44, 0.48])  # variable rate
NAMES = ("groom", "rear")


def clock(step: int = 1) -> FilmClock:
    return FilmClock(timestamps=TIMES, duration_seconds=0.52, first_frames=np.arange(0, len(TIMES), step))


def bout(start: float, stop: float, label: str = "groom", unit: str = "seconds") -> Bout:
    return Bout(label=label, start=start, stop=stop, unit=unit)  # type: ignore[arg-type]


def codes(*bouts: Bout, step: int = 1, one: bool = False, names: tuple[str, ...] = NAMES) -> list[int]:
    time = clock(step)
    return step_targets(spans_by_label(bouts, time), names, time.edges, one=one).tolist()


def test_a_bout_covers_the_frames_on_screen_from_its_start_to_its_stop() -> None:
    assert codes(bout(0.08, 0.24)) == [0, 0, 1, 1, 0, 0, 0, 0]
    assert codes(bout(0.10, 0.30)) == [0, 0, 1, 1, 0, 0, 0, 0]  # frames 2 and 4 are on screen then
    assert codes(bout(2, 4, unit="frames")) == [0, 0, 1, 1, 0, 0, 0, 0]
    assert codes(bout(0.40, 9.0)) == [0, 0, 0, 0, 0, 1, 1, 1]


def test_steps_are_not_taken_to_be_evenly_spaced() -> None:
    """By n / fps the bout would begin at frame 3 of 8 in 0.52 s, which is shown at 0.195 s."""
    found = clock().span(bout(0.24, 0.40))
    assert found == (0.24, 0.40)


def test_a_point_and_a_bout_shorter_than_a_step_mark_the_step_they_lie_in() -> None:
    assert codes(bout(0.21, 0.21, "rear")) == [0, 0, 0, 2, 0, 0, 0, 0]
    assert codes(bout(0.04, 0.08), step=4) == [1, 0]


def test_a_step_has_a_label_that_covers_half_of_it() -> None:
    assert codes(bout(0.0, 0.08), step=2) == [1, 0, 0, 0]
    assert codes(bout(0.0, 0.20), step=4) == [1, 0]  # 0.20 of 0.24 s
    assert codes(bout(0.20, 0.40), step=4) == [0, 1]


def test_behaviors_at_once_are_bits_and_exclusive_ones_are_classes() -> None:
    both = (bout(0.0, 0.08), bout(0.04, 0.20, "rear"))
    assert codes(*both) == [1, 3, 2, 0, 0, 0, 0, 0]
    assert codes(*both, one=True, names=("background", *NAMES))[:4] == [1, 1, 2, 0]
    seen = seen_classes(np.array([1, 3, 0, -1]), 2, one=False)
    assert seen.tolist() == [[True, False], [True, True], [False, False], [False, False]]


def test_ignored_stretches_are_not_labeled_and_background_is_nothing() -> None:
    found = codes(bout(0.0, 0.20), bout(0.08, 0.24, "ignore"), bout(0.24, 0.40, "background"))
    assert found == [1, 1, -1, -1, 0, 0, 0, 0]


def test_bouts_of_two_subjects_that_touch_are_one() -> None:
    spans = spans_by_label([bout(0.0, 0.20), bout(0.08, 0.40), bout(0.44, 0.48)], clock())
    assert spans == {"groom": [(0.0, 0.40), (0.44, 0.48)]}


def test_a_bout_behind_the_end_and_an_unknown_label_are_refused() -> None:
    with pytest.raises(DataError, match=r"'groom' starts at 0.6 seconds, behind the film's end \(0.520 s, 8 frames\)"):
        codes(bout(0.6, 0.7))
    with pytest.raises(DataError, match="'sleep' is not among the classes groom, rear"):
        codes(bout(0.0, 0.1, "sleep"))


NTSC = np.arange(600) * 1001 / 30000


@pytest.mark.parametrize("digits", [2, 3, 4, 6, 9])
def test_times_rounded_when_they_were_written_mean_the_frame_that_they_were_of(digits: int, tmp_path: Path) -> None:
    """Frame 1 of 30000/1001 per second is shown at 0.03337 s, and a file that says 0.033 means it."""
    touch(tmp_path, "a.mp4")
    times = np.append(NTSC, 600 * 1001 / 30000)
    rows = [f"a.mp4,{times[n]:.{digits}f},{times[n + 1]:.{digits}f},groom,{n}" for n in range(600)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,start,stop,label,subject", *rows]))
    (film,) = read_bouts(tmp_path / "labels.csv").films
    clock = FilmClock(timestamps=NTSC, duration_seconds=float(times[-1]), first_frames=np.arange(600))
    assert [clock.span(b) for b in film.bouts] == list(itertools.pairwise(times.tolist()))


@pytest.mark.parametrize("fps", [25, 30, 50, 120, 240])
def test_exact_times_stay_exact_however_few_digits_they_need(fps: int) -> None:
    times = np.arange(fps + 1) / fps
    clock = FilmClock(timestamps=times[:-1], duration_seconds=1.0, first_frames=np.arange(fps))
    for rounding in (0.5, 0.05, 0.0005, 0.0):
        bouts = [bout(float(a), float(b)) for a, b in itertools.pairwise(times)]
        spans = [clock.span(dataclasses.replace(b, rounding=rounding)) for b in bouts]
        assert spans == [(b.start, b.stop) for b in bouts]
    middle = dataclasses.replace(bout(0.5 / fps, 1.5 / fps), rounding=0.5)
    assert clock.span(middle) == (0.0, times[1])  # no frame begins near its times
