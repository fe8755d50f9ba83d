"""torchvision's networks behind tubelet's interface: the same function, and clips that they cannot take refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights, list_models, video

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model, model_config
from tubelet.models import list_models as list_tubelet_models
from tubelet.models.torchvision.model import NETWORKS
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record, load_checkpoint, save_checkpoint

NAMES = list_tubelet_models("torchvision/")


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


def test_every_video_network_of_torchvision_is_there() -> None:
    assert {name.removeprefix("torchvision/") for name in NAMES} == set(list_models(module=video)) == set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_those_that_torchvision_states(name: str) -> None:
    """torchvision counts its multiply-adds on 16 frames, whatever number it trained on."""
    config, model = model_config(name), on_meta(name)
    stated = get_model_weights(config.network).DEFAULT.meta
    assert count_parameters(model) == stated["num_params"]
    assert count_macs(model, (3, 16, *config.image_size)) / 1e9 == pytest.approx(stated["_ops"], rel=1e-3)


@pytest.mark.parametrize("name", ["torchvision/r3d_18", "torchvision/swin3d_t"])
def test_the_logits_are_torchvision_s_and_survive_a_checkpoint(name: str, tmp_path: Path) -> None:
    fields = {"num_classes": 3, "num_frames": 4, "image_size": [32, 32]}
    torch.manual_seed(0)
    model = create_model(name, **fields).eval()
    original = getattr(video, name.removeprefix("torchvision/"))(num_classes=3).eval()
    original.load_state_dict(model.network.state_dict())
    clip = torch.randn(2, 3, 4, 32, 32)
    protocol = Protocol(num_frames=4, crop_size=(32, 32), labels={"label": ("a", "b", "c")})
    save_checkpoint(tmp_path / "c", model, Record(model_name=name, model_config=fields, protocol=protocol))
    loaded, _ = load_checkpoint(tmp_path / "c")
    with torch.inference_mode():
        assert torch.equal(model(clip), original(clip))
        assert torch.equal(loaded(clip), original(clip))


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_channels_changes_the_first_layer_alone(name: str) -> None:
    size = {"num_classes": 2}
    three, one = on_meta(name, **size).state_dict(), on_meta(name, in_channels=1, **size).state_dict()
    changed = [key for key in three if three[key].shape != one[key].shape]
    assert len(changed) == 1
    assert (three[changed[0]].shape[1], one[changed[0]].shape[1]) == (3, 1)


def test_the_first_layer_for_another_number_of_channels_keeps_the_scale_of_what_follows() -> None:
    clip = torch.randn(1, 1, 4, 32, 32)
    stems = [create_model("torchvision/r3d_18", in_channels=c).network.stem[0] for c in (1, 3)]
    with torch.inference_mode():
        one, three = stems[0](clip).std(), stems[1](torch.randn(1, 3, 4, 32, 32)).std()
    assert float(one / three) == pytest.approx(1, abs=0.2)


# ---- clips that a network cannot take, or would compute wrongly


@pytest.mark.parametrize(
    ("name", "options", "size", "message"),
    [
        ("mvit_v1_b", {}, (8, 224, 224), "takes clips of 16x224x224 .* alone.* got 8x224x224"),
        ("mvit_v2_s", {}, (16, 112, 448), "takes clips of 16x224x224 .* alone.* got 16x112x448"),
        ("s3d", {}, (12, 224, 224), "takes clips of 13x209x209 .* or more.* got 12x224x224"),
        ("s3d", {}, (16, 208, 224), "takes clips of 13x209x209 .* or more.* got 16x208x224"),
        ("swin3d_t", {}, (32, 112, 112), "made for 224x224 pixels would read .* 112x112"),
        ("swin3d_t", {"image_size": (64, 64)}, (8, 64, 96), "made for 64x64 pixels would read .* 64x96"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused(
    name: str, options: dict[str, Any], size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(TubeletError, match=message):
        on_meta(f"torchvision/{name}", **options)(torch.empty(1, 3, *size, device="meta"))


def test_channels_are_checked() -> None:
    with pytest.raises(TubeletError, match="has 1 channels where the model expects 3"):
        on_meta("torchvision/r3d_18")(torch.empty(1, 1, 4, 32, 32, device="meta"))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("s3d", (13, 209, 209)),
        ("mvit_v2_s", (16, 224, 224)),
        ("r3d_18", (1, 8, 8)),
        ("mc3_18", (3, 17, 40)),
        ("swin3d_t", (5, 224, 256)),
    ],
)
def test_the_smallest_and_oddest_clips_that_fit_are_taken(name: str, size: tuple[int, int, int]) -> None:
    model = on_meta(f"torchvision/{name}").eval()
    with torch.inference_mode():
        assert model(torch.empty(2, 3, *size, device="meta")).shape == (2, 400)


def test_torchvision_itself_fails_on_what_is_refused_as_too_small() -> None:
    with torch.device("meta"):
        network = video.s3d()
    for size in ((12, 209, 209), (13, 208, 209), (13, 209, 208)):
        with pytest.raises(RuntimeError, match="smaller than kernel size"):
            network(torch.empty(1, 3, *size, device="meta"))


def test_a_swin_for_small_frames_gives_other_logits_than_one_for_large_frames_cut_down() -> None:
    """Why the refusal: the same weights put a place's bias elsewhere once windows shrink from 7 to 4."""
    attention = video.swin3d_t().features[0][0].attn
    index = attention.relative_position_index
    assert attention.window_size == [8, 7, 7]
    right = index.view(8, 7, 7, 8, 7, 7)[:2, :4, :4, :2, :4, :4].reshape(32, 32)
    assert not torch.equal(index[:32, :32], right)  # what torchvision reads for a window of 2 x 4 x 4
    fewer_frames = index.view(8, 7, 7, 8, 7, 7)[:2, :, :, :2].reshape(98, 98)
    assert torch.equal(index[:98, :98], fewer_frames)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mvit_v1_b", {"num_frames": 8}, "num_frames and image_size: torchvision's mvit_v1_b takes clips of"),
        ("s3d", {"image_size": (64, 64)}, "torchvision's s3d takes clips of 13x209x209"),
        ("r3d_18", {"num_classes": -1}, "num_classes must be positive"),
        ("r3d_18", {"depth": 3}, "depth"),
    ],
)
def test_a_config_for_clips_that_do_not_fit_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_model(f"torchvision/{name}", **options)
