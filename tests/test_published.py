"""The published results are whole, name models that exist, and agree with what these models count themselves."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from tubelet.evaluation.cost import count_parameters
from tubelet.models import MODELS, create_model
from tubelet.published import PublishedResult, find_published, published_results
from tubelet.published_weights import ALLOW_COMMERCIAL, DATA_LICENSES, UNVERIFIED, PublishedWeights, published_weights
from tubelet.weights.convert.sources import SOURCES

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


# Results of a README or model zoo that links to no file of the model.
WITHOUT_A_FILE = {
    "VideoMAE-L 320",
    "VideoMAE-H 320",
    "VideoMAE-B 800 epochs, repeated samples",
    "VideoMAE-L",  # on Something-Something
    "VideoPrism-B frozen",
    "VideoPrism-L frozen",
}


def test_every_published_file_has_a_model_a_converter_and_three_licenses() -> None:
    rows = published_weights()
    assert len(set(rows)) == len(rows) > 80
    known = ALLOW_COMMERCIAL | {"cc-by-nc-4.0", UNVERIFIED}
    for row in rows:
        assert row.model in MODELS, row
        assert row.converter in SOURCES, row
        assert {row.code_license, row.weights_license} <= known, row
        assert row.data, row
        assert row.path is None or re.fullmatch(r"[\w-]+/[\w.-]+", row.path), row
        assert (row.result is None) == (row.dataset is None), row  # an accuracy for each classifier


def test_every_result_of_a_model_zoo_has_its_file_or_is_said_to_have_none() -> None:
    filed = {row.result for row in published_weights()}
    for row in published_results():
        if "zoo" in row.source.lower() or "README at" in row.source:
            assert row in filed or row.title in WITHOUT_A_FILE, row


def test_only_files_whose_three_licenses_allow_it_are_for_commercial_use() -> None:
    free = PublishedWeights(
        model="vivit_b16x2_fe",
        title="free",
        dataset=None,
        start=None,
        frames=None,
        converter="scenic",
        path=None,
        code_license="apache-2.0",
        weights_license="apache-2.0",
        data=(),
    )
    assert not free.allows_commercial_use  # what it was trained on is not stated
    assert not replace(free, data=("ImageNet-21k",)).allows_commercial_use
    assert not replace(free, data=("EPIC-Kitchens-100",)).allows_commercial_use
    with_data = replace(free, data=("own footage",))
    assert not with_data.allows_commercial_use
    DATA_LICENSES["own footage"] = "cc-by-4.0"
    try:
        assert with_data.allows_commercial_use
        assert not replace(with_data, weights_license="cc-by-nc-4.0").allows_commercial_use
        assert not replace(with_data, code_license=UNVERIFIED).allows_commercial_use
    finally:
        del DATA_LICENSES["own footage"]
