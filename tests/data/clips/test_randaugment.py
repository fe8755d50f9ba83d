"""RandAugment and TrivialAugment: operations as the originals', strengths as theirs, drawn as often as theirs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import timm.data.auto_augment as timm_augment
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tubelet.data.clips.augment_config import RandAugmentConfig
from tubelet.data.clips.image_operations import apply_operations
from tubelet.data.clips.randaugment import (
    TIMM_NAMES,
    TRIVIAL_NAMES,
    VIVIT_NAMES,
    AugmentOp,
    draw_randaugment,
    draw_trivial,
)
from tubelet.errors import ConfigError

TORCHVISION = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}
TIMM_INCREASING = {
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "solarize_add": "SolarizeAdd",
    "rotate": "Rotate",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x_share": "TranslateXRel",
    "translate_y_share": "TranslateYRel",
}
UNIFORMERV2 = RandAugmentConfig(ops="timm", num_ops=4, magnitude=7.0, magnitude_std=0.5)


@pytest.fixture
def clip() -> Tensor:
    """Three frames of different brightness, smooth enough to have edges and plains."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 7), dtype=np.uint8)
    clip = F.resize(torch.from_numpy(noise), [48, 56]).float() * torch.tensor([0.5, 0.8, 1.0])[:, None, None, None]
    return clip.to(torch.uint8)


def one(clip: Tensor, name: str, *amounts: float, per_clip: bool = False) -> Tensor:
    return apply_operations(clip, (AugmentOp(name=name, amounts=amounts, per_clip=per_clip),))


def test_trivial_augment_equals_torchvision(clip: Tensor) -> None:
    """Every operation, at all of its strengths that were drawn."""
    transform = v2.TrivialAugmentWide()
    space = transform._AUGMENTATION_SPACE
    rng = np.random.default_rng(0)
    drawn = {draw_trivial(rng) for _ in range(400)}
    assert {operation.name for operations in drawn for operation in operations} == set(TORCHVISION)
    for (operation,) in drawn - {()}:
        name = TORCHVISION[operation.name]
        magnitudes, signed = space[name]
        bins = magnitudes(31, 48, 56)
        amount = 0.0
        if bins is not None:
            neutral = {"translate_x": 0, "translate_y": 0, "rotate": 0, "shear_x": 0, "shear_y": 0}
            amount = operation.amounts[0] - (neutral.get(operation.name, 1) if signed else 0)
            if name == "Solarize":
                amount /= 255
            whole_pixels = name.startswith("Translate")
            assert (bins.float() - abs(amount)).abs().min() < (1 if whole_pixels else 1e-5), (name, amount)
        expected = transform._apply_image_or_video_transform(clip, name, amount, "nearest", {Tensor: None})
        apart = (apply_operations(clip, (operation,)).int() - expected.int()).abs()
        assert apart.max() <= 1, operation
        assert (apart > 0).float().mean() < 0.01, operation  # colors and contrast: another order of summation


def test_trivial_augment_draws_each_operation_as_often() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(operation.name for _ in range(7000) for operation in draw_trivial(rng))
    assert set(counts) == set(TRIVIAL_NAMES) - {"identity"}
    assert all(400 < count < 600 for count in counts.values())


def test_the_timm_list_is_timms() -> None:
    ours = {TIMM_INCREASING.get(name, name) for name in TIMM_NAMES}
    theirs = {
        {"AutoContrast": "autocontrast", "Equalize": "equalize", "Invert": "invert"}.get(name, name)
        for name in timm_augment._RAND_INCREASING_TRANSFORMS
    }
    assert ours == theirs
    transform = timm_augment.rand_augment_transform("rand-m7-n4-mstd0.5-inc1", {})
    assert transform.num_layers == UNIFORMERV2.num_ops
    assert {(op.prob, op.magnitude, op.magnitude_std) for op in transform.ops} == {(0.5, 7, 0.5)}


@pytest.mark.parametrize("magnitude", [0.0, 3.0, 7.0, 10.0])
def test_timm_strengths_are_timms(magnitude: float) -> None:
    rng = np.random.default_rng(0)
    config = RandAugmentConfig(ops="timm", num_ops=400, magnitude=magnitude, probability=1.0)
    seen = set()
    for operation in draw_randaugment(config, rng):
        if not operation.amounts:
            continue
        level_to_argument = timm_augment.LEVEL_TO_ARG[TIMM_INCREASING[operation.name]]
        allowed = {level_to_argument(magnitude, {})[0] for _ in range(20)}  # with either sign
        assert min(abs(value - operation.amounts[0]) for value in allowed) < 1e-6, operation
        seen.add(operation.name)
    assert seen == set(TIMM_INCREASING)


def test_timm_operations_are_applied_half_of_the_time_at_levels_around_the_magnitude() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_randaugment(UNIFORMERV2, rng) for _ in range(2000)]
    assert 1.9 < np.mean([len(operations) for operations in drawn]) < 2.1
    levels = [abs(op.amounts[0]) / 30 * 10 for operations in drawn for op in operations if op.name == "rotate"]
    assert abs(np.mean(levels) - 7) < 0.15
    assert abs(np.std(levels) - 0.5) < 0.1


