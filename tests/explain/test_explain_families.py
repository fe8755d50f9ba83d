"""Every family of models is explained: by occlusion and gradients always, by attention where it composes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from known_cause import PROTOCOL, SIDE, T, moving_clip, view_of
from torch import nn

from support import assert_one_line
from tubelet.errors import TubeletError
from tubelet.explain.config import METHODS, ExplainConfig
from tubelet.explain.explain import explain_view
from tubelet.models import FAMILIES, create_model, family_of

_SHAPE: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 2}
_TUBELETS = {**_SHAPE, "tubelet_size": (2, 8, 8)}
_SAMPLED = {**_SHAPE, "tubelet_size": (1, 8, 8), "num_sampled_frames": 4}
_PATCHES = {**_SHAPE, "patch_size": 8}
_VTN: dict[str, Any] = {"hidden_dim": 16, "depth": 2, "head_dim": 8, "attention_window": (4,)}
_POOLER = {"pooler_num_heads": 2, "pooler_depth": 1}
BY_ATTENTION = {
    **{f"vivit_ti16x2_{kind}": _TUBELETS for kind in ("joint", "fsa", "fdp", "avgpool")},
    "vivit_ti16x2_fe": {**_TUBELETS, "temporal_depth": 1},
    **{f"vivit_b16x2_{kind}": _SAMPLED for kind in ("joint", "fsa", "fdp", "avgpool")},
    "vivit_b16x2_fe": {**_SAMPLED, "temporal_depth": 1},
    **{f"timesformer_ti16_{kind}": _PATCHES for kind in ("divided", "joint", "space")},
    "vtn_deit_ti16": {**_VTN, "num_heads": 2, "backbone_fields": _PATCHES},
    "vtn_r50": {**_VTN, "num_heads": 2, "backbone": "resnet10t",
                "backbone_fields": {"layers": (1, 1, 1, 1), "channels": (4, 4, 4, 4)}},
    "videomae_s16": _TUBELETS,
    "vjepa2_l16_256": {**_TUBELETS, **_POOLER},
    "videoprism_b18": {**_PATCHES, "temporal_depth": 1},
    "uniformerv2_ti16_ssv2": {**_PATCHES, "global_layers": 1},
}  # fmt: skip
WITHOUT = {
    "uniformerv2_ti16": {**_PATCHES, "global_layers": 2, "fusion": "parallel"},
    "torchvision/mc3_18": {},
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    fields: dict[str, Any] = {**BY_ATTENTION, **WITHOUT}[name]
    model = create_model(name, num_classes=2, num_frames=T, image_size=(SIDE, SIDE), **fields).eval()
    for parameter in model.parameters():  # what starts at zero would hide what stands behind it
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model


def test_a_model_of_every_family_is_here() -> None:
    assert {family_of(name).name for name in (*BY_ATTENTION, *WITHOUT)} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("name", [*BY_ATTENTION, *WITHOUT])
def test_a_map_has_the_pixels_of_the_clip_or_one_line_says_why_there_is_none(name: str) -> None:
    model, (clip, _) = made(name), moving_clip(0)
    how: dict[str, dict[str, Any]] = {"occlusion": {"tubelet": (4, 16, 16)}, "integrated_gradients": {"num_steps": 2}}
    for method in METHODS:
        config = ExplainConfig(method=method, **how.get(method, {}))
        asked: dict[str, Any] = {"source": "clip", "class_name": "bright"}
        if name in WITHOUT and method not in how:
            with pytest.raises(TubeletError) as caught:
                explain_view(model, view_of(clip), PROTOCOL, config, **asked)
            assert_one_line(caught, "attention")
            continue
        found = explain_view(model, view_of(clip), PROTOCOL, config, **asked)
        assert found.relevance.shape == (T, SIDE, SIDE), method
        assert np.isfinite(found.relevance).all()
        assert np.ptp(found.relevance) > 0, method
