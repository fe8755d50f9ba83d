"""Rollout of factorized, divided and joint attention is the product of whole matrices, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny_timesformer
import torch
from torch import Tensor

import tiny_vivit
from tubelet.explain.attention_maps import gradient_attention, roll_out
from tubelet.explain.attention_state import AttentionState, Step
from tubelet.explain.target import Target
from tubelet.nn.attention_recorder import AttentionRecord, record_attention
from tubelet.nn.attention_steps import EVERYWHERE, clip_tokens, frame_positions, joint_step, space_step, time_step

GRID = (2, 1, 3)
TARGET = Target(head="label", name="b", index=1, start=0, stop=5, multi_label=False)


def whole_matrix(record: AttentionRecord, tokens: list[tuple[int, ...]], probs: Tensor) -> Tensor:
    """N N: what every token of the model gathers from every other one in a step."""
    assert record.queries is not None
    assert record.keys is not None
    matrix = torch.zeros(len(tokens), len(tokens), dtype=probs.dtype)
    for group, queries in enumerate(record.queries.tolist()):
        for i, query in enumerate(queries):
            for j, key in enumerate(record.keys[group].tolist()):
                matrix[tokens.index(tuple(query)), tokens.index(tuple(key))] += probs[group, i, j]
    return matrix


def grid_tokens(grid: tuple[int, int, int]) -> list[tuple[int, ...]]:
    return [(t, h, w) for t in range(grid[0]) for h in range(grid[1]) for w in range(grid[2])]


def rolled_by_hand(
    records: list[AttentionRecord], tokens: list[tuple[int, ...]], *, parallel: int = 1, copies: int = 1
) -> Tensor:
    """Abnar and Zuidema's product. ``parallel`` steps share a residual; a class token has ``copies`` in space."""
    total = torch.eye(len(tokens))
    for start in range(0, len(records), parallel):
        part = records[start : start + parallel]
        mean = sum(whole_matrix(r, tokens, r.probs[0].mean(1)) for r in part) / parallel
        assert isinstance(mean, Tensor)
        if copies > 1 and part[0].kind == "space":
            mean[-1] /= copies
        untouched = mean.sum(1) == 0  # a class token in attention over time
        mean[untouched] = torch.eye(len(tokens))[untouched]
        total = (mean + torch.eye(len(tokens))) / 2 @ total
    return total


@torch.no_grad()
@pytest.mark.parametrize(("kind", "parallel"), [("fsa", 1), ("fdp", 2)])
def test_factorized_attention_composes_to_the_product_of_whole_matrices(kind: str, parallel: int) -> None:
    model, clip = tiny_vivit.tiny(kind), tiny_vivit.clips(1)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    expected = rolled_by_hand(records, grid_tokens(grid), parallel=parallel).mean(0).view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)
    assert expected.std() > 1e-4  # not the same everywhere


@torch.no_grad()
def test_divided_attention_averages_the_copies_of_the_class_token() -> None:
    model, clip = tiny_timesformer.tiny("divided"), tiny_timesformer.clips(1)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    tokens = [*grid_tokens(grid), (EVERYWHERE,) * 3]
    total = rolled_by_hand(records, tokens, copies=grid[0])
    torch.testing.assert_close(total.sum(1), torch.ones(len(tokens)))
    torch.testing.assert_close(roll_out(model, model, clip[0]), total[-1, :-1].view(grid))


@torch.no_grad()
def test_a_frame_is_what_its_class_token_gathered_and_time_weighs_frames() -> None:
    """Model 2: space by frames, then time; both stages have class tokens."""
    model, clip = tiny_vivit.tiny("fe"), tiny_vivit.clips(1)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    frames = [(t, EVERYWHERE, EVERYWHERE) for t in range(grid[0])]
    tokens = [*grid_tokens(grid), *frames, (EVERYWHERE,) * 3]
    expected = rolled_by_hand(records, tokens)[-1, : len(grid_tokens(grid))].view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)


