"""Counted costs are those of the papers, by the way each paper counts."""

from __future__ import annotations

import pytest

from tubelet.evaluation.cost_table import CONVENTIONS, make_row, plan_rows
from tubelet.models import list_models
from tubelet.published import published_costs

# Counted over published multiply-adds, by what CONVENTIONS says of the family.
RATIOS = {
    "vivit": (0.99, 1.0),
    "vtn": (1.04, 1.045),
    "uniformerv2": (0.98, 1.02),
    "timesformer": (0.99, 1.005),
    "torchvision": (0.9999, 1.0001),
    "videomae": (0.999, 1.003),
}
QUICK = {
    *("vivit_b16x2_joint", "vivit_b16x2_fe", "vivit_b16x2_fsa", "vivit_b16x2_fdp", "vtn_vit_b16", "uniformerv2_b16"),
    *("timesformer_b16_divided", "torchvision/r3d_18", "torchvision/s3d", "torchvision/swin3d_t"),
    "videomae_b16",
}


@pytest.mark.parametrize("name", sorted(QUICK))
def test_counts_are_those_of_the_paper(name: str) -> None:
    rows = [make_row(*planned) for planned in plan_rows(name) if planned[0] == name]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    low, high = RATIOS[name.split("_")[0].split("/")[0]]
    assert ratios
    assert all(low <= ratio <= high for ratio in ratios), ratios


def test_every_model_has_a_row_and_every_published_cost_its_model() -> None:
    assert {name for name, _ in plan_rows()} == set(list_models())
    assert {cost.model for cost in published_costs()} <= set(list_models())
    assert len(set(published_costs())) == len(published_costs())
    counted = {cost.model.split("_")[0].split("/")[0] for cost in published_costs() if cost.gmacs is not None}
    assert counted == set(CONVENTIONS) == set(RATIOS)


def test_a_video_costs_its_views_and_an_unsaid_number_of_views_is_not_made_up() -> None:
    rows = [make_row(*planned) for planned in plan_rows("timesformer_b16_divided")]
    assert {row.views for row in rows} == {"1x3"}
    assert rows[0].gmacs_per_video == pytest.approx(3 * rows[0].gmacs_per_view)
    (alone,) = [make_row(*planned) for planned in plan_rows("vivit_ti16x2_avgpool")]
    assert (alone.published, alone.views, alone.gmacs_per_video, alone.ratio) == (None, None, None, None)