def test_timm_geometry_brings_in_gray(clip: Tensor) -> None:
    shifted = apply_operations(clip, (AugmentOp(name="translate_x_share", amounts=(0.25,), bilinear=True, fill=128),))
    assert torch.equal(shifted[..., :14], torch.full_like(shifted[..., :14], 128))
    assert torch.equal(shifted[..., 14:], clip[..., :-14])


@pytest.mark.parametrize(
    ("magnitude", "enhanced", "bits", "solarized", "added", "half"),
    [
        (10.0, 1.9, 4, 256, 110, 40),
        (15.0, 2.8, 6, 384, 165, 60),
        (20.0, 3.7, 8, 512, 220, 80),
    ],
)
def test_vivit_strengths_are_the_model_gardens(
    magnitude: float, enhanced: float, bits: int, solarized: int, added: int, half: int
) -> None:
    config = RandAugmentConfig(ops="vivit", num_ops=300, magnitude=magnitude)
    amounts = {op.name: op.amounts[0] for op in draw_randaugment(config, np.random.default_rng(0)) if op.amounts}
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert amounts[name] == pytest.approx(enhanced)
    assert (amounts["posterize"], amounts["solarize"]) == (bits, solarized)
    assert (amounts["solarize_add"], amounts["cutout"]) == (added, half)


def test_vivit_operations_are_drawn_alike_and_identity_is_one_of_twelve() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_randaugment(RandAugmentConfig(), rng) for _ in range(3000)]
    counts = Counter(op.name for operations in drawn for op in operations)
    counts["identity"] = 6000 - counts.total()
    assert set(counts) == set(VIVIT_NAMES)
    assert all(430 < count < 570 for count in counts.values())


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_vivit_statistics_are_those_of_the_clip(clip: Tensor, name: str) -> None:
    tall = torch.cat(list(clip), dim=1)  # one image, frame below frame
    expected = F.autocontrast(tall) if name == "autocontrast" else F.equalize(tall)
    result = one(clip, name, per_clip=True)
    assert torch.equal(torch.cat(list(result), dim=1), expected)
    assert not torch.equal(result, one(clip, name))


def test_vivit_contrast_keeps_the_mean_of_the_clip(clip: Tensor) -> None:
    flat = one(clip, "contrast", 0.0, per_clip=True)
    assert len(flat.unique()) == 1


def test_vivit_cutout_is_one_gray_square_in_every_frame(clip: Tensor) -> None:
    cut = one(clip, "cutout", 10.0, 0.5, 0.1, per_clip=True)
    changed = (cut != clip).any(dim=1)
    rows, columns = changed.any(dim=0).nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (14, 33)  # 48 / 2 - 10 and + 10
    assert (int(columns.min()), int(columns.max())) == (0, 14)  # cut off at the border
    assert cut[:, :, 14:34, :15].unique().tolist() == [128]


def test_solarize_add_lightens_dark_levels_only() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    lightened = one(levels, "solarize_add", 220.0)[0, 0].flatten().tolist()
    assert lightened == [min(255, level + 220) if level < 128 else level for level in range(256)]


def test_a_threshold_above_white_solarizes_nothing(clip: Tensor) -> None:
    assert torch.equal(one(clip, "solarize", 384.0), clip)
    assert torch.equal(one(clip, "solarize", 0.0), one(clip, "invert"))


@pytest.mark.parametrize(
    ("name", "neutral"),
    [("brightness", 1.0), ("color", 1.0), ("contrast", 1.0), ("sharpness", 1.0), ("posterize", 8.0), ("rotate", 0.0),
     ("shear_x", 0.0), ("shear_y", 0.0), ("translate_x", 0.0), ("translate_y_share", 0.0), ("solarize_add", 0.0)],
)  # fmt: skip
def test_neutral_strengths_change_nothing(clip: Tensor, name: str, neutral: float) -> None:
    assert torch.equal(one(clip, name, neutral), clip)
    assert torch.equal(apply_operations(clip, (AugmentOp(name=name, amounts=(neutral,), bilinear=True),)), clip)


def test_no_operation_leaves_traces_in_the_clip_that_came(clip: Tensor) -> None:
    before = clip.clone()
    for ops, magnitude in (("vivit", 15.0), ("timm", 9.0)):
        apply_operations(
            clip,
            draw_randaugment(
                RandAugmentConfig(ops=ops, num_ops=60, magnitude=magnitude),
                np.random.default_rng(0),  # type: ignore[arg-type]
            ),
        )
    assert torch.equal(clip, before)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_ops": 0},
        {"magnitude": 31.0},
        {"ops": "timm", "magnitude": 11.0},
        {"ops": "timm", "magnitude_std": -1.0},
        {"ops": "vivit", "magnitude_std": 0.5},
        {"ops": "vivit", "probability": 0.8},
    ],
)
def test_settings_that_cannot_act_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RandAugmentConfig(**fields)  # type: ignore[arg-type]
