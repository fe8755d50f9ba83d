"""Color changes equal torchvision's within the differences the module states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tubelet.data.clips.color import ColorStep, change_colors

TORCHVISION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
    "grayscale": lambda clip, amount: F.rgb_to_grayscale(clip, num_output_channels=3),
}
FACTORS = st.floats(0.0, 2.0)
LARGEST_DIFFERENCE = {"brightness": 0, "contrast": 1, "saturation": 1, "hue": 1, "grayscale": 0}


def all_colors() -> Tensor:
    """Every color whose levels are multiples of 5 or the next to them, in frames of different means: T 3 H W."""
    levels = torch.tensor(sorted({min(255, level + by) for level in range(0, 256, 15) for by in (0, 1)}))
    red, green, blue = torch.meshgrid(levels, levels, levels, indexing="ij")
    return torch.stack((red, green, blue), dim=1).to(torch.uint8)


def difference(clip: Tensor, steps: list[ColorStep]) -> Tensor:
    expected = clip
    for step in steps:
        expected = TORCHVISION[step.name](expected, step.amount)
    result = change_colors(clip, steps)
    assert result.dtype == torch.uint8
    assert result.shape == clip.shape
    return (result.int() - expected.int()).abs()


@settings(max_examples=40, deadline=None)
@given(
    step=st.one_of(
        st.builds(ColorStep, name=st.sampled_from(["brightness", "contrast", "saturation"]), amount=FACTORS),
        st.builds(ColorStep, name=st.just("hue"), amount=st.floats(-0.5, 0.5)),
        st.just(ColorStep(name="grayscale")),
    )
)
def test_a_step_equals_torchvision(step: ColorStep) -> None:
    assert difference(all_colors(), [step]).max() <= LARGEST_DIFFERENCE[step.name]


@settings(max_examples=40, deadline=None)
@given(
    names=st.permutations(["brightness", "contrast", "saturation"]),
    amounts=st.lists(st.floats(0.6, 1.4), min_size=3, max_size=3),
)
def test_a_chain_without_hue_stays_within_three_levels_of_torchvision(names: list[str], amounts: list[float]) -> None:
    steps = [ColorStep(name=name, amount=amount) for name, amount in zip(names, amounts, strict=True)]
    apart = difference(all_colors(), steps)
    assert apart.max() <= 3
    assert apart.float().mean() < 0.1  # a result that is a whole level may be rounded to either side


@settings(max_examples=40, deadline=None)
@given(
    names=st.permutations(["brightness", "contrast", "saturation", "hue"]),
    amounts=st.lists(st.floats(0.6, 1.4), min_size=4, max_size=4),
)
def test_a_chain_with_hue_stays_close_to_torchvision(names: list[str], amounts: list[float]) -> None:
    """One level that hue is off is scaled by what follows it."""
    steps = [
        ColorStep(name=name, amount=(amount - 1) / 2 if name == "hue" else amount)
        for name, amount in zip(names, amounts, strict=True)
    ]
    apart = difference(all_colors(), steps).float()
    assert apart.max() <= 8
    assert apart.mean() < 1


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_one_channel_is_treated_as_torchvision_treats_it(name: str) -> None:
    clip = all_colors()[:, :1]
    assert difference(clip, [ColorStep(name=name, amount=1.3)]).max() <= 1


def test_a_shift_is_added() -> None:
    clip = torch.tensor([10, 100, 250], dtype=torch.uint8).reshape(1, 3, 1, 1)
    shifted = change_colors(clip, [ColorStep(name="shift", amount=0.1)])
    assert shifted.flatten().tolist() == [35, 125, 255]
    assert change_colors(clip, [ColorStep(name="shift", amount=-0.1)]).flatten().tolist() == [0, 74, 224]


def test_neutral_steps_give_the_clip_itself() -> None:
    clip = all_colors()
    neutral = {"brightness": 1.0, "shift": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    steps = [ColorStep(name=name, amount=amount) for name, amount in neutral.items()]
    assert change_colors(clip, steps) is clip


def test_frames_are_treated_alike_however_many_are_taken_at_once() -> None:
    frame = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)
    steps = [ColorStep(name="contrast", amount=1.3), ColorStep(name="hue", amount=0.1)]
    clip = change_colors(frame.expand(57, -1, -1, -1), steps)  # 22 at a time, then a rest of 13
    assert torch.equal(clip, change_colors(frame, steps).expand(57, -1, -1, -1))


def test_the_clip_that_came_is_left_alone() -> None:
    clip = all_colors()
    before = clip.clone()
    change_colors(clip, [ColorStep(name="brightness", amount=1.5), ColorStep(name="hue", amount=0.2)])
    assert torch.equal(clip, before)


@pytest.mark.parametrize(("channels", "name"), [(1, "hue"), (1, "saturation"), (1, "grayscale"), (2, "contrast")])
def test_channels_that_do_not_fit_are_refused(channels: int, name: str) -> None:
    with pytest.raises(ValueError, match="channels"):
        change_colors(torch.zeros(1, channels, 4, 4, dtype=torch.uint8), [ColorStep(name=name, amount=0.3)])
