"""An image ViT of any library, brought to timm's names, computes what its own library computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from support import assert_one_line
from tubelet.errors import CheckpointError
from tubelet.models.vivit.weights import to_scenic
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source, resolve_source
from tubelet.weights.mapping.image_model import UnsuitedImageError
from tubelet.weights.mapping.plain_vit import PlainViT
from weights.image_models import flax_image, image_vit, one_frame_model, pictures, randomized, timm_folder, timm_vit


def logits(image: PlainViT, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return one_frame_model(image)(x.unsqueeze(2))


def read(path: Path, **options: Any) -> PlainViT:
    image = read_source(InitConfig(source=str(path), **options), "vivit_ti16x2_joint")
    assert isinstance(image, PlainViT)
    return image


@pytest.mark.parametrize(
    "options",
    [{}, {"init_values": 0.1}, {"no_embed_class": True}, {"qkv_bias": False}, {"in_chans": 1}, {"num_classes": 0}],
    ids=["plain", "layer scale", "no row for the class token", "no bias", "gray", "no classifier"],
)
def test_a_model_of_timm_gives_its_own_logits(tmp_path: Path, options: dict[str, Any]) -> None:
    model = timm_vit(**options)
    image = read(timm_folder(tmp_path / "vit", model, **options))
    x = pictures(channels=options.get("in_chans", 3))
    with torch.inference_mode():
        if options.get("num_classes") == 0:
            assert "head.weight" not in image.tensors
            twin = one_frame_model(image)
            actual = twin.encoder(*twin.tokenizer(x.unsqueeze(2)))
            torch.testing.assert_close(actual, model.forward_features(x), rtol=1e-5, atol=1e-5)
        else:
            torch.testing.assert_close(logits(image, x), model(x), rtol=1e-5, atol=1e-5)
    assert (image.facts.mean, image.facts.std, image.grid) == ((0.4,) * 3, (0.2,) * 3, (2, 3))
    assert not image.notes


def test_a_file_of_timm_needs_the_grid_where_it_is_no_square(tmp_path: Path) -> None:
    model = timm_vit()
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(CheckpointError, match=r"has 6 rows for patches, which is not a grid of 2x2; give init.image_"):
        read(tmp_path / "vit.safetensors")
    image = read(tmp_path / "vit.safetensors", image_grid=(2, 3))
    assert image.facts.num_heads is None
    assert "activation=gelu, norm_eps=1e-06 taken for granted" in image.notes[0]
    known = replace(image, facts=replace(image.facts, num_heads=4))
    x = pictures()
    with torch.inference_mode():
        torch.testing.assert_close(logits(known, x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", ["gelu", "gelu_fast"])
def test_a_folder_of_huggingface_gives_its_own_logits(tmp_path: Path, act: str) -> None:
    config = ViTConfig(
        **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40},
        **{"hidden_act": act, "image_size": 16, "patch_size": 8, "layer_norm_eps": 1e-3, "num_labels": 5},
    )
    model = randomized(ViTForImageClassification(config))
    model.save_pretrained(tmp_path / "vit")
    image = read(tmp_path / "vit")
    x = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(logits(image, x), model(x).logits, rtol=1e-5, atol=1e-5)
    assert not image.notes


@pytest.mark.parametrize("numbered_in_one_count", [False, True], ids=["scenic", "vision_transformer"])
@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}, {"representation_size": 8}], ids=str)
def test_flax_weights_come_back_whole(tmp_path: Path, options: dict[str, Any], numbered_in_one_count: bool) -> None:
    model = flax_image(**options)
    arrays = {name: tensor.numpy() for name, tensor in to_scenic(model).items()}
    if numbered_in_one_count:
        new = {"Attention_0": "Attention_1", "LayerNorm_1": "LayerNorm_2", "MlpBlock_0": "MlpBlock_3"}
        for old, later in (*new.items(), ("output_projection", "head")):
            arrays = {name.replace(old, later): array for name, array in arrays.items()}
    np.savez(tmp_path / "vit.npz", **arrays)
    image = read(tmp_path / "vit.npz", image_grid=(2, 3))
    x = pictures()
    with torch.inference_mode():
        assert logits(image, x).equal(model(x.unsqueeze(2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pre_norm": True}, "has a norm before its blocks (norm_pre.weight), which a ViViT has no place for"),
        ({"reg_tokens": 2}, "has register tokens (reg_token), which a ViViT has no place for"),
        ({"qk_norm": True}, "has norms of queries and keys (blocks.0.attn.q_norm)"),
    ],
)
def test_parts_that_a_vivit_has_no_place_for_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        image_vit(timm_vit(**options).state_dict(), "vit", {"num_heads": 4}, (2, 3))
    assert_one_line(caught, "vit: ", message)


def test_what_is_no_image_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsuitedImageError, match="no image ViT: expected the names of timm"):
        image_vit({"conv1.weight": torch.zeros(1)}, "resnet")
    for source in ("vit_base_patch16_225", "missing.safetensors", str(tmp_path / "none")):
        with pytest.raises(CheckpointError, match="no such file or folder, no model of timm"):
            read_source(InitConfig(source=source))
    with pytest.raises(
        CheckpointError, match=r"timm has no weights 'foo' of vit_base_patch16_224; it has .*augreg_in21k"
    ):
        resolve_source("vit_base_patch16_224.foo")


def test_a_model_of_timm_is_kept_with_the_tag_of_its_weights(tmp_path: Path) -> None:
    assert resolve_source("vit_base_patch16_224") == "vit_base_patch16_224.augreg2_in21k_ft_in1k"
    assert resolve_source(str(tmp_path)) == str(tmp_path.resolve())
    assert resolve_source("owner/name") == "owner/name"
