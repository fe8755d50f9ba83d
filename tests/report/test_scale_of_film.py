"""What a scale of colors says of the clips that it is of, and a curve of time."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.report.relevance.pictures import broken
from tubelet.report.relevance.scale import ALONE, Scale


@pytest.mark.parametrize(
    ("over", "is_alone"),
    [(ALONE, True), (f"{ALONE} (no training clips at hand)", True), ("4 training clips of walk alone in run", False)],
)
def test_a_class_whose_name_says_alone_keeps_the_scale_of_its_training_clips(over: str, is_alone: bool) -> None:
    assert Scale(value=1.0, over=over).is_alone == is_alone


def test_no_line_is_drawn_from_the_end_of_a_clip_to_its_begin_again() -> None:
    seconds, curve = broken(np.array([0.0, 0.5, 1.0, 0.0, 0.5]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_equal(seconds, [0.0, 0.5, 1.0, np.nan, 0.0, 0.5])
    np.testing.assert_equal(curve, [1.0, 2.0, 3.0, np.nan, 4.0, 5.0])
    np.testing.assert_equal(broken(np.array([0.0, np.nan, 0.2]), np.zeros(3))[0], [0.0, np.nan, 0.2])
