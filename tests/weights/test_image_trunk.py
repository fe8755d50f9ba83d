"""Trunks from every pretraining of the paper's table: per-frame tokens are timm's own on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.models.uniformerv2.trunk_fields import trunk_fields
from weights.image_models import clip_names, from_image_model

# Pretraining of the paper's table -> the timm model that has it.
PRETRAININGS = {
    "CLIP": "vit_base_patch16_clip_quickgelu_224.openai",
    "open_clip": "vit_base_patch16_clip_224.laion2b",
    "supervised": "vit_base_patch16_224.augreg_in21k",
    "DeiT III": "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "DINO": "vit_base_patch16_224.dino",
    "MAE": "vit_base_patch16_224.mae",
    "BEiT": "beit_base_patch16_224.in22k_ft_in22k",
}
SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 4}


def image_model(name: str, side: int = 48, **options: Any) -> Any:
    """timm's model, small and with random values in every parameter, so that scales and biases count."""
    model = timm.create_model(name.partition(".")[0], img_size=side, num_classes=7, **{**SMALL, **options})
    for key, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in key and key.endswith("weight") else 0.0, std=0.2)
    return model.eval()


def video_model(name: str, wiring: str = "", **options: Any) -> Any:
    """Ours for that pretraining, as small."""
    fields = {**trunk_fields(name), **SMALL, "image_size": (48, 48), "global_layers": 2, "num_classes": 5, **options}
    return create_model(f"uniformerv2_b16{wiring}", **fields).eval()


def tokens_of(model: Any, images: Tensor) -> Tensor:
    """timm's tokens behind the last block; the final norm is not part of a trunk."""
    model.norm = nn.Identity()
    return model.forward_features(images)


@pytest.mark.parametrize("wiring", ["", "_ssv2"])
@pytest.mark.parametrize("pretraining", PRETRAININGS)
def test_per_frame_tokens_are_timm_s(pretraining: str, wiring: str) -> None:
    name = PRETRAININGS[pretraining]
    image, video = image_model(name), video_model(name, wiring)
    state, report = from_image_model(image.state_dict(), video)
    video.load_state_dict(state)
    trunk = {n for n in video.state_dict() if n.startswith("trunk.") and ".local" not in n}
    assert {tensor.target for tensor in report.filled} == trunk
    assert set(report.dropped) <= {
        f"{part}.{kind}" for part in ("norm", "fc_norm", "head") for kind in ("weight", "bias")
    }
    clip = torch.randn(2, 3, 4, 48, 48)
    with torch.inference_mode():
        (ours,), class_tokens, _ = video.trunk(clip, (2,))
        seen = clip[:, :, ::2] if wiring else clip  # the stem that halves the frames starts with every second one
        theirs = tokens_of(image, seen.transpose(1, 2).flatten(0, 1)).unflatten(0, seen.shape[:1] + seen.shape[2:3])
        logits = video(clip)
    scale = theirs.abs().max()
    assert (ours - theirs).abs().max() / scale < 1e-4
    # Logits depend on frames through their class tokens alone.
    torch.testing.assert_close(class_tokens, ours[:, :, 0])
    torch.testing.assert_close(logits, video.head(video.norm(0.5 * theirs[:, :, 0].mean(1))), atol=1e-4, rtol=1e-4)


def test_what_a_pretraining_changed_is_read_from_timm() -> None:
    style = {name: trunk_fields(full)["trunk"] for name, full in PRETRAININGS.items()}
    assert [n for n, s in style.items() if s["pre_norm"]] == ["CLIP", "open_clip"]
    assert [n for n, s in style.items() if not s["patch_bias"]] == ["CLIP", "open_clip"]
    assert [n for n, s in style.items() if s["activation"] == "quick_gelu"] == ["CLIP"]
    assert [n for n, s in style.items() if s["norm_eps"] == 1e-5] == ["CLIP", "open_clip"]
    assert [n for n, s in style.items() if s["layer_scale"]] == ["DeiT III", "BEiT"]
    assert {n: s["position"] for n, s in style.items() if s["position"] != "class_and_patches"} == {
        "DeiT III": "patches",
        "BEiT": "relative",
    }
    assert trunk_fields("vit_large_patch14_clip_quickgelu_336.openai") | {"trunk": None} == {
        "patch_size": 14,
        "image_size": (336, 336),
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "trunk": None,
    }


