"""The four fusion strategies: what the paper's formulas imply whatever the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tubelet.models.uniformerv2.fusion import (
    HierarchicalKeyFusion,
    HierarchicalQueryFusion,
    ParallelFusion,
    SequentialFusion,
)
from tubelet.models.uniformerv2.global_block import GlobalUniBlock

GRID = (2, 3)
ALL = (SequentialFusion, ParallelFusion, HierarchicalKeyFusion, HierarchicalQueryFusion)


def layers(count: int) -> list[Tensor]:
    return [torch.randn(2, 4, 7, 12, dtype=torch.float64) for _ in range(count)]


def fusion(kind: Any, count: int, num_queries: int = 1) -> Any:
    """A strategy with random blocks and queries; what mixes their results stays as it starts."""
    model = kind([GlobalUniBlock(12, 3).double() for _ in range(count)], 12, num_queries).double().eval()
    for parameter in [*model.blocks.parameters(), model.query]:
        nn.init.normal_(parameter, std=0.4)
    return model


def with_weights_of(model: Any, other: Any) -> Any:
    """The same blocks, and queries as far as both have them."""
    model.blocks.load_state_dict(other.blocks.state_dict())
    with torch.no_grad():
        shared = min(len(model.query), len(other.query))
        model.query[:shared].copy_(other.query[:shared])
    return model


def test_with_one_block_all_strategies_agree() -> None:
    tokens, first = layers(1), fusion(SequentialFusion, 1)
    expected = first(tokens, GRID)
    for kind in ALL[1:]:
        torch.testing.assert_close(with_weights_of(fusion(kind, 1), first)(tokens, GRID), expected)


def test_with_more_blocks_no_two_strategies_agree() -> None:
    tokens, first = layers(3), fusion(SequentialFusion, 3)
    results = [with_weights_of(fusion(kind, 3), first)(tokens, GRID) for kind in ALL]
    for i, one in enumerate(results):
        assert all((one - other).abs().max() > 1e-3 for other in results[i + 1 :])


def test_sequential_fusion_passes_the_query_on() -> None:
    tokens, model = layers(2), fusion(SequentialFusion, 2)
    x = model.query[0].expand(2, -1, -1)
    for block, layer in zip(model.blocks, tokens, strict=True):
        x = block(x, block.keys(layer, GRID))
    torch.testing.assert_close(model(tokens, GRID), x[:, 0])


def test_parallel_fusion_starts_as_the_mean_of_independent_blocks() -> None:
    tokens, model = layers(3), fusion(ParallelFusion, 3)
    alone = [
        block(model.query[i].expand(2, -1, -1), block.keys(tokens[i], GRID))[:, 0]
        for i, block in enumerate(model.blocks)
    ]
    torch.testing.assert_close(model(tokens, GRID), torch.stack(alone).mean(0))


def test_hierarchical_kv_without_its_extra_key_is_the_last_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, model = layers(3), fusion(HierarchicalKeyFusion, 3)
    last = model.blocks[2]
    alone = last(model.query[2].expand(2, -1, -1), last.keys(tokens[2], GRID))[:, 0]
    assert (model(tokens, GRID) - alone).abs().max() > 1e-3
    forward = GlobalUniBlock.forward

    def without_extra(self: Any, query: Tensor, keys: Tensor, valid: Tensor | None = None) -> Tensor:
        counts = torch.arange(keys.shape[1]) >= keys.shape[1] - 28  # 4 frames of 7 tokens
        return forward(self, query, keys, counts.expand(len(keys), -1))

    monkeypatch.setattr(GlobalUniBlock, "forward", without_extra)
    torch.testing.assert_close(model(tokens, GRID), alone)


def test_the_first_token_of_hierarchical_q_is_sequential_fusion_and_every_query_counts() -> None:
    tokens, model = layers(3), fusion(HierarchicalQueryFusion, 3)
    sequential = with_weights_of(fusion(SequentialFusion, 3), model)
    seen: list[Tensor] = []
    model.blocks[2].register_forward_hook(lambda _, __, output: seen.append(output))
    fused = model(tokens, GRID)
    torch.testing.assert_close(seen[0][:, 0], sequential(tokens, GRID))
    torch.testing.assert_close(fused, seen[0].mean(1))
    fused.square().sum().backward()
    assert model.query.grad.flatten(1).any(dim=1).all()


@pytest.mark.parametrize("kind", ALL)
def test_equal_queries_are_as_one(kind: Any) -> None:
    tokens, one, three = layers(2), fusion(kind, 2), fusion(kind, 2, num_queries=3)
    three.load_state_dict({**one.state_dict(), "query": one.query.expand(-1, 3, -1)})
    expected = one(tokens, GRID)
    if kind is HierarchicalKeyFusion:  # three equal extra keys weigh more than one
        assert (three(tokens, GRID) - expected).abs().max() > 1e-6
    else:
        torch.testing.assert_close(three(tokens, GRID), expected)
