"""Backbones of every kind that timm has: the width is that of their vectors, the size goes to those that take it."""

from __future__ import annotations

import pytest
import timm
import torch

from tubelet.errors import ConfigError
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.image_backbone import make_backbone
from tubelet.models.vtn.model import VTN


def tiny(backbone: str, size: int) -> VTN:
    config = VTNConfig(
        num_classes=3,
        backbone=backbone,
        image_size=(size, size),
        num_heads=1,
        depth=1,
        hidden_dim=16,
        attention_window=(2,),
        head_dim=None,
    )
    return VTN(config)


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("resnet18", 512),
        ("deit_tiny_distilled_patch16_224", 192),  # hands its arguments on to the class of the plain one
        ("mobilenetv3_small_050", 1024),  # a convolution behind the pooling: num_features is 288
        ("ghostnet_050", 1280),
        ("levit_128s", 384),  # takes img_size, but not dynamic_img_size
        ("mobilevit_xxs", 320),  # a "vit" by name, without dynamic_img_size
        ("efficientvit_b0", 1280),
        ("repvit_m0_9", 384),
        ("convit_tiny", 192),
        ("fastvit_t8", 768),
        ("xcit_nano_12_p16_224", 128),
    ],
)
def test_a_clip_goes_through_networks_of_every_kind(backbone: str, width: int) -> None:
    torch.manual_seed(0)
    model = tiny(backbone, 64).eval()
    clip = torch.randn(1, 3, 2, 64, 64)
    with torch.inference_mode():
        assert model.encode_frames(clip).vectors.shape == (1, 2, width)
        assert model(clip).shape == (1, 3)


@pytest.mark.parametrize(
    "backbone",
    ["tiny_vit_5m_224", "davit_tiny", "mvitv2_tiny", "samvit_base_patch16_224", "swin_tiny_patch4_window7_224"],
)
def test_a_network_made_for_one_size_is_made_for_that_of_the_clip(backbone: str) -> None:
    with torch.device("meta"):
        logits = tiny(backbone, 96).eval()(torch.empty(1, 3, 2, 96, 96))
    assert logits.shape == (1, 3)


@pytest.mark.parametrize(("backbone", "own"), [("crossvit_tiny_240", "240x240"), ("halonet26t", "256x256")])
def test_a_size_that_a_network_cannot_take_is_one_line_with_its_own(backbone: str, own: str) -> None:
    with pytest.raises(
        ConfigError, match=f"{backbone} does not take frames of 64x64 .* made for {own}: choose"
    ) as found:
        tiny(backbone, 64)
    assert "\n" not in str(found.value)
    with torch.device("meta"):
        assert tiny(backbone, int(own.split("x")[0]))


def test_what_gives_no_vector_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"resnet18 gives \(1, 512, 1, 1\) for an image where a backbone gives one"):
        make_backbone("resnet18", 3, (32, 32), {"global_pool": ""})


def test_asking_draws_no_random_numbers() -> None:
    """Weights of a seed stay those that timm makes with it."""
    torch.manual_seed(0)
    network, _ = make_backbone("resnet18", 3, (32, 32), {})
    torch.manual_seed(0)
    alone = timm.create_model("resnet18", num_classes=0)
    assert all(t.equal(alone.state_dict()[name]) for name, t in network.state_dict().items())
