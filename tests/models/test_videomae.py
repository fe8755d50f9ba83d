"""VideoMAE: positions over the flat index, biases without keys, norms behind the blocks, and what it costs."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
import torch
from tiny_videomae import clip, tiny

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.models.videomae.config import VideoMAEConfig, VideoMAEDecoderConfig
from tubelet.models.videomae.pretraining import VideoMAEPretraining, pretraining_loss
from tubelet.models.videomae.variants import DECODERS
from tubelet.nn.masked.masking import draw_mask, pixel_targets
from tubelet.nn.position import resize_positions
from tubelet.nn.query_value_bias import QueryValueBiasAttention
from tubelet.nn.sine_cosine import SineCosineTable, sine_cosine
from tubelet.training.optim.groups import group_parameters
from tubelet.types import Grid

# Millions of parameters fine-tuned and pre-trained, GMACs of a view of 16 x 224 x 224; the rest is in manifests.
COSTS = {
    "videomae_s16": (22.03, 24.03, 56.9),
    "videomae_b16": (86.53, 94.21, 180.3),
    "videomae_g14": (1012.17, None, 2542.8),
}


@pytest.mark.parametrize("name", COSTS)
def test_parameters_and_multiply_adds_are_the_original_s(name: str) -> None:
    fine_tuned, pretrained, gmacs = COSTS[name]
    with torch.device("meta"):
        model = create_model(name)
        config = model.config
        before = VideoMAEPretraining(config, DECODERS[config.embed_dim])
    assert count_parameters(model) / 1e6 == pytest.approx(fine_tuned, abs=0.006)
    assert count_macs(model, (3, 16, 224, 224)) / 1e9 == pytest.approx(gmacs, abs=0.06)
    if pretrained is not None:
        assert count_parameters(before) / 1e6 == pytest.approx(pretrained, abs=0.006)


def test_the_smallest_has_heads_of_64_and_the_giant_an_mlp_of_6144() -> None:
    with torch.device("meta"):
        small, giant = create_model("videomae_s16", depth=1), create_model("videomae_g14", depth=1)
    assert small.encoder.blocks[0].attn.num_heads == 6
    assert giant.encoder.blocks[0].mlp.fc1.weight.shape == (6144, 1408)


def test_keys_have_no_bias_and_queries_and_values_learn_theirs() -> None:
    model = tiny()
    names = {name for name, _ in model.encoder.blocks[0].attn.named_parameters()}
    assert names == {"qkv.weight", "qkv.q_bias", "qkv.v_bias", "proj.weight", "proj.bias"}
    model(clip()).square().sum().backward()
    linear = model.encoder.blocks[0].attn.qkv
    assert all(bias.grad is not None and bias.grad.abs().max() > 1e-6 for bias in (linear.q_bias, linear.v_bias))


def test_the_biases_are_those_of_a_packed_one_with_zeros_for_the_keys() -> None:
    attention, x = QueryValueBiasAttention(8, 2), torch.randn(1, 5, 8)
    q_bias, v_bias = torch.randn(2, 8)
    attention.qkv.q_bias.data, attention.qkv.v_bias.data = q_bias, v_bias
    plain = torch.nn.functional.linear(x, attention.qkv.weight, torch.cat([q_bias, torch.zeros(8), v_bias]))
    assert attention.qkv(x).equal(plain)
    assert QueryValueBiasAttention(8, 2, qkv_bias=False).qkv.bias is None


def test_the_table_alternates_sine_and_cosine_of_the_flat_index() -> None:
    table = sine_cosine(100, 6).double()
    for channel, exponent in enumerate((0, 0, 2, 2, 4, 4)):
        angle = torch.arange(100, dtype=torch.float64) / 10000 ** (exponent / 6)
        expected = angle.cos() if channel % 2 else angle.sin()
        torch.testing.assert_close(table[:, channel], expected, atol=1e-7, rtol=0)
    assert SineCosineTable((2, 3, 4), 6)((2, 3, 4)).equal(sine_cosine(24, 6))
    assert not SineCosineTable((2, 3, 4), 6).state_dict()


def test_another_grid_gets_its_own_table_and_the_log_says_that_weights_never_saw_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    model = tiny()
    for _ in range(2):
        assert model(clip(6, 24, 16)).shape == (2, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "sine-cosine table of grid 2x2x2 computed for 3x3x2, which the weights were not trained with"
    ]
    made_for_it = tiny(num_frames=6, image_size=(24, 16))
    assert model(clip(6, 24, 16)).equal(made_for_it(clip(6, 24, 16)))


def test_interpolation_is_an_option(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = SineCosineTable((2, 2, 2), 8, "interpolated")
    assert table((3, 4, 2)).equal(resize_positions(sine_cosine(8, 8), (2, 2, 2), (3, 4, 2), 0))
    assert caplog.messages == ["sine-cosine table of grid 2x2x2 interpolated for 3x4x2"]
    computed, interpolated = tiny(), tiny(other_grid="interpolated")
    assert computed(clip()).equal(interpolated(clip()))
    assert not computed(clip(6)).equal(interpolated(clip(6)))


@pytest.mark.parametrize("num_frames", [1, 5])
def test_frames_that_fill_no_tubelet_are_refused_and_not_broadcast_or_dropped(num_frames: int) -> None:
    with pytest.raises(TubeletError, match=rf"a clip of {num_frames}x16x16 .* not whole"):
        tiny()(clip(num_frames))


@pytest.mark.parametrize(
    ("fields", "norms"),
    [
        ({}, {"fc_norm"}),
        ({"global_pool": "first", "final_norm": "tokens"}, {"encoder.norm"}),
        ({"final_norm": "tokens"}, {"encoder.norm"}),
    ],
)
def test_one_norm_stands_behind_the_blocks(fields: dict[str, Any], norms: set[str]) -> None:
    names = {name.removesuffix(".weight") for name in tiny(**fields).state_dict() if name.endswith("norm.weight")}
    assert names == norms


def test_the_mean_is_normalized_and_not_the_tokens() -> None:
    model = tiny()
    mean = model.tokens(clip()).flatten(1, 3).mean(1)
    torch.testing.assert_close(model(clip()), model.head(model.fc_norm(mean)))
    first = tiny(global_pool="first", final_norm="tokens")
    torch.testing.assert_close(first(clip()), first.head(first.tokens(clip())[:, 0, 0, 0]))


def test_without_classes_it_is_an_encoder() -> None:
    model = tiny(num_classes=0)
    assert model.tokens(clip(6, 24, 16)).shape == (2, 3, 3, 2, 24)
    assert model(clip()).shape == (2, 24)
    assert not any(name.startswith("head") for name in model.state_dict())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"global_pool": "first"}, "set final_norm to tokens"),
        ({"num_classes": 0, "head_drop_rate": 0.5}, "no effect without a classifier"),
        ({"num_classes": -1}, "must not be negative"),
        ({"embed_dim": 25, "num_heads": 1}, "must be even"),
        ({"num_frames": 5}, "does not divide 5"),
        ({"num_heads": 5}, "not divisible by num_heads 5"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)


def test_layer_decay_counts_as_the_original_does() -> None:
    """decay^(L + 1 - i): i is 0 for the patches, the block's number from 1, L + 1 for the norm and the classifier."""
    groups = group_parameters(tiny(depth=3), weight_decay=0.05, layer_decay=0.5)
    scales = {name: group.lr_scale for group in groups for name in group.names}
    decays = {name: group.weight_decay for group in groups for name in group.names}
    assert scales["encoder.tokenizer.proj.weight"] == 0.5**4
    assert [scales[f"encoder.blocks.{i}.attn.qkv.q_bias"] for i in range(3)] == [0.5**3, 0.5**2, 0.5]
    assert {scales[name] for name in ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")} == {1.0}
    assert not any(decays[name] for name in decays if name.endswith("bias") or "norm" in name)
    assert decays["encoder.blocks.0.attn.qkv.weight"] == 0.05


# ---- pre-training


def tube_masks(number: int, grid: Grid, ratio: float) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([draw_mask("tube", grid, ratio, rng) for _ in range(number)]))


