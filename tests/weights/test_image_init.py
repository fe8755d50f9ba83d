"""What must hold at step 0: a video model that starts from an image model sees pictures as the image model does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import assert_one_line
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.vivit.from_image import from_image
from tubelet.models.vivit.weights import to_scenic
from tubelet.weights.config import InitConfig
from tubelet.weights.mapping.plain_vit import PlainViT
from weights.image_models import flax_image, image_vit, pictures, still, timm_vit, video_model

KINDS = ("joint", "fe", "fsa", "fdp", "avgpool")
SCHEMES = ("zero_projection", "zero", "copied", "random")


def image_of(model: nn.Module, **known: Any) -> PlainViT:
    return image_vit(model.state_dict(), "vit", {"num_heads": 4, **known}, (2, 3))


def started(image: PlainViT, model: nn.Module, **options: Any) -> Any:
    """The model with the image model's weights, and the report."""
    state, report = from_image(image, model, InitConfig(source="vit", **options))
    model.load_state_dict(state)
    return report


def tokens(model: Any, clip: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.tokenizer(clip)[0]


@pytest.mark.parametrize("tokenizer", ["central_frame", "inflation"])
@pytest.mark.parametrize("kind", ["fe", "avgpool"])
@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_vectors_of_a_still_clip_are_the_image_models_features(kind: str, tokenizer: str, num_frames: int) -> None:
    image = timm_vit()
    model = video_model(kind, tubelet_size=(num_frames, 8, 8))
    started(image_of(image), model, tokenizer=tokenizer)
    x = pictures()
    with torch.inference_mode():
        vectors = model.encode_frames(still(x, 6)).vectors  # B n_t D
        features = image.forward_features(x)[:, 0]  # B D, after the norm
    torch.testing.assert_close(vectors, features[:, None].expand_as(vectors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_inflated_tokens_of_a_still_clip_are_those_of_the_picture(kind: str) -> None:
    image = timm_vit()
    model = video_model(kind, tubelet_size=(3, 8, 8))
    started(image_of(image), model, tokenizer="inflation")
    x = pictures()
    expected = image.patch_embed(x).repeat(1, 2, 1)  # at both time indices
    torch.testing.assert_close(tokens(model, still(x, 6)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 6])
def test_central_frame_is_uniform_frame_sampling_of_the_central_frames(kind: str, num_frames: int) -> None:
    image = image_of(timm_vit())
    tubelets = video_model(kind, tubelet_size=(num_frames, 8, 8))
    frames = video_model(kind, tubelet_size=(1, 8, 8), num_frames=6 // num_frames, num_sampled_frames=6)
    torch.manual_seed(1)
    nn.init.normal_(tubelets.head.weight)
    for model in (frames, tubelets):
        started(image, model)
    frames.load_state_dict({**tubelets.state_dict(), "tokenizer.proj.weight": frames.tokenizer.proj.weight})
    clip = torch.randn(2, 3, 6, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(
            tubelets(clip), frames(clip[:, :, num_frames // 2 :: num_frames]), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attention_over_time_starts_as_the_scheme_says(scheme: str) -> None:
    model = video_model("fsa", tubelet_size=(2, 8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    image = image_of(timm_vit())
    report = started(image, model, temporal_attention=scheme)
    x = torch.randn(2, 3, 6, 24)  # B T S D
    block = model.blocks[0]
    with torch.inference_mode():
        adds_nothing = bool((block._time(x) == 0).all())
    assert adds_nothing == (scheme in ("zero_projection", "zero"))
    for part in ("qkv", "proj"):
        time, name = block.get_submodule(f"attn_time.{part}").weight, f"blocks.0.attn_time.{part}.weight"
        assert time.equal(block.get_submodule(f"attn_space.{part}").weight) == (scheme == "copied")
        assert (name in report.fresh) == (scheme != "copied")
        if scheme == "random":
            assert time.equal(before[name])


@pytest.mark.parametrize(("scheme", "learns"), [("zero_projection", True), ("zero", False)])
def test_the_default_scheme_learns_and_the_papers_does_not(scheme: str, learns: bool) -> None:
    """The default passes a gradient to its projection at once, and after one step to everything; the paper's to the
    output bias alone, however many steps."""
    model = video_model("fsa", tubelet_size=(2, 8, 8)).train()
    started(image_of(timm_vit()), model, temporal_attention=scheme)
    nn.init.normal_(model.head.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 6, 16, 24)).square().sum().backward()
        moved = {
            name.split(".", 2)[2]
            for name, p in model.named_parameters()
            if "_time" in name and p.grad is not None and p.grad.abs().max() > 0
        }
        if step == 0:
            assert moved == ({"attn_time.proj.weight", "attn_time.proj.bias"} if learns else {"attn_time.proj.bias"})
        optimizer.step()
    every = {name.split(".", 2)[2] for name, _ in model.named_parameters() if "_time" in name}
    assert moved == (every if learns else {"attn_time.proj.bias"})


def test_the_class_token_of_model_2_is_the_images_or_its_own() -> None:
    image = image_of(timm_vit())
    for option, expected in (("image", image.tensors["cls_token"].flatten()), ("fresh", torch.zeros(24))):
        model = video_model("fe")
        report = started(image, model, spatial_class_token=option)
        assert model.spatial_encoder.cls_token.equal(expected)
        assert all(name.startswith(("temporal_encoder.", "head.", "spatial_encoder.cls")) for name in report.fresh)


def test_everything_may_differ_that_is_not_the_networks_size_and_is_reported() -> None:
    """Patches, channels, a grid that is no square; the class row of the table stays, gray answers as color does."""
    image = image_of(timm_vit(in_chans=3))
    model = video_model("joint", tubelet_size=(2, 4, 4), image_size=(12, 20), in_channels=1)
    report = started(image, model)
    assert [note for note in report.notes if ":" in note and "taken for granted" not in note] == [
        "channels: 3 of the image model resampled to 1",
        "patches: 8x8 of the image model resampled to 4x4",
        "positions: 2x3 of the image model resized to 3x5",
    ]
    table = model.encoder.pos_embed.table
    assert table[0].equal(image.tensors["pos_embed"][0][0])
    times = table[1:].unflatten(0, (3, 15))
    assert times[0].equal(times[2])
    corners = image.tensors["pos_embed"][0][1:].unflatten(0, (2, 3))[::1, ::2].flatten(0, 1)
    torch.testing.assert_close(times[0].unflatten(0, (3, 5))[::2, ::4].flatten(0, 1), corners)  # end points stay


def test_the_head_and_the_layer_before_it() -> None:
    image = image_vit_of_flax(representation_size=8)
    same, other = video_model("joint", representation_size=8), video_model("joint", representation_size=6)
    assert "pre_logits.0.weight" not in started(image, same).fresh
    assert same.pre_logits[0].weight.equal(image.tensors["pre_logits.fc.weight"])
    assert {"pre_logits.0.weight", "head.weight"} <= set(started(image, other).fresh)
    kept = video_model("joint", representation_size=8, num_classes=5)
    assert not started(image, kept, keep_head=True).fresh
    assert kept.head.weight.equal(image.tensors["head.weight"])


def image_vit_of_flax(**options: Any) -> PlainViT:
    return image_vit(to_scenic(flax_image(**options)), "flax", image_grid=(2, 3))


def test_another_gelu_than_the_images_is_said() -> None:
    model = video_model("joint", activation="gelu_tanh", norm_eps=1e-5)
    notes = started(image_of(timm_vit()), model).notes
    assert "activation: the image model was trained with gelu, the recipe sets gelu_tanh" in notes
    assert "norm_eps: the image model was trained with 1e-06, the recipe sets 1e-05" in notes


@pytest.mark.parametrize(
    ("kind", "fields", "options", "message"),
    [
        ("joint", {"depth": 3}, {}, "the image model vit has depth 2, the video model depth 3; choose a model of the"),
        ("joint", {"num_heads": 2}, {}, "num_heads 4, the video model num_heads 2"),
        ("joint", {"image_size": (24, 24)}, {"positions": "tile"}, "positions=tile needs the same grid in space"),
        ("joint", {}, {"positions": "resize"}, "takes all 18 tokens of 3x2x3 as one square grid"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    kind: str, fields: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        started(image_of(timm_vit()), video_model(kind, **fields), **options)
    assert_one_line(caught, message)


@pytest.mark.parametrize(
    ("kind", "fields", "options"),
    [
        ("joint", {}, {"temporal_attention": "copied"}),
        ("joint", {}, {"spatial_class_token": "fresh"}),
        ("fe", {"global_pool": "avg"}, {"spatial_class_token": "fresh"}),
        ("fe", {"tubelet_size": (1, 8, 8), "num_sampled_frames": 2}, {"tokenizer": "inflation"}),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(kind: str, fields: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"init\.{next(iter(options))}"):
        started(image_of(timm_vit()), video_model(kind, **fields), **options)


@pytest.mark.soak
def test_a_vit_b_of_timm_gives_its_features_at_real_size() -> None:
    import timm

    from tubelet.models import create_model

    torch.manual_seed(0)
    image = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
    model = create_model("vivit_b16x2_fe", num_frames=4, activation="gelu").eval()
    state, _ = from_image(image_vit(image.state_dict(), "vit"), model, InitConfig(source="vit"))
    model.load_state_dict(state)
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        vectors = model.encode_frames(still(x, 4)).vectors
        features = image.forward_features(x)[:, :1]
    assert (vectors - features).abs().max() < 1e-4
