"""Every model serves other training loops in timm's conventions: features, head, a new classifier, parameter groups."""

from __future__ import annotations

import copy
import io
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_model, save_model
from test_options import NOT_OURS, TINY, classes
from timm.optim import param_groups_layer_decay
from torch import Tensor

from tubelet.models import FAMILIES, create_model
from tubelet.nn.video_model import VideoModel
from tubelet.training.optim.groups import group_parameters

OURS = [
    (name, TINY[family.name], (4, 16, 16))
    for family in FAMILIES
    if family.name not in NOT_OURS
    for name in classes(family).values()
]
THEIRS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("torchvision/r3d_18", {"num_classes": 3}, (4, 32, 32)),
    ("torchvision/s3d", {"num_classes": 3}, (14, 224, 224)),
    ("torchvision/mvit_v2_s", {"num_classes": 3}, (16, 224, 224)),
    ("torchvision/swin3d_t", {"num_classes": 3, "image_size": (32, 32), "num_frames": 4}, (4, 32, 32)),
]
every_model = pytest.mark.parametrize(("name", "fields", "size"), OURS + THEIRS, ids=lambda value: str(value)[:28])
each_of_ours = pytest.mark.parametrize(("name", "fields", "size"), OURS, ids=lambda value: str(value)[:28])


def made(name: str, fields: dict[str, Any], **others: Any) -> VideoModel:
    """A model in eval mode whose head gives other logits for other clips."""
    torch.manual_seed(0)
    model = cast(VideoModel, create_model(name, **{**fields, **others}).eval())
    for parameter in model.get_classifier().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def clip_of(size: tuple[int, int, int]) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


@every_model
@torch.inference_mode()
def test_head_of_features_is_forward_and_tokens_lie_on_their_grid(
    name: str, fields: dict[str, Any], size: tuple[int, int, int]
) -> None:
    model, clip = made(name, fields), clip_of(size)
    logits = model(clip)
    features = model.forward_features(clip)
    embedding = model.forward_head(features, pre_logits=True)
    assert torch.equal(model.forward_head(features), logits) or "s3d" in name
    torch.testing.assert_close(model.forward_head(features), logits)
    assert embedding.shape == (1, model.num_features)
    tokens = model.tokens(clip)
    assert tokens.ndim == 5
    assert tokens.shape[0] == 1
    assert torch.isfinite(tokens).all()
    if "fe" not in name and "vtn" not in name:  # their last stage is over time alone
        assert min(tokens.shape[2:4]) > 0

    encoder = copy.deepcopy(model)
    encoder.reset_classifier(0)
    torch.testing.assert_close(encoder(clip), embedding)
    encoder.reset_classifier(5)
    assert encoder.forward_head(features).shape == (1, 5)
    assert (encoder.config.num_classes, model.config.num_classes) == (5, 3)


@each_of_ours
@torch.inference_mode()
def test_without_classes_a_model_is_an_encoder(name: str, fields: dict[str, Any], size: tuple[int, int, int]) -> None:
    encoder = made(name, fields, num_classes=0)
    assert not list(encoder.get_classifier().parameters())
    assert encoder(clip_of(size)).shape == (1, encoder.num_features)


@every_model
def test_layer_decay_of_timm_gives_the_groups_of_ours(
    name: str, fields: dict[str, Any], size: tuple[int, int, int]
) -> None:
    model = made(name, fields)
    ours = {
        parameter: (group.lr_scale, group.weight_decay)
        for group in group_parameters(model, weight_decay=0.05, layer_decay=0.7)
        for parameter in group.names
    }
    names = {id(parameter): parameter_name for parameter_name, parameter in model.named_parameters()}
    timms = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(
            model, weight_decay=0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.7
        )
        for parameter in group["params"]
    }
    assert ours.keys() == timms.keys()
    assert all(ours[key] == pytest.approx(timms[key]) for key in ours)


@each_of_ours
@torch.inference_mode()
def test_files_of_safetensors_and_lora_of_peft_work_on_a_model(
    name: str, fields: dict[str, Any], size: tuple[int, int, int], tmp_path: Any
) -> None:
    model, clip = made(name, fields), clip_of(size)
    logits = model(clip)
    save_model(model, str(tmp_path / "model.safetensors"))
    other = cast(VideoModel, create_model(name, **fields).eval())
    load_model(other, str(tmp_path / "model.safetensors"))
    assert torch.equal(other(clip), logits)
    adapted = get_peft_model(other, LoraConfig(r=2, target_modules=r".*\.(qkv|query|value)"))
    assert torch.equal(adapted(clip), logits)  # an adapter begins at zero


@pytest.mark.parametrize("name", ["vivit_ti16x2_joint", "timesformer_b16_joint"])
@torch.inference_mode()
def test_an_exported_program_gives_the_logits_of_the_model(name: str) -> None:
    family = name.split("_")[0]
    model, clip = made(name, TINY[family]), clip_of((4, 16, 16))
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (clip,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(clip), model(clip))
