"""What must hold for UniFormerV2 whatever its weights, and right after its start."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from timm.layers import DropPath, resample_abs_pos_embed
from tiny_uniformerv2 import FUSIONS, WIRINGS, clips, randomize, tiny
from torch import Tensor

from tubelet.errors import ConfigError, TubeletError
from tubelet.models import create_model, list_models


@pytest.mark.parametrize("name", list_models("uniformerv2_"))
def test_every_name_builds_and_takes_a_clip(name: str) -> None:
    patch = 14 if "14" in name else 16
    small = create_model(name, depth=1, global_layers=1, image_size=(patch, 2 * patch), embed_dim=64, num_heads=1)
    classes = 174 if name.endswith("_ssv2") else 400
    assert small.eval()(torch.randn(1, 3, 3, patch, 2 * patch)).shape == (1, classes)


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_videos_of_a_batch_do_not_touch_each_other(wiring: str, fusion: str) -> None:
    model, batch = tiny(wiring, fusion=fusion).double(), clips(3).double()
    together = model(batch)
    assert together.shape == (3, 5)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], model(batch[i : i + 1]))


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_every_parameter(wiring: str, fusion: str) -> None:
    model = tiny(wiring, fusion=fusion, num_queries=2).train()
    model(clips(4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("wiring", WIRINGS)
def test_bfloat16_autocast_runs_and_stays_near(wiring: str) -> None:
    model, clip = tiny(wiring), clips(2)
    with torch.inference_mode():
        exact = model(clip)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(clip)
    assert low.dtype == torch.bfloat16
    assert 0 < (low.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("wiring", WIRINGS)
def test_logits_are_the_same_with_and_without_gradients(wiring: str) -> None:
    model, clip = tiny(wiring).double(), clips(2).double()
    with torch.no_grad():
        plain = model(clip)
    torch.testing.assert_close(model(clip), plain)


# ---- clips other than those it was made for; the original fails on them, in part silently


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("num_frames", [1, 2, 8])
def test_another_frame_count_gives_one_row_per_video(wiring: str, num_frames: int) -> None:
    model, clip = tiny(wiring), clips(2, num_frames)
    logits = model(clip)
    made_for_it = tiny(wiring, num_frames=num_frames)
    made_for_it.load_state_dict(model.state_dict())
    assert logits.shape == (2, 5)
    assert torch.equal(logits, made_for_it(clip))


def test_an_odd_frame_count_with_downsampling_is_a_clip_that_ends_in_zeros() -> None:
    model, clip = tiny("local").double(), clips(2, 7).double()
    padded = torch.cat([clip, torch.zeros_like(clip[:, :, :1])], dim=2)
    torch.testing.assert_close(model(clip), model(padded))


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("position", ["class_and_patches", "patches", "relative"])
def test_height_and_width_are_not_mixed_up_on_an_oblong_grid(wiring: str, position: str) -> None:
    """A mirrored model sees in the mirrored clip what the model sees in the clip."""
    wide = tiny(wiring, trunk={"position": position}).double()
    tall = tiny(wiring, trunk={"position": position}, image_size=(12, 8)).double()
    state = dict(wide.state_dict())
    for name, tensor in state.items():
        if name.endswith("stem.proj.weight") or name.endswith("dpe.conv.weight"):
            state[name] = tensor.transpose(-1, -2)
        if name.endswith("pos_embed.table"):
            class_rows, rows = tensor[:-6], tensor[-6:]
            state[name] = torch.cat([class_rows, rows.unflatten(0, (2, 3)).transpose(0, 1).flatten(0, 1)])
        if name.endswith("bias_table"):
            rows = tensor[:-3].unflatten(0, (3, 5)).transpose(0, 1).flatten(0, 1)
            state[name] = torch.cat([rows, tensor[-3:]])
    tall.load_state_dict(state)
    clip = clips(2).double()
    torch.testing.assert_close(tall(clip.transpose(-1, -2)), wide(clip))


@pytest.mark.parametrize("position", ["class_and_patches", "patches", "relative"])
def test_another_size_interpolates_positions(position: str, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny("global", trunk={"position": position})
    with caplog.at_level(logging.INFO, logger="tubelet"):
        first, second = model(clips(1, height=16, width=8)), model(clips(1, height=16, width=8))
        model(clips(1))
    assert first.isfinite().all()
    assert second.isfinite().all()
    messages = [r.getMessage() for r in caplog.records]
    assert messages == ([] if position == "relative" else ["position table of grid 2x3 resized to 4x2"])


def test_interpolated_positions_keep_the_class_row_and_are_timm_s() -> None:
    table = tiny("global").trunk.pos_embed
    rows = table.rows((5, 4))
    assert torch.equal(rows[0], table.table[0])
    assert torch.equal(rows, resample_abs_pos_embed(table.table[None], [5, 4], [2, 3], 1)[0])


@pytest.mark.parametrize("wiring", WIRINGS)
def test_what_cannot_be_cut_is_refused_with_both_grids_named(wiring: str) -> None:
    with pytest.raises(TubeletError, match=r"2\.5x3 .* 4x2x3"):
        tiny(wiring)(clips(1, height=10))
    with pytest.raises(TubeletError, match="4 channels where the model expects 3"):
        tiny(wiring)(torch.randn(1, 4, 4, 8, 12))


# ---- the start


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fresh_model_is_its_head_on_half_the_mean_class_token(wiring: str, fusion: str) -> None:
    model, clip = tiny(wiring, fresh=True, fusion=fusion), clips(2)
    _, class_tokens, _ = model.trunk(clip, ())
    expected = model.head(model.norm(0.5 * class_tokens.mean(1)))
    torch.testing.assert_close(model(clip), expected)


def test_fresh_temporal_branches_add_nothing() -> None:
    with_branches = tiny("local", fresh=True, temporal_downsample=False)
    without = tiny("global", fresh=True)
    state = with_branches.state_dict()
    without.load_state_dict({name: state[name] for name in without.state_dict()})
    clip = clips(2)
    torch.testing.assert_close(with_branches(clip), without(clip))


def test_a_fresh_model_without_downsampling_is_blind_to_order_and_a_trained_one_is_not() -> None:
    for fresh in (True, False):
        model, clip = tiny("local", fresh=fresh, temporal_downsample=False).double(), clips(2).double()
        difference = (model(clip) - model(clip[:, :, [2, 0, 3, 1]])).abs().max()
        assert difference < 1e-12 if fresh else difference > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_query_starts_at_zero_and_several_start_apart(fusion: str) -> None:
    assert not tiny("global", fresh=True, fusion=fusion).fusion.query.any()
    several = tiny("global", fresh=True, fusion=fusion, num_queries=2).fusion.query
    assert not torch.equal(several[:, 0], several[:, 1])


# ---- the two stages of the wiring without temporal branches


@pytest.mark.parametrize("fusion", FUSIONS)
def test_forward_is_the_two_stages_one_after_the_other(fusion: str) -> None:
    model, clip = tiny("global", fusion=fusion), clips(2)
    features = model.encode_frames(clip)
    assert [tuple(x.shape) for x in (features.vectors, *features.tokens)] == [(2, 4, 24), *[(2, 4, 7, 24)] * 2]
    assert features.token_grid == (2, 3)
    assert torch.equal(model.encode_time(features), model(clip))


def test_a_frame_changes_the_features_of_its_own_time_index_only() -> None:
    model, clip = tiny("global").double(), clips(2).double()
    changed = clip.clone()
    changed[1, :, 2] += 1
    before, after = model.encode_frames(clip), model.encode_frames(changed)
    for old, new in zip((before.vectors, *before.tokens), (after.vectors, *after.tokens), strict=True):
        differs = ~torch.isclose(old, new, rtol=1e-9, atol=1e-9).flatten(2).all(-1)
        assert differs.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_padded_short_video_gives_the_logits_it_gives_alone(fusion: str) -> None:
    model, lengths = tiny("global", fusion=fusion).double(), (4, 3, 1)
    features = model.encode_frames(clips(3).double())
    valid = torch.arange(4) < torch.tensor(lengths)[:, None]
    kept: dict[str, Any] = {"token_grid": features.token_grid}
    make = type(features)
    together = model.encode_time(make(vectors=features.vectors, tokens=features.tokens, valid=valid, **kept))
    for i, n in enumerate(lengths):
        tokens = tuple(layer[i : i + 1, :n] for layer in features.tokens)
        alone = model.encode_time(make(vectors=features.vectors[i : i + 1, :n], tokens=tokens, **kept))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_wiring_with_temporal_branches_has_no_per_frame_stage() -> None:
    assert not hasattr(tiny("local"), "encode_frames")


# ---- a frozen image ViT


def test_a_frozen_trunk_takes_no_gradient_and_leaves_its_class_tokens_out() -> None:
    model = tiny("global", frozen=True).train()
    model(clips(2)).square().sum().backward()
    assert all(p.grad is None for p in model.trunk.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("trunk."))
    assert "pool.balance" not in model.state_dict()
    features = model.eval().encode_frames(clips(2))
    other = type(features)(
        vectors=torch.randn_like(features.vectors), tokens=features.tokens, token_grid=features.token_grid
    )
    assert torch.equal(model.encode_time(features), model.encode_time(other))


def test_a_frozen_trunk_with_a_temporal_stem_predicts_and_its_branches_stay_as_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        model = tiny("local", frozen=True, drop_path_rate=0.0).train()
    assert "the temporal stem and branches in the image ViT keep their weights in training too" in caplog.text
    model(clips(2)).square().sum().backward()
    assert all(p.grad is None for p in model.trunk.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("trunk."))
    assert "pool.balance" not in model.state_dict()


# ---- the arguments of the paper's ablations


def test_layers_are_named_by_number_or_counted_from_their_end() -> None:
    assert tiny("global", global_layers=2).layers == (1, 2)
    assert tiny("global", global_layers=(2, 0)).layers == (0, 2)  # in the order in which they are visited
    model = tiny("local", local_layers=(1,), num_local=1)
    have = [(block.local1 is not None, block.local2 is not None) for block in model.trunk.blocks]
    assert have == [(False, False), (True, False), (False, False)]
    assert [b.local2 is not None for b in tiny("local", local_layers=2).trunk.blocks] == [True, True, False]


@pytest.mark.parametrize(("width", "reduction", "inside"), [(64, 1.5, 42), (40, 1.5, 26), (24, 2.0, 12), (24, 1.0, 24)])
def test_the_width_inside_a_temporal_branch_is_rounded_down(width: int, reduction: float, inside: int) -> None:
    model = tiny("local", embed_dim=width, dw_reduction=reduction, fresh=True)
    assert model.trunk.blocks[0].local1.conv.weight.shape == (inside, 1, 3, 1)


def test_without_dpe_a_global_block_is_blind_to_where_patches_are() -> None:
    for dpe in (True, False):
        model = tiny("global", dpe=dpe).double()
        features = model.encode_frames(clips(2).double())
        moved = tuple(torch.cat([x[:, :, :1], x[:, :, 1:].flip(2)], dim=2) for x in features.tokens)
        other = type(features)(vectors=features.vectors, tokens=moved, token_grid=features.token_grid)
        difference = (model.encode_time(features) - model.encode_time(other)).abs().max()
        assert difference > 1e-4 if dpe else difference < 1e-12


@pytest.mark.parametrize(
    ("wiring", "options", "message"),
    [
        ("global", {"global_layers": 4}, "global_layers=4 does not name blocks of 3"),
        ("global", {"global_layers": (0, 3)}, r"global_layers=\(0, 3\) does not name blocks of 3"),
        ("global", {"global_layers": 0}, "at least one block"),
        ("global", {"patch_size": 5}, "patch_size 5 does not divide image_size's height 8"),
        ("global", {"global_num_heads": 5}, "not divisible by global_num_heads 5"),
        ("global", {"frozen": True, "drop_path_rate": 0.1}, "nothing to regularize"),
        ("global", {"local_layers": 2}, "unknown key 'uniformerv2_b16.local_layers'"),
        ("global", {"trunk": {"norm": 1}}, "unknown key 'uniformerv2_b16.trunk.norm'"),
        ("local", {"local_layers": 4}, "local_layers=4 does not name blocks of 3"),
        ("local", {"stem_kernel": 4}, "stem_kernel must be odd, got 4"),
        ("local", {"frozen": True}, "nothing to regularize"),
        ("local", {"dw_reduction": 0.0}, "dw_reduction must lie between"),
    ],
)
def test_what_does_not_fit_is_refused(wiring: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(wiring, **options)


# ---- training


def test_drop_path_grows_from_zero_in_the_image_vit_and_in_the_global_blocks() -> None:
    model = tiny("local", drop_path_rate=0.4, global_drop_path_rate=0.2)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.0, 0.2])


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_dropped_branch_is_dropped_for_whole_videos(wiring: str) -> None:
    """The original drops token positions, or the branch of a whole batch."""
    model = tiny(wiring, drop_path_rate=0.5, global_drop_path_rate=0.5, drop_rate=0.0, global_drop_rate=0.0)
    for module in model.modules():
        module.training = isinstance(module, DropPath)  # nothing else is random
    logits = model(clips(1).expand(64, -1, -1, -1, -1))
    kinds = {tuple(row) for row in logits.mul(1e4).round().tolist()}
    assert 2 < len(kinds) < 64


def test_a_training_step_moves_the_statistics_of_temporal_branches() -> None:
    model = tiny("local").train()
    before = model.trunk.blocks[0].local1.norm.running_mean.clone()
    model(clips(2))
    assert not torch.equal(model.trunk.blocks[0].local1.norm.running_mean, before)


def test_a_motion_is_learned_that_single_frames_do_not_show() -> None:
    """A brightness that rises or falls: a fresh model sees the same set of frames in both."""
    torch.manual_seed(1)
    model = tiny("local", fresh=True, num_classes=2, temporal_downsample=False, drop_rate=0.0, global_drop_rate=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rising = torch.linspace(-1, 1, 4)[None, None, :, None, None].expand(8, 3, 4, 8, 12)
    labels = torch.arange(16) % 2

    def batch() -> Tensor:
        both = torch.stack([rising, rising.flip(2)], dim=1).flatten(0, 1)
        return both + 0.1 * torch.randn(both.shape)

    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch()), labels).backward()
        optimizer.step()
    assert (model.eval()(batch()).argmax(-1) == labels).float().mean() > 0.9


def test_randomized_models_differ_from_fresh_ones() -> None:
    """The helper above these tests does what it says."""
    model = tiny("local", fresh=True)
    randomize(model)
    assert all(p.any() for p in model.parameters())