def random_steps(kind: str) -> list[Step]:
    torch.manual_seed(3)
    made: dict[str, list[Any]] = {
        "joint": [joint_step(GRID, 1)],
        "space": [space_step(GRID, 1)],
        "time": [time_step(GRID)],
        "dot_product": [time_step(GRID), space_step(GRID, 0)],
    }
    steps = []
    for step in made.get(kind, []):
        weights = torch.rand(len(step.queries), step.queries.shape[1], step.keys.shape[1]).softmax(-1)
        steps.append(Step(kind=step.kind, weights=weights, queries=step.queries, keys=step.keys))
    keys = frame_positions(GRID, 1).flatten(0, 1)[None]
    if kind == "cross":
        weights = torch.rand(1, 2, keys.shape[1]).softmax(-1)
        steps.append(Step(kind="cross", weights=weights, queries=clip_tokens(1, 2), keys=keys))
    if kind == "window":
        frames = torch.tensor([[[t, EVERYWHERE, EVERYWHERE] for t in range(GRID[0])]])
        both = torch.cat([clip_tokens(1, 1), frames], dim=1)
        for queries, name in ((both[:, :1], "pool"), (both[:, 1:], "window")):
            weights = torch.rand(1, queries.shape[1], both.shape[1]).softmax(-1)
            steps.append(Step(kind=name, weights=weights, queries=queries, keys=both))  # type: ignore[arg-type]
    return steps


@pytest.mark.parametrize("kind", ["joint", "space", "time", "dot_product", "cross", "window"])
def test_rows_sum_to_one_behind_every_kind_of_step(kind: str) -> None:
    state = AttentionState(GRID, "rollout")
    for _ in range(3):
        state.apply(random_steps(kind))
        torch.testing.assert_close(state.rows.sum(1), torch.ones(len(state.rows)))
    assert (state.rows[:6, :6] - torch.eye(6)).abs().max() > 0.1 or kind in ("cross", "window")
    assert state.readout().shape == GRID


def test_calls_of_one_module_read_the_rows_before_it() -> None:
    """Time and space heads of Model 4 see the same tokens: the order of the two calls does not matter."""
    steps = random_steps("dot_product")
    states = [AttentionState(GRID, "rollout"), AttentionState(GRID, "rollout"), AttentionState(GRID, "rollout")]
    states[0].apply(steps)
    states[1].apply(steps[::-1])
    for step in steps:
        states[2].apply([step])
    torch.testing.assert_close(states[0].rows, states[1].rows)
    assert (states[0].rows - states[2].rows).abs().max() > 0.01


@pytest.mark.parametrize(
    "make",
    [lambda: tiny_vivit.tiny("joint"), lambda: tiny_vivit.tiny("fe")],
    ids=["joint", "fe"],
)
def test_gradient_attention_is_another_map_for_another_class(make: Callable[[], Any]) -> None:
    model, clip = make(), tiny_vivit.clips(1)
    other = Target(head="label", name="c", index=2, start=0, stop=5, multi_label=False)
    maps = [gradient_attention(model, model, clip[0], target) for target in (TARGET, other)]
    assert all((found >= 0).all() and found.max() > 0 for found in maps)
    assert (maps[0] / maps[0].sum() - maps[1] / maps[1].sum()).abs().max() > 1e-3
    assert roll_out(model, model, clip[0]).equal(roll_out(model, model, clip[0]))


def test_gradient_attention_of_joint_attention_is_chefers_product() -> None:
    model, clip = tiny_vivit.tiny("joint"), tiny_vivit.clips(1)
    with record_attention(model) as records:
        logit = model(clip)[0, 1]
    slopes = torch.autograd.grad(logit, [record.probs for record in records])
    total = torch.eye(25)
    for record, slope in zip(records, slopes, strict=True):
        matrix = (record.probs * slope).clamp(min=0)[0, 0].mean(0).detach()
        total = total + matrix @ total
    expected = total[0, 1:].view(model.token_grid(clip.shape[2:]))
    torch.testing.assert_close(gradient_attention(model, model, clip[0], TARGET), expected)
