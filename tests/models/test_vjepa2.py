"""V-JEPA 2: positions of the clip that comes, masks, levels and segments of the probe, the predictor, and costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_vjepa2 import FIELDS, clip, randomized, tiny
from torch import nn

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.models.vjepa2.config import VJEPA2PredictorConfig, VJEPA21Config
from tubelet.models.vjepa2.model import take
from tubelet.models.vjepa2.model_2_1 import VJEPA21
from tubelet.models.vjepa2.predictor import VJEPA2Pretraining, prediction_loss, prediction_targets
from tubelet.nn.rotary import rotation_of
from tubelet.training.optim.groups import group_parameters

# Millions of parameters of encoder and predictor, and the encoder's GMACs of 16 frames; the rest is in manifests.
COSTS = {
    "vjepa2_l16_256": (303.9, 22.1, 828),
    "vjepa2_g16_256": (1012.2, 22.4, 2544),
}


@pytest.mark.parametrize("name", COSTS)
def test_parameters_and_multiply_adds_are_the_original_s(name: str) -> None:
    encoder, predictor, gmacs = COSTS[name]
    with torch.device("meta"):
        model = create_model(name, num_classes=0, num_frames=16)
        trained = VJEPA2Pretraining(model.config, VJEPA2PredictorConfig())
    assert count_parameters(model) / 1e6 == pytest.approx(encoder, abs=0.06)
    assert count_parameters(trained.predictor) / 1e6 == pytest.approx(predictor, abs=0.1)
    shape = (3, 16, *model.config.image_size)
    assert count_macs(model, shape) / 1e9 == pytest.approx(gmacs, abs=0.6)


def test_the_giant_has_22_heads_and_its_probe_16_and_another_mlp() -> None:
    with torch.device("meta"):
        model = create_model("vjepa2_g16_384", depth=1)
    assert (model.encoder.blocks[0].attn.num_heads, model.pooler.blocks[0].attn.num_heads) == (22, 16)
    assert model.encoder.blocks[0].mlp.fc1.out_features == 6144
    assert {block.mlp.fc1.out_features for block in (model.pooler.blocks[0], model.pooler.pool)} == {4 * 1408}
    assert {norm.eps for norm in model.pooler.modules() if isinstance(norm, nn.LayerNorm)} == {1e-5}
    assert {norm.eps for norm in model.encoder.modules() if isinstance(norm, nn.LayerNorm)} == {1e-6}


def test_any_grid_has_the_positions_of_its_own_whatever_the_model_was_made_for() -> None:
    made_for_it = tiny(num_frames=6, image_size=(24, 40))
    assert tiny()(clip(6, 24, 40)).equal(made_for_it(clip(6, 24, 40)))
    assert tiny().tokens(clip(6, 24, 40)).shape == (2, 3, 3, 5, 36)
    assert not any("pos_embed" in name for name in tiny().state_dict())


def test_positions_matter() -> None:
    x = clip()
    turned = x.flip(4)
    model = tiny(num_classes=0)
    tokens = model.tokens(x.reshape(2, 3, 4, 2, 8, 2, 8).flip(5).reshape_as(turned))  # left and right patches exchanged
    assert not torch.allclose(tokens, model.tokens(x).flip(3), atol=1e-3)


def test_kept_tokens_keep_their_positions_and_see_no_others() -> None:
    model, x = tiny(), clip()
    every = torch.arange(8).expand(2, -1)
    torch.testing.assert_close(model.encoder(x, every)[0], model.encoder(x)[0])
    order = torch.tensor([5, 2, 7]).expand(2, -1)
    some = model.encoder(x, order)[0]
    torch.testing.assert_close(model.encoder(x, order.flip(1))[0], some.flip(1), atol=1e-5, rtol=1e-5)
    other = x.clone()
    other[:, :, :2, :8, :8] = 0.0  # token 0, which is not kept
    assert model.encoder(other, order)[0].equal(some)
    assert not torch.allclose(take(model.encoder(x)[0], order), some, atol=1e-3)


def test_one_frame_is_refused_or_shown_for_a_tubelet() -> None:
    with pytest.raises(TubeletError, match="a clip of 1x16x16"):
        tiny()(clip(1))
    image = clip(1)
    assert tiny(repeat_image=True)(image).equal(tiny()(image.expand(-1, -1, 2, -1, -1)))
    with pytest.raises(TubeletError, match="a clip of 3x16x16"):
        tiny(repeat_image=True)(clip(3))
    assert tiny(remainder="drop")(clip(5)).equal(tiny()(clip(5)[:, :, :4]))


def test_a_probe_reads_levels_through_the_final_norm_one_after_the_other() -> None:
    model, x = tiny(out_layers=(0, 2)), clip()
    features = model.forward_features(x)
    assert features.shape == (2, 16, 36)
    assert features[:, 8:].equal(model.encoder(x)[0])
    behind: list[torch.Tensor] = []
    model.encoder.blocks[0].register_forward_hook(lambda *args: behind.append(args[2].detach()))
    model.encoder(x)
    assert features[:, :8].equal(model.encoder.norm(behind[0]))


def test_segments_are_encoded_apart_and_pooled_together() -> None:
    model, x = tiny(num_segments=2), clip(8)
    halves = torch.cat([tiny().forward_features(x[:, :, :4]), tiny().forward_features(x[:, :, 4:])], dim=1)
    torch.testing.assert_close(model.forward_features(x), halves)
    torch.testing.assert_close(model(x), model.head(model.pooler(halves)))
    mean = (tiny()(x[:, :, :4]) + tiny()(x[:, :, 4:])) / 2
    assert not torch.allclose(model(x), mean, atol=1e-3)
    with pytest.raises(TubeletError, match="9 frames does not part into num_segments=2"):
        model(clip(9))


def test_the_query_is_not_normalized_and_is_added_to_what_it_pools() -> None:
    pooler, x = tiny().pooler, torch.randn(2, 5, 36)
    before = pooler.pool(pooler.query_token, x)
    pooler.pool.attn.kv.weight.data.zero_()
    pooler.pool.attn.kv.bias.data.zero_()  # the values are zero
    alone = pooler.query_token + pooler.pool.mlp(pooler.pool.norm2(pooler.query_token))
    torch.testing.assert_close(pooler.pool(pooler.query_token, x)[0], alone)
    assert not torch.allclose(before[0], alone, atol=1e-3)
    assert not hasattr(pooler.pool.attn, "proj")


def test_without_classes_it_is_an_encoder() -> None:
    model = tiny(num_classes=0)
    assert not any(name.startswith(("pooler", "head")) for name in model.state_dict())
    torch.testing.assert_close(model(clip()), model.tokens(clip()).flatten(1, 3).mean(1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"out_layers": (2, 0)}, "out_layers must be ascending"),
        ({"out_layers": (3,)}, "blocks from 0 to 2"),
        ({"num_classes": 0, "out_layers": (0,)}, "without one"),
        ({"num_classes": 0, "num_segments": 2}, "without one"),
        ({"pooler_num_heads": 5}, "not divisible by pooler_num_heads 5"),
        ({"num_heads": 9}, "heads of 4 channels have none to turn"),
        ({"num_frames": 5}, "does not divide 5"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)


def test_layers_count_through_encoder_and_probe() -> None:
    groups = group_parameters(tiny(), weight_decay=0.05, layer_decay=0.5)
    scales = {name: group.lr_scale for group in groups for name in group.names}
    assert scales["encoder.tokenizer.proj.weight"] == 0.5**5
    assert [scales[f"encoder.blocks.{i}.norm1.weight"] for i in range(3)] == [0.5**4, 0.5**3, 0.5**2]
    assert (scales["pooler.blocks.0.norm1.weight"], scales["pooler.pool.attn.q.weight"]) == (0.5, 0.5)
    assert scales["head.weight"] == 1.0


# ---- predictor


def pretraining() -> VJEPA2Pretraining:
    torch.manual_seed(0)
    predictor = VJEPA2PredictorConfig(embed_dim=24, depth=2, num_heads=2, num_mask_tokens=3)
    return randomized(VJEPA2Pretraining(tiny(num_classes=0).config, predictor))


CONTEXT, TARGET = torch.tensor([[0, 3, 6]] * 2), torch.tensor([[5, 1]] * 2)


def test_predictions_come_in_the_order_of_the_targets() -> None:
    model, x = pretraining(), clip()
    predicted = model(x, CONTEXT, TARGET)
    torch.testing.assert_close(model(x, CONTEXT, TARGET.flip(1)), predicted.flip(1), atol=1e-5, rtol=1e-5)
    shuffled = CONTEXT[:, [2, 0, 1]]
    torch.testing.assert_close(model(x, shuffled, TARGET), predicted, atol=1e-5, rtol=1e-5)


def test_the_context_is_encoded_alone() -> None:
    model, x = pretraining(), clip()
    tokens, grid = model.encoder(x)
    of_all = model.predictor(take(tokens, CONTEXT), CONTEXT, TARGET, grid)  # what transformers does
    assert not torch.allclose(of_all, model(x, CONTEXT, TARGET), atol=1e-3)
    other = x.clone()
    other[:, :, :2, :8, 8:] = 9.0  # token 1, a target
    assert model(other, CONTEXT, TARGET).equal(model(x, CONTEXT, TARGET))


def test_mask_tokens_are_chosen_by_number_modulo_their_count_and_the_second_by_default() -> None:
    model, x = pretraining(), clip()
    assert model(x, CONTEXT, TARGET).equal(model(x, CONTEXT, TARGET, 1))
    assert model(x, CONTEXT, TARGET, 4).equal(model(x, CONTEXT, TARGET, 1))
    assert not torch.allclose(model(x, CONTEXT, TARGET, 0), model(x, CONTEXT, TARGET, 1), atol=1e-3)


def test_targets_are_normalized_without_weights() -> None:
    tokens = torch.randn(2, 8, 36) * 3 + 1
    targets = prediction_targets(tokens, TARGET)
    torch.testing.assert_close(targets.mean(-1), torch.zeros(2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.var(-1, unbiased=False), torch.ones(2, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction_loss(targets + 0.5, targets), torch.tensor(0.5))


# ---- V-JEPA 2.1, which no output of the original is there to compare with


def tiny_2_1(**fields: Any) -> VJEPA21:
    return randomized(VJEPA21(VJEPA21Config(**{**FIELDS, **fields})))


@pytest.mark.parametrize(
    ("name", "width", "hidden", "levels"),
    [
        ("vjepa2_1_b16_384", 768, 3072, (2, 5, 8, 11)),
        ("vjepa2_1_l16_384", 1024, 4096, (5, 11, 17, 23)),
        ("vjepa2_1_g16_384", 1408, 6144, (9, 19, 29, 39)),
        ("vjepa2_1_gigantic16_384", 1664, 8192, (11, 23, 37, 47)),
    ],
)
def test_sizes_and_levels_of_2_1_are_those_of_its_code(
    name: str, width: int, hidden: int, levels: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert model.config.levels == levels
    assert model.encoder.blocks[0].mlp.fc1.weight.shape == (hidden, width)
    assert len(model.encoder.norms) == 4


def test_rows_and_columns_of_2_1_are_stretched_to_those_of_256_pixels() -> None:
    encoder = tiny_2_1().encoder  # patches of 8: 32 rows
    last = encoder.rotation(torch.tensor([[2 * 3 * 5 - 1]]), (2, 3, 5))  # the last token, at 1, 2, 4
    true = rotation_of(torch.tensor([[2 * 32 * 32 - 1]]), (2, 32, 32), 12, "paired")  # at 1, 31, 31
    torch.testing.assert_close(last.cos, true.cos, atol=1e-5, rtol=0)
    torch.testing.assert_close(last.sin, true.sin, atol=1e-5, rtol=0)
    alone = encoder.rotation(torch.tensor([[0]]), (1, 1, 1))
    assert alone.sin.abs().max() == 0


def test_an_image_has_patches_of_its_own_in_2_1() -> None:
    model = tiny_2_1()
    assert model.tokens(clip(1)).shape == (2, 1, 2, 2, 36)
    before = model(clip()), model(clip(1))
    model.encoder.image_embed.data.add_(torch.randn(36))
    assert model(clip()).equal(before[0])
    assert not torch.allclose(model(clip(1)), before[1], atol=1e-3)


def test_levels_of_2_1_have_norms_of_their_own() -> None:
    model = tiny_2_1(norm_layers=(0, 2), out_layers=(0, 2))
    assert model.forward_features(clip()).shape == (2, 16, 36)
    assert not any(name.startswith("encoder.norm.") for name in model.state_dict())
    with pytest.raises(ConfigError, match="must be among the blocks with a norm"):
        tiny_2_1(norm_layers=(0, 2), out_layers=(1,))
    with pytest.raises(ConfigError, match="end with the last block"):
        tiny_2_1(norm_layers=(0, 1))
