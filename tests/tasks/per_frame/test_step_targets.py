"""Targets of steps: exact at the times of frames, whatever the rate, and nothing labeled is lost."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.data.layouts.bouts.bout import Bout
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
