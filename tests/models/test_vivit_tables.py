"""Parameters and multiply-adds of the published models, on the meta device: nothing is computed.

The numbers are those of the official code (google-research/scenic, commit 4a38d475); the paper rounds them.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model

CLIP = (3, 32, 224, 224)

PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    ("vivit_b16x2_joint", {}, 88_954_000),
    ("vivit_b16x2_fe", {}, 115_062_928),  # the paper's 100.7 M fit two temporal blocks, its GFLOPs fit four
    ("vivit_b16x2_fe", {"temporal_depth": 2}, 100_887_184),
    ("vivit_b16x2_fe", {"temporal_depth": 1}, 93_799_312),
    ("vivit_b16x2_avgpool", {}, 86_696_080),
    ("vivit_b16x2_fsa", {}, 117_319_312),
    ("vivit_b16x2_fdp", {}, 88_952_464),
    ("vivit_l16x2_fe", {"temporal_depth": 24}, 606_827_920),  # Kinetics-400
    ("vivit_l16x2_fe", {"temporal_depth": 24, "num_classes": 600}, 607_032_920),  # Kinetics-600
    ("vivit_l16x2_fe", {"num_classes": 397}, 354_900_365),  # Epic Kitchens: 300 nouns and 97 verbs
    ("vivit_l16x2_fe", {"num_classes": 174, "image_size": (256, 256)}, 354_733_230),  # Something-Something v2
    ("vivit_ti16x2_joint", {}, 6_313_552),
    ("vivit_s16x2_joint", {}, 23_243_536),
    ("vivit_l16x2_joint", {}, 307_508_624),
    ("vivit_h16x2_joint", {}, 636_177_040),
]

GMACS = {
    "vivit_b16x2_joint": 451.52,
    "vivit_b16x2_fe": 283.34,
    "vivit_b16x2_avgpool": 282.86,
    "vivit_b16x2_fsa": 371.09,
    "vivit_b16x2_fdp": 276.18,
}

# Element-wise work is included at half weight, which is why these are higher: by more in narrower models.
PAPER_GFLOPS = [
    ("vivit_ti16x2_joint", 224, 63.8, 0.05),
    ("vivit_s16x2_joint", 224, 161.0, 0.02),
    ("vivit_b16x2_joint", 224, 455.2, 0.01),
    ("vivit_b16x2_fe", 224, 284.4, 0.01),
    ("vivit_b16x2_avgpool", 224, 283.9, 0.01),
    ("vivit_b16x2_fsa", 224, 372.3, 0.01),
    ("vivit_b16x2_fdp", 224, 277.1, 0.01),
    ("vivit_l16x2_joint", 224, 1446, 0.01),
    ("vivit_l16x2_joint", 288, 2919, 0.01),
    ("vivit_l16x2_joint", 320, 3992, 0.01),
    ("vivit_h16x2_joint", 224, 2799.8, 0.01),
]


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(("name", "options", "expected"), PARAMETERS)
def test_parameters_are_those_of_the_official_code(name: str, options: dict[str, Any], expected: int) -> None:
    assert count_parameters(on_meta(name, **options)) == expected


@pytest.mark.parametrize("name", GMACS)
def test_multiply_adds_are_those_of_the_official_code(name: str) -> None:
    assert count_macs(on_meta(name), CLIP) / 1e9 == pytest.approx(GMACS[name], rel=1e-3)


@pytest.mark.parametrize(("name", "side", "gflops", "tolerance"), PAPER_GFLOPS)
def test_multiply_adds_are_a_little_below_the_papers_gflops(
    name: str, side: int, gflops: float, tolerance: float
) -> None:
    macs = count_macs(on_meta(name, image_size=(side, side)), (3, 32, side, side))
    assert gflops * (1 - tolerance) < macs / 1e9 < gflops


def spatial_stage_macs(num_frames: int) -> int:
    """The average pool is the spatial stage of Model 2 and one head."""
    return count_macs(on_meta("vivit_b16x2_avgpool", depth=1), (3, num_frames, 224, 224)) - 768 * 400


def temporal_stage_macs(num_frames: int) -> int:
    return count_macs(on_meta("vivit_b16x2_fe", depth=1), (3, num_frames, 224, 224)) - spatial_stage_macs(num_frames)


def test_spatial_stage_of_model_2_is_exactly_proportional_to_frames() -> None:
    for times in (2, 3, 8):
        assert spatial_stage_macs(times * 8) == times * spatial_stage_macs(8)


def test_temporal_stage_of_model_2_is_quadratic_in_its_scores_and_sums_only() -> None:
    def quadratic(num_frames: int) -> int:
        tokens = num_frames // 2 + 1  # one per time index, and the class token
        return 4 * 2 * tokens**2 * 768  # blocks x (scores, weighted sum) x pairs x width

    linear = [temporal_stage_macs(n) - quadratic(n) for n in (8, 16, 24, 32)]
    assert len({b - a for a, b in itertools.pairwise(linear)}) == 1


def test_model_2_is_linear_in_frames_where_model_1_is_not() -> None:
    def growth(kind: str) -> float:
        model = on_meta(f"vivit_b16x2_{kind}")
        return count_macs(model, (3, 128, 224, 224)) / count_macs(model, (3, 32, 224, 224))

    assert growth("fe") == pytest.approx(4, rel=1e-3)
    assert growth("joint") > 8