def pretraining() -> VideoMAEPretraining:
    torch.manual_seed(0)
    decoder = VideoMAEDecoderConfig(embed_dim=12, depth=1, num_heads=2)
    return VideoMAEPretraining(VideoMAEConfig(**dataclasses.asdict(tiny().config)), decoder)


def test_a_masked_token_never_enters_the_encoder_and_its_pixels_change_only_the_target() -> None:
    model, x = pretraining(), clip()
    masked = tube_masks(2, (2, 2, 2), 0.5)
    painted = model(x, masked)
    targets = pixel_targets(x, masked, (2, 8, 8))
    assert painted.shape == targets.shape == (2, 4, 2 * 8 * 8 * 3)
    is_hidden = masked.view(2, 2, 2, 2)[:, None].repeat_interleave(2, 2)
    is_hidden = is_hidden.repeat_interleave(8, 3).repeat_interleave(8, 4).expand_as(x)
    other = torch.where(is_hidden, torch.randn_like(x), x)
    assert model(other, masked).equal(painted)
    assert not pixel_targets(other, masked, (2, 8, 8)).equal(targets)


def test_a_few_steps_paint_better() -> None:
    model, x = pretraining(), clip()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    masked = tube_masks(2, (2, 2, 2), 0.5)
    losses = []
    for _ in range(20):
        loss = pretraining_loss(model(x, masked), pixel_targets(x, masked, (2, 8, 8)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_targets_are_normalized_by_tubelet_and_channel_with_channels_fastest() -> None:
    x, masked = clip(), torch.ones(2, 8, dtype=torch.bool)
    raw = pixel_targets(x, masked, (2, 8, 8), normalize=False).unflatten(2, (-1, 3))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(raw[0, 0, 0], x[0, :, 0, 0, 0] * std + mean)
    torch.testing.assert_close(raw[0, 0, 1], x[0, :, 0, 0, 1] * std + mean)
    own = pixel_targets(x, masked, (2, 8, 8)).unflatten(2, (-1, 3))
    torch.testing.assert_close(own.mean(2), torch.zeros(2, 8, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(own.var(2, unbiased=True), torch.ones(2, 8, 3), atol=1e-4, rtol=0)


def test_masks_that_do_not_fit_are_refused() -> None:
    model, uneven = pretraining(), torch.zeros(2, 8, dtype=torch.bool)
    uneven[0, 0] = True
    for masked, message in ((uneven, "as many in each video"), (torch.zeros(2, 8, dtype=torch.bool), "0 of 8")):
        with pytest.raises(TubeletError, match=message):
            model(clip(), masked)
    with pytest.raises(TubeletError, match="3 channels, the clip has 1"):
        pixel_targets(clip()[:, :1], torch.ones(2, 8, dtype=torch.bool), (2, 8, 8))
