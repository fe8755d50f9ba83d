"""Parameters and multiply-adds of the published models, on the meta device, and how the cost grows with tokens.

The numbers are those of the official code (OpenGVLab/UniFormerV2, commit 722a4344); what the paper prints as FLOPs are
multiply-adds.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.models.uniformerv2.global_block import GlobalUniBlock

# name, fields, frames, side, parameters, GMACs
PUBLISHED: list[tuple[str, dict[str, Any], int, int, int, float]] = [
    ("uniformerv2_b16", {}, 8, 224, 114_552_208, 148.1),
    ("uniformerv2_l14", {}, 8, 224, 354_099_600, 665.6),
    ("uniformerv2_l14", {}, 32, 224, 354_099_600, 2662.4),
    ("uniformerv2_l14_336", {}, 8, 336, 354_427_280, 1567.0),
    ("uniformerv2_l14_336", {}, 64, 336, 354_427_280, 12535.6),
    ("uniformerv2_b16_ssv2", {}, 16, 224, 162_992_814, 187.2),
    ("uniformerv2_b16_ssv2", {}, 32, 224, 162_992_814, 374.4),
    ("uniformerv2_l14_ssv2", {}, 16, 224, 573_949_966, 858.2),
    ("uniformerv2_l14_ssv2", {}, 32, 224, 573_949_966, 1716.2),
    # Ablation of the paper: eight global blocks and double local branches, without temporal downsampling.
    ("uniformerv2_b16_ssv2", {"temporal_downsample": False}, 8, 224, 161_813_166, 185.4),
]


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(("name", "options", "frames", "side", "parameters", "gmacs"), PUBLISHED)
def test_cost_is_that_of_the_official_code(
    name: str, options: dict[str, Any], frames: int, side: int, parameters: int, gmacs: float
) -> None:
    model = on_meta(name, **options)
    assert count_parameters(model) == parameters
    assert count_macs(model, (3, frames, side, side)) / 1e9 == pytest.approx(gmacs, rel=1e-3)


def global_block_macs(num_frames: int, grid: tuple[int, int]) -> int:
    """One global block over the tokens of so many frames."""
    with torch.device("meta"):
        block = GlobalUniBlock(768, 12)
        tokens, query = torch.empty(1, num_frames, 1 + grid[0] * grid[1], 768), torch.empty(1, 1, 768)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        block(query, block.keys(tokens, grid))
    return counter.get_total_flops() // 2


def test_a_global_block_is_linear_in_the_number_of_tokens() -> None:
    per_frame = global_block_macs(9, (14, 14)) - global_block_macs(8, (14, 14))
    constant = global_block_macs(8, (14, 14)) - 8 * per_frame
    for num_frames in (16, 64, 256):
        assert global_block_macs(num_frames, (14, 14)) == constant + num_frames * per_frame
    per_row = global_block_macs(8, (15, 14)) - global_block_macs(8, (14, 14))
    assert global_block_macs(8, (56, 14)) == global_block_macs(8, (14, 14)) + 42 * per_row


def test_a_two_stage_model_is_exactly_proportional_to_frames_but_for_its_queries() -> None:
    model = on_meta("uniformerv2_b16", depth=4)
    cost = [count_macs(model, (3, frames, 224, 224)) for frames in (8, 16, 24)]
    assert cost[2] - cost[1] == cost[1] - cost[0]
