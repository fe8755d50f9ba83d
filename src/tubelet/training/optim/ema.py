"""An exponential moving average of the weights. Where it is on, the average is validated, kept and tested.

timm's ``ModelEmaV3``, over parameters and buffers, integers copied. Early on the average spans a tenth of the steps so
far, as TensorFlow's ``ExponentialMovingAverage`` does with ``num_updates``, until that is 1 / (1 - decay): a plain
average with decay 0.9999 would still be half the first weights after 7,000 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn

_SHARE_OF_STEPS = 10.0  # the average spans one in so many of the steps so far


class WeightAverage:
    """The average of a model's weights.

    Args:
        model: on its device, as it stands before the first step.
        decay: share of the average that stays in every step, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._ema = ModelEmaV3(
            model, decay=decay, use_warmup=True, warmup_gamma=_SHARE_OF_STEPS, warmup_power=1.0, foreach=True
        )

    def update(self, model: nn.Module, step: int) -> None:
        """Add the weights after ``step`` optimizer steps to the average."""
        self._ema.update(model, step)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Give ``model`` the averaged weights inside the block, and its own again afterwards, to the bit."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for own, average in zip(model.state_dict().values(), self._ema.module.state_dict().values(), strict=True):
            before = own.clone()
            own.copy_(average)
            average.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` takes."""
        state: dict[str, Any] = self._ema.module.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ema.module.load_state_dict(state)
