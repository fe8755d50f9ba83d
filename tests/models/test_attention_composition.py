"""Rollout of factorized, divided and joint attention is the product of whole matrices, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
import tiny_timesformer
import tiny_uniformerv2
import tiny_videomae
import torch
from torch import Tensor, nn

import tiny_vivit
from support import assert_one_line
from tubelet.errors import TubeletError
from tubelet.explain.attention_maps import gradient_attention, roll_out
from tubelet.explain.attention_state import AttentionState, Step
from tubelet.explain.target import Target
from tubelet.models import create_model
from tubelet.nn.attention_recorder import AttentionRecord, record_attention
from tubelet.nn.attention_steps import (
    EVERYWHERE,
    AttentionStep,
    clip_tokens,
    frame_positions,
    joint_step,
    space_step,
    time_step,
)

GRID = (2, 1, 3)
TARGET = Target(head="label", name="b", index=1, start=0, stop=5, multi_label=False)


def vtn(**options: Any) -> tuple[Any, Tensor]:
    fields = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    asked = {"backbone": "vit_tiny_patch16_224", **options}
    model = create_model(
        "vtn_deit_ti16", backbone_fields=fields, num_classes=5, num_frames=6, num_heads=2, image_size=(16, 24),
        hidden_dim=16, head_dim=16, depth=2, attention_window=(4,), **asked
    )  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval(), torch.randn(1, 3, 6, 16, 24)


def undescribed(attention_step: Any) -> Any:
    """A joint model that says something else of its attention: nothing, or that it reads two layers."""
    model = tiny_vivit.tiny("joint", global_pool="avg")
    model.attention_step = attention_step
    return model


def twice(module: str, call: int, grid: tuple[int, int, int]) -> AttentionStep:
    tokens = joint_step((grid[0] // 2, *grid[1:]), 0).keys
    assert tokens is not None
    return AttentionStep(kind="joint", queries=tokens.repeat(1, 2, 1), keys=tokens.repeat(1, 2, 1))


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


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["longformer", "full"])
def test_windows_over_frames_compose_with_attention_inside_them(encoder: str) -> None:
    """VTN: the class token of every frame, then a class token of the clip over the frames."""
    model, clip = vtn(encoder=encoder)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])  # type: ignore[operator]
    frames = [(t, EVERYWHERE, EVERYWHERE) for t in range(grid[0])]
    tokens = [*grid_tokens(grid), *frames, (EVERYWHERE,) * 3]
    total = torch.eye(len(tokens))
    for _, group in groupby(records, key=lambda record: record.module):
        whole = torch.zeros(len(tokens), len(tokens))
        for record in group:  # calls of one module: each has queries of its own
            whole += whole_matrix(record, tokens, record.probs[0].mean(1))
        untouched = whole.sum(1) == 0
        whole[untouched] = torch.eye(len(tokens))[untouched]
        total = (whole + torch.eye(len(tokens))) / 2 @ total
    expected = total[-1, : len(grid_tokens(grid))].view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)


@torch.no_grad()
def test_frames_whose_vector_is_the_mean_of_patches_are_not_read_from_their_class_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, clip = vtn(backbone="eva02_tiny_patch14_224")
    assert model.frame_pool == "avg"
    as_mean = roll_out(model, model, clip[0])
    monkeypatch.setattr(type(model), "frame_pool", "token")
    as_token = roll_out(model, model, clip[0])
    assert (as_mean - as_token).abs().max() > 1e-4
    assert as_mean.sum() > as_token.sum()  # a class token keeps a part of what comes from no pixel


@torch.no_grad()
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("fusion", ["sequential", "hierarchical_q"])
@pytest.mark.parametrize("wiring", tiny_uniformerv2.WIRINGS)
def test_queries_gather_from_each_layer_as_it_was_and_share_the_head_with_class_tokens(
    wiring: str, fusion: str, frozen: bool
) -> None:
    model, clip = tiny_uniformerv2.tiny(wiring, fusion=fusion, frozen=frozen, drop_path_rate=0.0), clips_of(wiring)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    frames = [(t, EVERYWHERE, EVERYWHERE) for t in range(grid[0])]
    tokens = [*grid_tokens(grid), *frames]
    total, layers = torch.eye(len(tokens)), dict[int, Tensor]()
    queries = torch.zeros(1 if fusion == "sequential" else model.config.depth - 1, len(tokens))
    for record in records:
        probs = record.probs[0].mean(1)  # G Q K
        block = int(record.module.split(".")[2])
        if record.module.startswith("trunk"):
            total = (whole_matrix(record, tokens, probs) + torch.eye(len(tokens))) / 2 @ total
            layers[block] = total
            continue
        assert record.keys is not None
        order = [tokens.index(tuple(key)) for key in record.keys[0].tolist()]
        there = probs.shape[1]  # of hierarchical queries one more with every block
        queries[:there] = (queries[:there] + probs[0] @ layers[model.layers[block]][order]) / 2
    share = 0.0 if frozen else float(model.pool.balance.sigmoid().mean())
    expected = (1 - share) * queries.mean(0) + share * total[-len(frames) :].mean(0)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected[: len(grid_tokens(grid))].view(grid))
    assert (layers[1] - layers[2]).abs().max() > 0.01  # so that the layer of the keys counts


def clips_of(wiring: str) -> Tensor:
    return tiny_uniformerv2.clips(1, 4 if wiring == "global" else 8)


def test_gradient_attention_of_queries_is_of_the_class_and_of_both_ways_to_the_head() -> None:
    model, clip = tiny_uniformerv2.tiny("global"), tiny_uniformerv2.clips(1)[0]
    other = Target(head="label", name="c", index=2, start=0, stop=5, multi_label=False)
    maps = [gradient_attention(model, model, clip, target) for target in (TARGET, other)]
    assert all((found >= 0).all() and found.max() > 0 for found in maps)
    assert (maps[0] / maps[0].sum() - maps[1] / maps[1].sum()).abs().max() > 1e-3
    with torch.no_grad():
        model.pool.balance.fill_(-20.0)  # the class tokens reach the head no more
    queries = gradient_attention(model, model, clip, TARGET)
    assert (queries / queries.sum() - maps[0] / maps[0].sum()).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (
            lambda: (tiny_uniformerv2.tiny("global", fusion="parallel"), tiny_uniformerv2.clips(1)[0]),
            "reads tokens of several layers",
        ),
        (lambda: (undescribed(None), tiny_vivit.clips(1)[0]), "does not say which tokens"),
        (lambda: (undescribed(twice), tiny_vivit.clips(1, 4)[0]), "reads tokens of several layers"),
    ],
    ids=["cross", "unknown", "two_layers"],
)
def test_attention_that_does_not_compose_is_refused_with_the_reason_in_one_line(make: Any, part: str) -> None:
    model, clip = make()
    for explain in (lambda: roll_out(model, model, clip), lambda: gradient_attention(model, model, clip, TARGET)):
        with pytest.raises(TubeletError) as caught:
            explain()
        assert_one_line(caught, part, "use occlusion")


@torch.no_grad()
def test_the_mean_of_joint_tokens_without_a_class_token_is_read() -> None:
    model, clip = tiny_videomae.tiny(), tiny_videomae.clip()[:1]
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    expected = rolled_by_hand(records, grid_tokens(grid)).mean(0).view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)


@torch.no_grad()
def test_a_learned_query_that_pools_reads_what_space_and_time_composed() -> None:
    small = {"embed_dim": 24, "depth": 2, "temporal_depth": 1, "num_heads": 4, "patch_size": 8, "soft_cap": 3.0}
    model = create_model("videoprism_b18", num_frames=4, image_size=(16, 24), num_classes=5, **small)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    clip = torch.randn(1, 3, 4, 16, 24)
    with record_attention(model.eval()) as records:
        model(clip)
    grid: Any = model.token_grid(clip.shape[2:])  # type: ignore[operator]
    tokens = [*grid_tokens(grid), (EVERYWHERE,) * 3]
    expected = rolled_by_hand(records, tokens)[-1, :-1].view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)


@torch.no_grad()
def test_frames_that_are_averaged_are_read_from_their_class_tokens() -> None:
    model, clip = tiny_timesformer.tiny("space"), tiny_timesformer.clips(1)
    with record_attention(model) as records:
        model(clip)
    grid = model.token_grid(clip.shape[2:])
    frames = [(t, EVERYWHERE, EVERYWHERE) for t in range(grid[0])]
    tokens = [*grid_tokens(grid), *frames]
    expected = rolled_by_hand(records, tokens)[-len(frames) :, : -len(frames)].mean(0).view(grid)
    torch.testing.assert_close(roll_out(model, model, clip[0]), expected)


@torch.no_grad()
def test_a_convolutional_backbone_has_a_course_over_time_alone() -> None:
    model = create_model(
        "vtn_r50", backbone="resnet18", num_classes=5, num_frames=6, num_heads=2, image_size=(32, 32), hidden_dim=16,
        head_dim=16, depth=2, attention_window=(4,)
    )  # fmt: skip
    for parameter in model.temporal_encoder.parameters():  # type: ignore[union-attr]
        nn.init.normal_(parameter, std=0.3)
    found = roll_out(model.eval(), model, torch.randn(3, 6, 32, 32))
    assert found.shape == (6, 1, 1)
    assert found.std() > 1e-4
    assert 0.3 < found.sum() < 1
