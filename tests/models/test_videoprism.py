"""VideoPrism's traps: offset norms, the cap and its place, frame-major tokens, pooling, tables of another grid."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_parameters
from tubelet.models import create_model
from tubelet.models.stages import frame_features
from tubelet.nn.attention import SoftCappedAttention
from tubelet.nn.offset_norm import OffsetLayerNorm
from tubelet.nn.position import AntialiasedPositionTable
from tubelet.training.optim.groups import layer_of_parameters
from tubelet.types import FrameFeatures

SMALL: dict[str, Any] = {
    "num_classes": 5,
    "num_frames": 4,
    "image_size": (16, 24),
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "temporal_depth": 1,
    "num_heads": 4,
}


def tiny(name: str = "videoprism_b18", **options: Any) -> Any:
    model = create_model(name, **{**SMALL, **options})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def clip(num_frames: int = 4, height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(2, 3, num_frames, height, width)


def test_a_norm_scales_by_one_plus_its_weight_and_begins_at_one() -> None:
    norm, plain = OffsetLayerNorm(6, eps=1e-6), nn.LayerNorm(6, eps=1e-6)
    x = torch.randn(3, 6)
    assert not norm.weight.any()
    torch.testing.assert_close(norm(x), plain(x))
    nn.init.normal_(norm.weight)
    plain.weight.data = 1 + norm.weight.data
    torch.testing.assert_close(norm(x), plain(x))


def test_scores_are_capped_after_their_scale_and_before_the_mask() -> None:
    attention = SoftCappedAttention(8, 2)
    attention.soft_cap = 2.0
    nn.init.normal_(attention.qkv.weight, std=2.0)
    x, valid = torch.randn(3, 5, 8), torch.rand(3, 5) > 0.3
    valid[:, 0] = True
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=-1))
    scores = 2.0 * torch.tanh((q @ k.mT / 4**0.5) / 2.0)
    probs = scores.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1)
    expected = attention.proj((probs @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, valid), expected)
    attention.soft_cap = 1e4  # nothing reaches it
    plain = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x), attention.proj(plain), rtol=1e-4, atol=1e-4)


def test_the_encoder_over_time_sees_each_place_alone_and_tokens_lie_frame_by_frame() -> None:
    model = tiny()
    features = model.encode_frames(clip())
    (tokens,) = features.tokens
    other = tokens.clone()
    other[:, 1, 5] += torch.randn(24)  # frame 1, place 5 of 6
    before = model.over_time(features)
    after = model.over_time(FrameFeatures(vectors=features.vectors, tokens=(other,), token_grid=(2, 3)))
    changed = (before - after).abs().amax((0, 2)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [t * 6 + 5 for t in range(4)]


def test_frames_are_encoded_alone_and_in_parts() -> None:
    model, x = tiny(), clip()
    whole = frame_features(model, x, None)
    parts = [frame_features(model, x[:, :, t : t + 1], None) for t in range(4)]
    torch.testing.assert_close(whole.tokens[0], torch.cat([part.tokens[0] for part in parts], dim=1))
    torch.testing.assert_close(model.encode_time(whole), model(x))
    torch.testing.assert_close(whole.vectors, whole.tokens[0].mean(2))


@pytest.mark.parametrize("name", ["videoprism_b18", "videoprism_lvt_b18"])
def test_padding_does_not_change_a_shorter_video(name: str) -> None:
    model, x = tiny(name), clip(3)
    features = model.encode_frames(x)
    padded = nn.functional.pad(features.tokens[0], (0, 0, 0, 0, 0, 2), value=7.0)
    valid = torch.tensor([[True, True, True, False, False]] * 2)
    longer = FrameFeatures(vectors=padded.mean(2), tokens=(padded,), token_grid=(2, 3), valid=valid)
    torch.testing.assert_close(model.encode_time(longer), model(x))


def test_one_frame_gives_the_tokens_of_one_frame(caplog: pytest.LogCaptureFixture) -> None:
    """Broadcasting a table of 4 times over one frame gives those of 4."""
    model = tiny()
    with caplog.at_level(logging.INFO):
        assert model.tokens(clip(1)).flatten(1, 3).shape == (2, 6, 24)
    assert "position table of grid 4x1x1 resized to 1x1x1" in caplog.text


@pytest.mark.parametrize("sizes", [(8, 3), (4, 7), (5, 1), (16, 10)])
def test_a_table_is_resized_by_the_widened_triangle(sizes: tuple[int, int]) -> None:
    """By its definition: a triangle as wide as a new cell where cells grow, as an old one where they shrink."""
    old, new = sizes
    table = AntialiasedPositionTable((old, 1, 1), 6, num_prefix=0)
    scale = max(1.0, old / new)
    centers = (torch.arange(new) + 0.5) * old / new
    weights = (1 - ((torch.arange(old) + 0.5) - centers[:, None]).abs() / scale).clamp(min=0)
    expected = (weights / weights.sum(1, keepdim=True)) @ table.table
    torch.testing.assert_close(table((new, 1, 1)), expected)
    in_space = AntialiasedPositionTable((1, old, 1), 6, num_prefix=0)  # one column
    in_space.load_state_dict(table.state_dict())
    torch.testing.assert_close(in_space((1, new, 1)), expected)
    in_space.grid = (1, 1, old)
    torch.testing.assert_close(in_space((1, 1, new)), expected)


def test_both_axes_of_space_are_resized_one_after_the_other() -> None:
    table = AntialiasedPositionTable((1, 6, 8), 5, num_prefix=0)
    maps = table.table.T.unflatten(1, (6, 8))[None].contiguous()
    expected = nn.functional.interpolate(maps, size=(3, 11), mode="bilinear", antialias=True)
    torch.testing.assert_close(table((1, 3, 11)), expected[0].flatten(1).T)


def test_the_three_poolings_have_their_widths() -> None:
    assert tiny().pool.q.weight.shape == (24, 24)
    assert tiny("videoprism_lvt_b18").pool.q.weight.shape == (96, 24)
    assert tiny(pool_dim=40).pool.q.weight.shape == (40, 24)
    with pytest.raises(ConfigError, match="pool_width 30 is not divisible by num_heads 4"):
        tiny(pool_dim=30)


def test_a_fresh_pooling_scales_queries_as_attention_does_and_a_learned_one_by_channel() -> None:
    pool = tiny().pool
    x = torch.randn(2, 7, 24)
    q = pool.q(pool.query).view(1, 4, 1, 6).expand(2, -1, -1, -1)
    k, v = (part.unflatten(-1, (4, 6)).transpose(1, 2) for part in pool.kv(x).chunk(2, dim=-1))

    def pooled(scale: Tensor) -> Tensor:
        gathered = ((q * scale) @ k.mT / 6**0.5).softmax(-1) @ v
        return pool.norm(pool.proj(gathered.transpose(1, 2).flatten(1)))

    torch.testing.assert_close(pool(x), pooled(nn.functional.softplus(pool.per_dim_scale) * 1.442695041))
    nn.init.zeros_(pool.per_dim_scale)
    torch.testing.assert_close(pool(x), pooled(torch.ones(6)))


def test_the_video_tower_gives_vectors_of_length_one_and_classifies_them() -> None:
    model, x = tiny("videoprism_lvt_b18"), clip()
    embedding = model.video_embedding(x)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(model.frame_embeddings(x).norm(dim=-1), torch.ones(2, 4))
    torch.testing.assert_close(model(x), model.head(embedding))


def test_the_large_model_is_made_for_eight_frames_and_sizes_are_the_published_ones() -> None:
    """Of the encoder, in millions (README): 114 and 354; with pooling and 400 classes 117.0 (the original's own)."""
    with torch.device("meta"):
        base, large = create_model("videoprism_b18"), create_model("videoprism_l18")
    assert (base.config.num_frames, large.config.num_frames) == (16, 8)
    for model, millions in ((base, 114.365), (large, 353.965)):
        stages = ("tokenizer", "spatial_encoder", "temporal_encoder")
        counted = sum(count_parameters(model.get_submodule(stage)) for stage in stages)
        assert counted / 1e6 == pytest.approx(millions, abs=1e-3)
    assert count_parameters(base) / 1e6 == pytest.approx(117.0, abs=0.1)


def test_layers_count_from_space_over_time_to_the_auxiliary_blocks_and_the_pooling() -> None:
    layers = layer_of_parameters(tiny("videoprism_lvt_b18", auxiliary_depth=2))
    first = ("tokenizer.proj.weight", "spatial_encoder.blocks.1.norm1.bias", "temporal_encoder.blocks.0.norm1.bias")
    last = ("auxiliary_blocks.0.norm1.bias", "auxiliary_blocks.1.norm1.bias", "pool.query", "head.weight")
    assert [layers[name] for name in (*first, *last)] == [0, 2, 3, 4, 5, 5, 5]


def test_what_fills_no_patch_is_refused_unless_it_may_be_dropped() -> None:
    with pytest.raises(TubeletError, match="not whole"):
        tiny()(clip(height=20))
    model = tiny(remainder="drop")
    x = clip(height=20)
    torch.testing.assert_close(model(x), model(x[:, :, :, :16]))
