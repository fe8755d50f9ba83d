"""The divided block against a plain restatement of it, and what its stochastic depth drops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tubelet.models.timesformer.divided import DividedBlock

B, S, T, D = 2, 6, 4, 16


def block(**options: Any) -> DividedBlock:
    torch.manual_seed(0)
    made = DividedBlock(D, num_heads=2, mlp_ratio=2.0, **options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made.double().eval()


def restated(made: DividedBlock, x: Tensor) -> Tensor:
    """Place by place and frame by frame, in loops."""
    cls, z = x[:, 0].clone(), x[:, 1:].unflatten(1, (S, T)).clone()
    over_time = torch.zeros_like(z)
    for s in range(S):
        over_time[:, s] = made.temporal_fc(made.temporal_attn(made.temporal_norm1(z[:, s])))
    z = z + over_time
    updates = []
    for t in range(T):
        tokens = torch.cat([cls[:, None], z[:, :, t]], dim=1)  # B 1+S D: the class token as it entered
        update = made.attn(made.norm1(tokens))
        z[:, :, t] = z[:, :, t] + update[:, 1:]
        updates.append(update[:, 0])
    cls = cls + torch.stack(updates).mean(0)
    x = torch.cat([cls[:, None], z.flatten(1, 2)], dim=1)
    return x + made.mlp(made.norm2(x))


def test_it_is_attention_over_time_at_a_place_then_over_space_in_a_frame() -> None:
    made, x = block(), torch.randn(B, 1 + S * T, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made(x, T), restated(made, x))


def test_its_input_is_left_as_it_was() -> None:
    made, x = block(), torch.randn(B, 1 + S * T, D, dtype=torch.float64)
    kept = x.clone()
    with torch.inference_mode():
        made(x, T)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    ("part", "expected"),
    [("temporal_fc", (B * S, T, D)), ("attn", (B * T, 1 + S, D)), ("mlp", (B, 1 + S * T, D))],
)
def test_stochastic_depth_drops_a_place_of_a_video_a_frame_of_it_or_the_video(
    part: str, expected: tuple[int, ...]
) -> None:
    """What drops together is a row of the tensor that drop path sees."""
    made = block(drop_path=0.5).train()
    seen: list[tuple[int, ...]] = []
    made.drop_path.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
    torch.manual_seed(0)
    made(torch.randn(B, 1 + S * T, D, dtype=torch.float64), T)
    assert len(seen) == 3
    assert expected in seen


def test_behind_a_dropped_attention_over_time_the_last_layer_still_adds_its_bias() -> None:
    """``temporal_fc`` stands behind drop path, as in the original."""
    made = block(drop_path=0.5).train()
    outputs: list[Tensor] = []
    made.temporal_fc.register_forward_hook(lambda _, __, output: outputs.append(output))
    torch.manual_seed(1)
    made(torch.randn(B, 1 + S * T, D, dtype=torch.float64), T)
    dropped = (outputs[0] == made.temporal_fc.bias).flatten(1).all(1)
    assert 0 < int(dropped.sum()) < B * S
