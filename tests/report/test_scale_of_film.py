"""What a scale of colors says of the clips that it is of."""

from __future__ import annotations

import pytest

from tubelet.report.relevance.scale import ALONE, Scale


@pytest.mark.parametrize(
    ("over", "is_alone"),
    [(ALONE, True), (f"{ALONE} (no training clips at hand)", True), ("4 training clips of walk alone in run", False)],
)
def test_a_class_whose_name_says_alone_keeps_the_scale_of_its_training_clips(over: str, is_alone: bool) -> None:
    assert Scale(value=1.0, over=over).is_alone == is_alone
