"""What must hold for each ViViT model, whatever its weights."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_vivit import KINDS, TWO_STAGE_KINDS, clips, tiny
from tubelet.errors import ConfigError, TubeletError
from tubelet.types import FrameFeatures


@pytest.mark.parametrize("kind", KINDS)
def test_clip_in_logits_out(kind: str) -> None:
    assert tiny(kind)(clips(3)).shape == (3, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_videos_of_a_batch_do_not_touch_each_other(kind: str) -> None:
    model, batch = tiny(kind).double(), clips(3).double()
    together = model(batch)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], model(batch[i : i + 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_model_computes_with_its_own_weights(kind: str) -> None:
    model, clip = tiny(kind), clips(1)
    twin, logits = copy.deepcopy(model), model(clip)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(clip), logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer", [{}, {"tubelet_size": (1, 4, 4), "num_sampled_frames": 3}])
def test_gradients_reach_every_parameter(kind: str, tokenizer: dict[str, Any]) -> None:
    model = tiny(kind, representation_size=7, **tokenizer).train()
    model(clips(2)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_runs_and_stays_near(kind: str) -> None:
    model, clip = tiny(kind), clips(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(clip)
    exact = model(clip)
    assert low.dtype == torch.bfloat16
    assert 0 < (low.float() - exact).abs().max() < 0.05 * exact.abs().max()


# ---- other grids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 8, 16), (8, 16, 8), (2, 4, 20)])
def test_another_grid_resizes_the_position_tables_and_says_so_once(
    kind: str, size: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    model, clip = tiny(kind), clips(1, *size)
    with caplog.at_level(logging.INFO, logger="tubelet"):
        first, second = model(clip), model(clip)
        model(clips(1))
    assert torch.equal(first, second)
    assert first.isfinite().all()
    messages = [r.getMessage() for r in caplog.records]
    assert messages
    assert len(set(messages)) == len(messages)
    assert all("resized to" in m for m in messages)


@pytest.mark.parametrize("kind", KINDS)
def test_own_grid_uses_the_tables_as_they_are(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tubelet"):
        tiny(kind)(clips(1))
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_cut_is_refused_with_both_grids_named(kind: str) -> None:
    with pytest.raises(TubeletError, match=r"3\.5x2x3 .* 4x2x3"):
        tiny(kind)(clips(1, num_frames=7))


# ---- the two stages of Model 2 and of the average pool


@pytest.mark.parametrize("kind", TWO_STAGE_KINDS)
@pytest.mark.parametrize("pool", ["token", "avg", "max"])
def test_forward_is_the_two_stages_one_after_the_other(kind: str, pool: str) -> None:
    model, clip = tiny(kind, global_pool=pool), clips(2)
    features = model.encode_frames(clip)
    assert features.vectors.shape == (2, 4, 24)
    assert torch.equal(model.encode_time(features), model(clip))


@pytest.mark.parametrize("kind", TWO_STAGE_KINDS)
def test_a_tubelet_changes_the_vector_of_its_time_index_only(kind: str) -> None:
    model, clip = tiny(kind).double(), clips(2).double()
    changed = clip.clone()
    changed[1, :, 4:6, :4, :4] += 1  # time index 2 of the second video
    before, after = model.encode_frames(clip).vectors, model.encode_frames(changed).vectors
    differs = ~torch.isclose(before, after, rtol=1e-9, atol=1e-9).all(-1)
    assert differs.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("kind", TWO_STAGE_KINDS)
def test_frames_may_be_encoded_in_chunks(kind: str) -> None:
    model, clip = tiny(kind).double(), clips(1, num_frames=12).double()
    chunks = [model.encode_frames(chunk).vectors for chunk in clip.split(4, dim=2)]
    torch.testing.assert_close(model.encode_time(FrameFeatures(vectors=torch.cat(chunks, dim=1))), model(clip))


@pytest.mark.parametrize("kind", TWO_STAGE_KINDS)
@pytest.mark.parametrize("pool", ["token", "first", "avg", "max", "sum"])
def test_a_padded_short_video_gives_the_logits_it_gives_alone(kind: str, pool: str) -> None:
    model = tiny(kind, global_pool=pool).double()
    vectors = torch.randn(3, 4, 24, dtype=torch.float64)
    lengths = (4, 3, 1)
    valid = torch.arange(4) < torch.tensor(lengths)[:, None]
    together = model.encode_time(FrameFeatures(vectors=vectors, valid=valid))
    for i, length in enumerate(lengths):
        alone = model.encode_time(FrameFeatures(vectors=vectors[i : i + 1, :length]))
        torch.testing.assert_close(together[i : i + 1], alone)


def shuffled_in_time(clip: Tensor) -> Tensor:
    tubelets = clip.unflatten(2, (4, 2))  # B C n_t t H W
    return tubelets[:, :, [2, 0, 3, 1]].flatten(2, 3)


def test_average_pool_is_blind_to_the_order_of_tubelets() -> None:
    model, clip = tiny("avgpool").double(), clips(2).double()
    torch.testing.assert_close(model(shuffled_in_time(clip)), model(clip))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "avgpool"])
def test_every_other_model_sees_the_order_of_tubelets(kind: str) -> None:
    model, clip = tiny(kind), clips(2)
    positions = {"fe": "temporal_encoder.pos_embed.table", "joint": "encoder.pos_embed.table"}
    nn.init.normal_(model.get_parameter(positions.get(kind, "pos_embed.table")))  # they start small
    assert (model(shuffled_in_time(clip)) - model(clip)).abs().max() > 1e-2


# ---- randomness in training


@pytest.mark.parametrize("kind", KINDS)
def test_drop_path_grows_from_zero_to_the_rate_in_the_last_block(kind: str) -> None:
    model = tiny(kind, depth=3, drop_path_rate=0.4)
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    assert len(stacks) == (2 if kind == "fe" else 1)  # Model 2 runs through the schedule in each of its encoders
    for blocks in stacks:
        rates = [{m.drop_prob for m in block.modules() if hasattr(m, "drop_prob")} for block in blocks]
        expected = [0.4 * i / (len(blocks) - 1) for i in range(len(blocks))]
        assert [rate for (rate,) in rates] == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_and_stochastic_depth_act_in_training_only(kind: str) -> None:
    clip = clips(8)
    for rate in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
        model = tiny(kind, **{rate: 0.5})
        plain = tiny(kind)
        plain.load_state_dict(model.state_dict())
        assert torch.equal(model(clip), plain(clip))
        model.train()
        assert not torch.equal(model(clip), model(clip)), rate


@pytest.mark.parametrize("kind", TWO_STAGE_KINDS)
def test_a_video_keeps_or_loses_a_branch_at_all_its_time_indices_together(kind: str) -> None:
    model = tiny(kind, drop_path_rate=0.5).train()
    outputs: list[Tensor] = []
    last = model.get_submodule("spatial_encoder.blocks.1.drop_path1")
    last.register_forward_hook(lambda module, args, output: outputs.append(output))
    model(clips(32))
    kept = outputs[0].flatten(2).any(-1)  # B n_t
    assert kept.shape == (32, 4)
    assert torch.equal(kept.all(1), kept.any(1))
    assert 0 < kept.all(1).sum() < 32


# ---- initial values and what a config refuses


@pytest.mark.parametrize("kind", KINDS)
def test_initial_values_are_the_originals(kind: str) -> None:
    model = tiny(kind, embed_dim=96)
    limits = {"attn": math.sqrt(6 / (96 + 96)), "mlp": math.sqrt(6 / (96 + 2 * 96))}  # Xavier uniform
    seen = set()
    for name, parameter in model.named_parameters():
        part = "attn" if ".attn" in name else "mlp" if ".mlp." in name else name.rsplit(".", 1)[-1]
        if part in limits and name.endswith("weight"):
            for matrix in parameter.chunk(3) if "qkv" in name else [parameter]:
                assert 0.98 * limits[part] < matrix.abs().max().item() <= limits[part], name
        elif part == "mlp":
            assert 0 < parameter.abs().max().item() < 1e-5, name
        elif part == "table":
            assert 0.015 < parameter.std().item() < 0.025, name
        elif part in ("attn", "cls_token", "bias"):
            assert not parameter.any(), name
        seen.add(part)
    assert {"attn", "mlp", "table", "bias"} <= seen
    assert ("cls_token" in seen) == (kind in ("joint", "fe", "avgpool"))


def test_model_4_refuses_an_odd_number_of_heads() -> None:
    with pytest.raises(ConfigError, match="num_heads must be even, got 3"):
        tiny("fdp", num_heads=3)


@pytest.mark.parametrize("kind", ["fsa", "fdp"])
@pytest.mark.parametrize("pool", ["token", "first"])
def test_models_3_and_4_refuse_a_class_token(kind: str, pool: str) -> None:
    with pytest.raises(ConfigError, match="use avg, max or sum"):
        tiny(kind, global_pool=pool)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal_depth": 0}, "temporal_depth must be positive, got 0"),
        ({"temporal_num_heads": 5}, "not divisible by temporal_num_heads 5"),
        ({"num_frames": 7}, "t=2 does not divide 7"),
        ({"image_size": (8, 10)}, "w=4 does not divide 10"),
        ({"tubelet_size": (0, 4, 4)}, "t=0 does not divide 8"),
        ({"num_sampled_frames": 4}, r"set tubelet_size to \(1, h, w\)"),
        ({"num_heads": 0}, "num_heads must be positive, got 0"),
        ({"depth": -1}, "depth must be positive, got -1"),
        ({"num_heads": 5}, "embed_dim 24 is not divisible by num_heads 5"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny("fe", **options)
