"""Mixup and cutmix: torchvision's results for the same draws, and nothing of a video that could not be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as nnf
from torchvision.transforms import v2
from torchvision.tv_tensors import Video

from tubelet.data.clips.augment_config import MixConfig
from tubelet.data.clips.mixing import Mixture, draw_mixture
from tubelet.errors import ConfigError

SIZE = (12, 16)
ALL = slice(None)


class FixedMixUp(v2.MixUp):
    """torchvision's, told what to draw."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(num_classes=4)
        self.params = params

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return self.params


class FixedCutMix(v2.CutMix):
    """torchvision's, told what to draw."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(num_classes=4)
        self.params = params

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return self.params


def batch(size: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    clips = torch.randint(0, 256, (size, 3, 2, *SIZE), dtype=torch.uint8)
    return clips, torch.arange(size) % 4, torch.ones(size)


def to_input(clips: Tensor) -> Tensor:
    return clips.float() / 255


def soft_labels(mixture: Mixture, labels: Tensor, weight: Tensor, rows: slice = ALL) -> Tensor:
    """B K, each row with the weight of its video."""
    parts = mixture.labels(labels, weight, rows)
    return torch.stack([nnf.one_hot(y, 4) * w[:, None] for y, w in parts]).sum(0)


def draws(config: MixConfig, weight: Tensor, count: int = 50, seed: int = 0) -> list[Mixture]:
    rng = np.random.default_rng(seed)
    return [draw_mixture(config, weight, SIZE, rng) for _ in range(count)]


def test_mixup_equals_torchvision_for_the_same_share() -> None:
    clips, labels, weight = batch()
    for mixture in draws(MixConfig(mixup=0.8), weight, 10):
        expected_clips, expected_labels = FixedMixUp({"lam": mixture.share})(Video(to_input(clips)), labels)
        assert torch.allclose(mixture.clips(clips, ALL, to_input), expected_clips, atol=1e-6)
        assert torch.allclose(soft_labels(mixture, labels, weight), expected_labels, atol=1e-6)


def test_cutmix_equals_torchvision_for_the_same_box() -> None:
    clips, labels, weight = batch()
    for mixture in draws(MixConfig(cutmix=1.0), weight, 10):
        assert mixture.box is not None
        top, left, height, width = mixture.box
        params = {"box": (left, top, left + width, top + height), "lam_adjusted": mixture.share}
        expected_clips, expected_labels = FixedCutMix(params)(Video(to_input(clips)), labels)
        assert torch.equal(mixture.clips(clips, ALL, to_input), expected_clips)
        assert torch.allclose(soft_labels(mixture, labels, weight), expected_labels, atol=1e-6)


def test_vivit_mixes_with_the_batch_in_reverse_order() -> None:
    clips, _, weight = batch(4)
    for mixture in draws(MixConfig(mixup=0.3, partner="reversed"), weight, 5):
        mixed = mixture.clips(clips, ALL, to_input)
        expected = mixture.share * to_input(clips) + (1 - mixture.share) * to_input(clips).flip(0)
        assert torch.allclose(mixed, expected, atol=1e-6)


@pytest.mark.parametrize("config", [MixConfig(mixup=0.3), MixConfig(cutmix=1.0), MixConfig(mixup=0.3, cutmix=1.0)])
def test_the_label_of_each_video_sums_to_its_weight(config: MixConfig) -> None:
    _, labels, _ = batch(6)
    weight = torch.tensor([1.0, 0, 1, 2, 0, 1])
    for mixture in draws(config, weight):
        assert torch.allclose(soft_labels(mixture, labels, weight).sum(1), weight)


def test_the_cut_area_is_the_weight_of_the_partners_label() -> None:
    clips = torch.stack([torch.full((3, 2, *SIZE), value, dtype=torch.uint8) for value in (0, 255)])
    for mixture in draws(MixConfig(cutmix=1.0), torch.ones(2)):
        mixed = mixture.clips(clips, ALL, to_input)
        assert float(mixed[0].mean()) == pytest.approx(1 - mixture.share, abs=1e-6)
        assert float(mixed[1].mean()) == pytest.approx(mixture.share, abs=1e-6)


@pytest.mark.parametrize("partner", ["previous", "reversed"])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_video_that_could_not_be_read_is_nobodys_partner(partner: str, kind: str) -> None:
    clips, labels, weight = batch(6)
    clips[2], weight[2], labels[2] = 0, 0, 3
    clips[5], weight[5], labels[5] = 0, 0, 3
    labels[[0, 1, 3, 4]] = torch.tensor([0, 1, 2, 0])
    clips[[0, 1, 3, 4]] = clips[[0, 1, 3, 4]].clamp(min=100)
    for mixture in draws(MixConfig(**{kind: 1.0}, partner=partner), weight):  # type: ignore[arg-type]
        assert {int(mixture.partner[row]) for row in (0, 1, 3, 4)} == {0, 1, 3, 4}
        assert mixture.clips(clips, ALL, to_input)[[0, 1, 3, 4]].min() >= 100 / 255 - 1e-6
        assert soft_labels(mixture, labels, weight)[:, 3].sum() == 0


def test_parts_of_a_batch_are_mixed_as_the_whole() -> None:
    clips, labels, weight = batch(5)
    for mixture in draws(MixConfig(mixup=0.5, cutmix=0.5), weight, 10):
        whole = mixture.clips(clips, ALL, to_input)
        parts = [mixture.clips(clips, rows, to_input) for rows in (slice(0, 2), slice(2, 3), slice(3, 5))]
        assert torch.equal(torch.cat(parts), whole)
        labels_of_parts = [soft_labels(mixture, labels, weight, rows) for rows in (slice(0, 2), slice(2, 5))]
        assert torch.equal(torch.cat(labels_of_parts), soft_labels(mixture, labels, weight))


def test_off_changes_nothing_and_draws_nothing() -> None:
    clips, labels, weight = batch()
    rng = np.random.default_rng(0)
    mixture = draw_mixture(MixConfig(), weight, SIZE, rng)
    assert torch.equal(mixture.clips(clips, ALL, to_input), to_input(clips))
    ((own, own_weight),) = mixture.labels(labels, weight, ALL)
    assert torch.equal(own, labels)
    assert torch.equal(own_weight, weight)
    assert rng.random() == np.random.default_rng(0).random()


def test_probabilities_of_mixing_and_of_cutmix_hold() -> None:
    config = MixConfig(mixup=0.8, cutmix=1.0, probability=0.5, cutmix_probability=0.25)
    mixtures = draws(config, torch.ones(4), 4000)
    mixed = [mixture for mixture in mixtures if mixture.share < 1]
    assert 0.46 < len(mixed) / len(mixtures) < 0.53
    assert 0.2 < np.mean([mixture.box is not None for mixture in mixed]) < 0.28


def test_shares_follow_the_beta_distribution() -> None:
    shares = np.array([mixture.share for mixture in draws(MixConfig(mixup=0.3), torch.ones(4), 4000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * 0.3 + 1))) < 0.01


@pytest.mark.parametrize(
    "fields",
    [
        {"mixup": -0.1},
        {"mixup": 0.1, "probability": 1.5},
        {"probability": 0.5},
        {"partner": "reversed"},
        {"mixup": 0.1, "cutmix_probability": 0.3},
    ],
)
def test_settings_that_cannot_act_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        MixConfig(**fields)  # type: ignore[arg-type]
