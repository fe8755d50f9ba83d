"""VTN and UniFormerV2 from image weights: per frame the new model computes what the image network computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from support import PROTOCOL, assert_one_line
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model
from tubelet.weights.config import InitConfig
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import model_fields, read_source
from tubelet.weights.init.suggest import suggested_recipe
from weights.image_models import clip_names, randomized

VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}
CAIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
BEIT: dict[str, Any] = {**VIT}
RESNET: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8}
CONVNEXT: dict[str, Any] = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24]}
# What of a VTN is not the backbone, small.
VTN: dict[str, Any] = {"name": "vtn_vit_b16", "num_heads": 2, "hidden_dim": 32, "head_dim": 16, "depth": 1}
TRUNK: dict[str, Any] = {"name": "uniformerv2_b16", "embed_dim": 24, "depth": 2, "num_heads": 4, "patch_size": 8}
CLIP, LAION = "vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_clip_224"  # QuickGELU, GELU
TRUNKS = ("vit_base_patch16_224", "deit3_base_patch16_224", "beit_base_patch16_224")


def image_network(architecture: str, **options: Any) -> Any:
    """timm's network, every parameter and every running statistic random."""
    model = randomized(timm.create_model(architecture, num_classes=5, **options))
    generator = torch.Generator().manual_seed(4)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model


def folder_of(path: Path, architecture: str, model: nn.Module, tag: str = "", **options: Any) -> Path:
    """A folder as timm's own files on the hub are."""
    path.mkdir()
    save_file(model.state_dict(), path / "model.safetensors")
    pretrained = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "input_size": [3, 32, 32], "tag": tag}
    content = {"architecture": architecture, "num_classes": 5, "model_args": options, "pretrained_cfg": pretrained}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def started(source: Path, model: dict[str, Any], **init: Any) -> tuple[Any, dict[str, Any]]:
    """A model of the recipe's fields with the weights of ``source``, and the account, as a run makes them."""
    config = InitConfig(source=str(source), **init)
    read = read_source(config, model["name"])
    fields = {**model_fields(read, model), **{k: v for k, v in model.items() if k != "name"}}
    for group in ("trunk", "backbone_fields"):
        if group in model:
            fields[group] = {**model_fields(read, model).get(group, {}), **model[group]}
    torch.manual_seed(0)
    new = create_model(model["name"], num_classes=8, **{"num_frames": 4, "image_size": [32, 32], **fields}).eval()
    return new, initialize(new, read, config, PROTOCOL)


def frames_of(clip: Tensor) -> Tensor:
    return clip.transpose(1, 2).flatten(0, 1)  # B*T C H W


@pytest.mark.parametrize(
    ("architecture", "options", "in_classifier"),
    [
        ("vit_base_patch16_224", VIT, "head."),
        ("beit_base_patch16_224", BEIT, "head."),
        ("cait_xxs24_224", CAIT, "head."),  # takes img_size; no class token among its positions
        (CLIP, VIT, "head."),
        ("resnet50", RESNET, "fc."),
        ("convnext_tiny", CONVNEXT, "head.fc."),
    ],
)
def test_frame_vectors_of_a_vtn_are_the_features_of_any_timm_network(
    tmp_path: Path, architecture: str, options: dict[str, Any], in_classifier: str
) -> None:
    """The weights say which backbone it is, and its own options; heads are set where the width asks for it."""
    image = image_network(architecture, **options)
    model, account = started(folder_of(tmp_path / "net", architecture, image, **options), VTN)
    assert model.config.backbone == architecture
    assert {row["sources"][0].startswith(in_classifier) for row in account["rows"] if not row["target"]} == {True}
    assert all(not name.startswith("backbone.") for name in account["fresh"])
    clip = torch.randn(2, 3, 4, 32, 32)
    image.reset_classifier(0)
    with torch.inference_mode():
        expected = image(frames_of(clip)).unflatten(0, (2, 4))
        torch.testing.assert_close(model.encode_frames(clip).vectors, expected, rtol=1e-4, atol=1e-4)
    assert account["notes"][-2].startswith("pixels: the weights were trained with mean 0.4,0.4,0.4")


def test_a_vtn_takes_another_size_and_other_channels_and_says_so(tmp_path: Path) -> None:
    image = image_network("vit_base_patch16_224", **VIT)
    folder = folder_of(tmp_path / "net", "vit_base_patch16_224", image, **VIT)
    model, account = started(folder, {**VTN, "image_size": [16, 48], "in_channels": 1})
    assert account["notes"][:2] == ["channels: 3 of the image network resampled to 1",
                                    "positions: grid 4x4 resized to 2x6 (bicubic)"]  # fmt: skip
    kernel = model.get_parameter("backbone.patch_embed.proj.weight")
    torch.testing.assert_close(kernel, image.patch_embed.proj.weight.sum(1, keepdim=True))
    expected = timm.layers.resample_abs_pos_embed(image.pos_embed, [2, 6], [4, 4], 1)
    torch.testing.assert_close(model.get_parameter("backbone.pos_embed"), expected)


