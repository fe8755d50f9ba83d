"""Explanations of models whose cause is known find it; what must hold of any explanation holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from known_cause import PROTOCOL, SIDE, Bright, InTube, T, concentration, moving_clip, view_of
from torch import nn

import tiny_vivit
from support import assert_one_line
from tubelet.errors import ConfigError, TubeletError
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explain import explain_view
from tubelet.explain.explanation import Explanation
from tubelet.explain.fill import filled
from tubelet.models import create_model
from tubelet.protocol import Protocol

TUBELET = (2, 4, 4)


def explained(model: nn.Module, clip: torch.Tensor, protocol: Protocol = PROTOCOL, **options: Any) -> Explanation:
    names = {"class_name", "head"}
    asked = {name: options.pop(name) for name in names & options.keys()}
    return explain_view(
        model.eval(),
        view_of(clip),
        protocol,
        ExplainConfig(**options),
        source="clip",
        **{"class_name": "bright"} | asked,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "how",
    [
        {"method": "occlusion", "tubelet": TUBELET},
        {"method": "occlusion", "tubelet": TUBELET, "fill": "blur"},
        {"method": "integrated_gradients"},
        {"method": "integrated_gradients", "fill": "blur"},
    ],
    ids=["occlusion", "occlusion_blur", "integrated", "integrated_blur"],
)
def test_relevance_lies_in_the_tube_of_the_cause_and_not_on_what_moves_as_much(how: Any, seed: int) -> None:
    clip, tube = moving_clip(seed, first=2, frames=4)
    found = explained(Bright(), clip, **how)
    assert concentration(found.relevance, tube) >= 3
    assert found.time_curve[2:6].min() > 10 * np.abs(found.time_curve[[0, 1, 6, 7]]).max()
    best = found.top_tubes(1)[0]
    assert 0.2 <= best.start_seconds < 0.6
    assert best.bottom <= SIDE / 2 + TUBELET[1]


def test_what_cannot_matter_has_no_relevance_and_what_matters_has_all_of_it() -> None:
    box = (slice(4, 6), slice(8, 12), slice(20, 24))
    clip = torch.randint(0, 256, (3, T, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clip[(slice(None), *box)] = 255
    for how in ({"method": "occlusion", "tubelet": TUBELET}, {"method": "integrated_gradients"}):
        relevance = explained(InTube(box), clip, **how).relevance
        inside = np.zeros(relevance.shape, dtype=bool)
        inside[box] = True
        assert np.abs(relevance[~inside]).max() == 0
        assert relevance[inside].min() > 0


@pytest.mark.parametrize("kind", ["joint", "fe", "fdp"])
def test_integrated_gradients_sum_to_the_difference_of_the_logits(kind: str) -> None:
    torch.manual_seed(1)
    model = tiny_vivit.tiny(kind, num_classes=2)
    clip = torch.randint(0, 256, (3, 8, 8, 12), dtype=torch.uint8)
    protocol = dataclasses.replace(PROTOCOL, crop_size=(8, 12), resize_short_side=8)
    found = explained(model, clip, protocol, method="integrated_gradients", num_steps=512)
    assert found.logit_difference is not None
    assert found.completeness_gap is not None
    assert abs(found.logit_difference) > 1e-2
    assert abs(found.completeness_gap) <= 0.01 * abs(found.logit_difference) + 1e-5
    assert found.relevance.sum() == pytest.approx(found.logit_difference + found.completeness_gap, rel=1e-3)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


METHODS = ("occlusion", "integrated_gradients", "attention_rollout", "gradient_attention")


@pytest.mark.parametrize("method", METHODS)
def test_other_weights_give_another_map(method: str) -> None:
    """The randomization check of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018)."""
    protocol = dataclasses.replace(PROTOCOL, crop_size=(8, 12), resize_short_side=8)
    clip = torch.randint(0, 256, (3, 8, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    maps = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = tiny_vivit.tiny("fsa", num_classes=2)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        maps.append(explained(model, clip, protocol, method=method).relevance.ravel())
    assert np.array_equal(maps[0], maps[1])
    assert np.corrcoef(maps[0], maps[2])[0, 1] < 0.9


def test_a_blur_keeps_a_plain_clip_and_moves_a_point() -> None:
    plain = torch.full((3, 2, 9, 7), 0.3)
    torch.testing.assert_close(filled(plain, "blur"), plain)
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1.0
    spread = filled(point, "blur")
    torch.testing.assert_close(spread, spread.mT)
    assert spread[0, 0, 4, 4] < 0.3
    assert (filled(plain * torch.rand(3, 1, 1, 1), "mean").std((1, 2, 3)) < 1e-6).all()


TWO_HEADS = dataclasses.replace(PROTOCOL, labels={"verb": ("a", "b"), "noun": ("c",)})


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"class_name": "brihgt"}, ["no class 'brihgt'", "did you mean 'bright'"]),
        ({"head": "verb"}, ["no head 'verb'", "label"]),
        ({"protocol": TWO_HEADS, "class_name": "a"}, ["heads verb, noun", "--head"]),
        ({"method": "occlusion", "tubelet": (9, 4, 4)}, ["tubelet of 9 x 4 x 4", "8 x 32 x 32"]),
        ({"method": "gradcam"}, ["no method 'gradcam'", "occlusion"]),
        ({"method": "occlusion", "num_steps": 3}, ["num_steps belongs to integrated_gradients"]),
        ({"method": "attention_rollout", "fill": "blur"}, ["fill belongs to occlusion"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_explained_is_refused_in_one_line(options: dict[str, Any], parts: list[str]) -> None:
    clip, _ = moving_clip(0)
    with pytest.raises(ConfigError) as caught:
        explained(Bright(), clip, **options)
    assert_one_line(caught, *parts)


def test_a_model_that_shows_logits_alone_is_occluded_and_nothing_else() -> None:
    class Exported(nn.Module):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return Bright()(clip)

    clip, tube = moving_clip(0, first=2, frames=4)
    assert concentration(explained(Exported(), clip, method="occlusion", tubelet=TUBELET).relevance, tube) >= 3
    for method in METHODS[1:]:
        with pytest.raises(ConfigError) as caught:
            explained(Exported(), clip, method=method)
        assert_one_line(caught, method, "Exported", "use occlusion")


def test_attention_that_does_not_compose_is_refused_with_the_reason() -> None:
    clip = torch.randint(0, 256, (3, 8, 32, 32), dtype=torch.uint8)
    small = {"num_classes": 2, "num_frames": 8, "image_size": (32, 32), "embed_dim": 24, "depth": 2, "num_heads": 4}
    models: list[tuple[nn.Module, type[TubeletError], str]] = [
        (Bright(), TubeletError, "no attention of Bright was recorded"),
        (create_model("vivit_b16x2_fsa", **small, global_pool="max", tubelet_size=(2, 8, 8)), ConfigError, "maximum"),
    ]
    for model, error, part in models:
        with pytest.raises(error) as caught:
            explained(model, clip, method="attention_rollout")
        assert_one_line(caught, part)