@pytest.mark.parametrize("pretraining", ["CLIP", "DeiT III", "BEiT"])
def test_another_image_size_interpolates_positions_and_says_so(pretraining: str) -> None:
    name = PRETRAININGS[pretraining]
    image, video = image_model(name, side=64), video_model(name, image_size=(48, 80))
    state, report = from_image_model(image.state_dict(), video)
    video.load_state_dict(state)
    assert len(report.notes) == 1
    if pretraining == "BEiT":
        assert "7x7 offsets resized to the grid (3, 5)" in report.notes[0]
    else:
        prefix = int(pretraining == "CLIP")
        assert report.notes == ("positions: grid 4x4 resized to 3x5 (bicubic)",)
        expected = resample_abs_pos_embed(image.pos_embed, [3, 5], [4, 4], prefix)
        torch.testing.assert_close(state["trunk.pos_embed.table"], expected[0])
    assert video(torch.randn(1, 3, 2, 48, 80)).isfinite().all()


@pytest.mark.parametrize("whole", [False, True])
def test_clip_by_its_own_names_is_the_same_trunk(whole: bool) -> None:
    name = PRETRAININGS["CLIP"]
    image, video = image_model(name), video_model(name)
    expected, _ = from_image_model(image.state_dict(), video)
    tower = clip_names(image.state_dict())
    if whole:  # the text tower's names are the image tower's once the prefix is cut
        text = {key: torch.randn(3) for key in ("positional_embedding", "transformer.resblocks.0.ln_1.weight")}
        tower = {**{f"visual.{key}": tensor for key, tensor in tower.items()}, **text, "logit_scale": torch.ones(())}
    state, report = from_image_model(tower, video)
    assert set(report.dropped) == {"proj", "norm.weight", "norm.bias"}
    for key, tensor in expected.items():
        assert torch.equal(state[key], tensor), key


def test_openai_s_mixture_of_half_and_full_precision_is_read_and_said() -> None:
    """Linear layers and convolutions in half, norms and embeddings in full, as OpenAI's code leaves them."""
    name = PRETRAININGS["CLIP"]
    video = video_model(name)
    tower = clip_names(image_model(name).state_dict())
    mixed = {k: t if "ln_" in k or "embedding" in k else t.half() for k, t in tower.items()}
    text = {"text_projection": torch.randn(8, 8).half(), "input_resolution": torch.tensor(48)}
    state, report = from_image_model({**{f"visual.{k}": t for k, t in mixed.items()}, **text}, video)
    expected, plain = from_image_model({k: t.float() for k, t in mixed.items()}, video)
    for key, tensor in expected.items():
        assert torch.equal(state[key], tensor), key
    assert [note for note in report.notes if note not in plain.notes] == [
        "torch.float16 and torch.float32 side by side, as OpenAI's CLIP is kept: all converted to torch.float32"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.1.mlp.fc1.weight": None}, "needs blocks.1.mlp.fc1.weight, which the source lacks"),
        ({"blocks.0.attn.q_norm.weight": torch.ones(12)}, "blocks.0.attn.q_norm.weight .* is not used"),
        ({"cls_token": torch.full((1, 1, 48), float("nan"))}, "cls_token holds values that are not finite"),
        ({"pos_embed": torch.randn(1, 12, 48)}, "position table has 12 rows"),
        ({"patch_embed.proj.weight": torch.randn(48, 3, 8, 8)}, "stem.proj.weight has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor | None], message: str) -> None:
    source = {**image_model(PRETRAININGS["supervised"]).state_dict(), **change}
    with pytest.raises(CheckpointError, match=message):
        from_image_model({k: v for k, v in source.items() if v is not None}, video_model(PRETRAININGS["supervised"]))


def test_weights_of_another_pretraining_than_the_model_is_made_for_are_refused() -> None:
    for weights, model in (
        ("CLIP", "supervised"),
        ("supervised", "CLIP"),
        ("BEiT", "supervised"),
        ("DINO", "DeiT III"),
    ):
        with pytest.raises(CheckpointError):
            from_image_model(image_model(PRETRAININGS[weights]).state_dict(), video_model(PRETRAININGS[model]))
    with pytest.raises(CheckpointError, match="no image ViT: expected names of timm"):
        from_image_model({"conv1.weight": torch.ones(3)}, video_model(PRETRAININGS["CLIP"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_244", "timm has no model 'vit_base_patch16_244'; did you mean 'vit_base_patch16_224'"),
        ("resnet50", "timm's resnet50 is no ViT with a class token"),
        ("vit_base_patch16_siglip_224", "no ViT with a class token"),
    ],
)
def test_only_plain_image_vits_can_be_trunks(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        trunk_fields(name)