def test_weights_alone_fit_the_named_backbone_and_counters_may_be_missing(tmp_path: Path) -> None:
    image = image_network("resnet50", **RESNET)
    file = tmp_path / "resnet.safetensors"
    save_file({n: t for n, t in image.state_dict().items() if not n.endswith("num_batches_tracked")}, file)
    model, account = started(file, {**VTN, "backbone": "resnet50", "backbone_fields": RESNET})
    assert model.backbone.bn1.running_var.equal(image.bn1.running_var)
    assert "backbone.bn1.num_batches_tracked" in account["fresh"]
    with pytest.raises(CheckpointError) as caught:
        started(file, VTN)
    assert_one_line(caught, "weights do not fit VTN: backbone.cls_token needs cls_token, which the source lacks")


@pytest.mark.parametrize("architecture", [*TRUNKS, CLIP, LAION])
@pytest.mark.parametrize("wiring", ["", "_ssv2"])
def test_tokens_of_a_uniformerv2_are_the_image_models(tmp_path: Path, architecture: str, wiring: str) -> None:
    """The style of the trunk comes along, whatever the named model's own is."""
    image = image_network(architecture, **VIT)
    folder = folder_of(tmp_path / "net", architecture, image, **VIT)
    model, account = started(folder, {**TRUNK, "name": f"uniformerv2_b16{wiring}", "global_layers": 1})
    assert model.config.trunk.pre_norm == (architecture not in TRUNKS)
    assert (model.config.trunk.activation == "quick_gelu") == (architecture == CLIP)
    assert {name.split(".")[0] for name in account["fresh"]} <= {"trunk", "fusion", "pool", "norm", "head"}
    assert all(".local" in name for name in account["fresh"] if name.startswith("trunk."))
    clip = torch.randn(1, 3, 4, 32, 32)
    seen = clip[:, :, ::2] if wiring else clip
    image.norm = nn.Identity()
    with torch.inference_mode():
        (ours,), _, _ = model.trunk(clip, (1,))
        theirs = image.forward_features(frames_of(seen)).unflatten(0, (1, -1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_a_file_alone_says_its_trunk_but_not_its_activation(tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    save_file(image_network(CLIP, **VIT).state_dict(), file)
    model, account = started(file, {**TRUNK, "global_layers": 1})
    assert vars(model.config.trunk) == vars(type(model.config.trunk)())  # CLIP's
    assert account["notes"][0] == (
        "activation=quick_gelu, norm_eps=1e-05 taken for granted, not in the weights: so OpenAI's CLIP was trained; "
        "what open_clip trained itself (LAION, DataComp) mostly needs --model.trunk.activation gelu"
    )
    assert account["notes"][1] == "num_heads is not in the image model's weights: 4 of the video model"
    other, account = started(file, {**TRUNK, "global_layers": 1, "trunk": {"activation": "gelu"}})
    assert (other.config.trunk.activation, other.config.trunk.pre_norm) == ("gelu", True)
    assert account["notes"][0].startswith("activation=gelu, norm_eps=1e-05 taken")


def test_clip_weights_that_timm_has_under_two_names_compute_with_quick_gelu(tmp_path: Path) -> None:
    """The folder of OpenAI's weights names the network with GELU."""
    plain = CLIP.replace("_quickgelu", "")
    folder = folder_of(tmp_path / "net", plain, image_network(CLIP, **VIT), "openai", **VIT)
    model, account = started(folder, {**TRUNK, "global_layers": 1})
    assert model.config.trunk.activation == "quick_gelu"
    assert account["notes"][0] == f"{plain} with QuickGELU, which these weights were trained with: {CLIP}"
    other = folder_of(tmp_path / "other", plain, image_network(plain, **VIT), "laion2b", **VIT)
    model, account = started(other, {**TRUNK, "global_layers": 1})
    assert model.config.trunk.activation == "gelu"


@pytest.mark.parametrize("quick", [None, True, False])
@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_folder_of_open_clip_says_its_activation(tmp_path: Path, name: str, quick: bool | None) -> None:
    """Under open_clip's own names, text tower and all; without ``quick_gelu`` in its config it computes with GELU."""
    architecture = CLIP if quick else CLIP.replace("_quickgelu", "")
    image = image_network(architecture, **VIT)
    tower = {f"visual.{key}": tensor.contiguous() for key, tensor in clip_names(image.state_dict()).items()}
    tower |= {
        "positional_embedding": torch.randn(77, 8),
        "logit_scale": torch.ones(()),
        "text_projection": torch.ones(2),
    }
    (save_file if name.endswith("safetensors") else torch.save)(tower, tmp_path / name)
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 6, "patch_size": 8}
    content: dict[str, Any] = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision}}
    content["model_cfg"] |= {} if quick is None else {"quick_gelu": quick}
    content["preprocess_cfg"] = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    model, account = started(tmp_path, {**TRUNK, "global_layers": 1})
    assert model.config.trunk.activation == ("quick_gelu" if quick else "gelu")
    assert not any("taken for granted" in note for note in account["notes"])
    assert any("trained with mean 0.4,0.4,0.4" in note for note in account["notes"])
    clip = torch.randn(1, 3, 2, 32, 32)
    image.norm = nn.Identity()
    with torch.inference_mode():
        (ours,), _, _ = model.trunk(clip, (1,))
        theirs = image.forward_features(frames_of(clip)).unflatten(0, (1, -1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    suggested, _ = suggested_recipe(read_source(InitConfig(source=str(tmp_path))))
    assert suggested["name"] == "uniformerv2_ti16"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_cfg": {}}, "does not describe a CLIP of open_clip (KeyError('vision_cfg'))"),
        (
            {"model_cfg": {"vision_cfg": {"timm_model_name": "convnext_base"}}},
            "its image tower is timm's convnext_base",
        ),
        ([], "does not describe a CLIP"),
    ],
)
def test_a_folder_of_open_clip_that_holds_something_else_is_one_line(
    tmp_path: Path, content: Any, message: str
) -> None:
    save_file({"visual.conv1.weight": torch.ones(1)}, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        started(tmp_path, TRUNK)
    assert_one_line(caught, message)


def test_one_channel_and_another_size_of_a_trunk_are_said(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "net", CLIP, image_network(CLIP, **VIT), **VIT)
    model, account = started(folder, {**TRUNK, "global_layers": 1, "in_channels": 1, "image_size": [16, 32]})
    assert account["notes"][:2] == [
        "channels: 3 of the image model resampled to 1",
        "positions: grid 4x4 resized to 2x4 (bicubic)",
    ]
    assert model(torch.randn(1, 1, 2, 16, 32)).isfinite().all()


@pytest.mark.parametrize("model", [VTN, {**TRUNK, "global_layers": 1}])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tokenizer", "inflation"),
        ("positions", "tile"),
        ("temporal_attention", "copied"),
        ("spatial_class_token", "fresh"),
        ("keep_head", True),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, model: dict[str, Any], option: str, value: Any) -> None:
    folder = folder_of(tmp_path / "net", "vit_base_patch16_224", image_network("vit_base_patch16_224", **VIT), **VIT)
    with pytest.raises(ConfigError) as caught:
        started(folder, model, **{option: value})
    assert_one_line(caught, f"init.{option}", "leave it out")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**TRUNK, "depth": 3}, "has depth 2, the video model 3"),
        ({**TRUNK, "num_heads": 2}, "has num_heads 4, the video model num_heads 2"),
        ({**TRUNK, "patch_size": 16}, "set --model.patch_size 8"),
        ({**VTN, "backbone": "resnet50"}, "weights do not fit VTN: backbone.conv1.weight needs conv1.weight"),
        ({"name": "timesformer_ti16_divided"}, "has shape"),
        ({"name": "torchvision/r3d_18"}, "TorchvisionVideo starts from a checkpoint of its own kind"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    folder = folder_of(tmp_path / "net", "vit_base_patch16_224", image_network("vit_base_patch16_224", **VIT), **VIT)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        started(folder, {"global_layers": 1, **model} if "uniformer" in model["name"] else model)
    assert_one_line(caught, message.replace("the video model 3", "the video model depth 3"))


@pytest.mark.parametrize(
    ("architecture", "options", "name", "fields"),
    [
        ("vit_base_patch16_224", VIT, "vivit_ti16x2_fe", {"embed_dim": 24}),
        (CLIP, VIT, "uniformerv2_ti16", {"embed_dim": 24, "depth": 2, "num_heads": 4, "patch_size": 8}),
        ("beit_base_patch16_224", VIT, "uniformerv2_ti16", {"embed_dim": 24}),
        ("resnet50", RESNET, "vtn_r50", {}),
        ("convnext_tiny", CONVNEXT, "vtn_vit_b16", {}),
    ],
)
def test_without_a_model_the_weights_say_which(
    tmp_path: Path, architecture: str, options: dict[str, Any], name: str, fields: dict[str, Any]
) -> None:
    folder = folder_of(tmp_path / "net", architecture, image_network(architecture, **options), **options)
    model, protocol = suggested_recipe(read_source(InitConfig(source=str(folder))))
    assert model["name"] == name
    assert {key: model[key] for key in fields} == fields
    assert (protocol["crop_size"], protocol["mean"]) == ([32, 32], [0.4, 0.4, 0.4])


def test_a_network_that_timm_does_not_know_is_one_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "net", "no_such_network", nn.Linear(2, 2))
    for name in ("uniformerv2_b16", "vtn_vit_b16"):
        with pytest.raises((CheckpointError, ConfigError)) as caught:
            started(folder, {"name": name})
        assert_one_line(caught, "timm has no model 'no_such_network'")
