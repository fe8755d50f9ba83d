"""The published results are whole, name models that exist, and agree with what these models count themselves."""

from __future__ import annotations

import re

import pytest
import torch

from tubelet.evaluation.cost import count_parameters
from tubelet.models import MODELS, create_model
from tubelet.published import PublishedResult, find_published, published_results

# Where the source's own figure does not fit its model: Model 2 of two temporal layers (100.7 M) against four.
NOT_AS_PUBLISHED = {("vivit_b16x2_fe", 100.7)}


def test_every_row_is_plausible_and_stands_once() -> None:
    rows = published_results()
    assert len(rows) > 100
    assert len(set(rows)) == len(rows)
    for row in rows:
        assert "" not in (row.title, row.source, row.dataset)
        assert row.model is None or row.model in MODELS, row
        assert 20 < row.top1 < 100, row
        assert row.top5 is None or row.top1 < row.top5 < 100, row
        assert row.views is None or re.fullmatch(r"\d+x[13]", row.views), row
        assert (row.head is not None) == (row.dataset == "epic_kitchens"), row


@pytest.mark.parametrize("model", sorted({row.model for row in published_results() if row.model and row.params_m}))
def test_parameters_are_those_of_the_model_of_that_name(model: str) -> None:
    with torch.device("meta"):
        counted = count_parameters(create_model(model)) / 1e6
    published = {row.params_m for row in find_published(model=model) if row.params_m}
    for params in published:
        assert params is not None
        fits = abs(counted - params) < max(0.6, 0.005 * params)
        assert fits != ((model, params) in NOT_AS_PUBLISHED), (counted, params)


def test_rows_are_found_by_model_and_dataset() -> None:
    rows = find_published(model="vivit_b16x2_joint", dataset="kinetics400")
    assert {row.dataset for row in rows} == {"kinetics400"}
    assert {row.model for row in rows} == {"vivit_b16x2_joint"}
    assert (79.9, "4x3") in {(row.top1, row.views) for row in rows}
    assert not find_published(model="vivit_b16x2_joint", dataset="nowhere")
    vtn = find_published(model="vtn_r50")
    assert len(vtn) == 1
    assert not find_published(model="vtn_r50", verified_only=True)


def test_an_unverified_figure_says_so_when_it_is_printed() -> None:
    (row,) = find_published(model="vtn_r50")
    assert row.accuracy_text == "71.2 / 90.0 (unverified)"
    known = PublishedResult(**{**vars(row), "verified": True, "top5": None})
    assert known.accuracy_text == "71.2"
