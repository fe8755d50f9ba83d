"""LayerNorm whose weight is stored as its difference from 1.

Source: google-deepmind/videoprism, commit d481d91b, ``videoprism/layers.py`` (``LayerNorm``).
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class OffsetLayerNorm(nn.LayerNorm):
    """Scales by ``1 + weight``. A fresh one has zeros there, and weight decay draws the scale to 1."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
        return F.layer_norm(x, self.normalized_shape, 1 + self.weight, self.bias, self.eps)
