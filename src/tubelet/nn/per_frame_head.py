"""Heads that give the classes of every time step from the features of the steps.

The convolutional head is a stage of MS-TCN (Farha and Gall 2019, arXiv:1903.01945, section 3.1): a 1x1 convolution,
then residual layers of a dilated convolution of 3 steps, ReLU, a 1x1 convolution and dropout, whose dilation doubles
from layer to layer, then a 1x1 classifier.

Deviation: features are normalized first (LayerNorm), for those of other backbones have other scales.

    B  windows   T  steps   D  width of a feature   C  hidden width   K  classes
"""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.types import FrameFeatures


class LinearPerFrameHead(nn.Module):
    """Each step for itself."""

    def __init__(self, in_dim: int, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(in_dim), nn.Dropout(dropout)
        self.head = nn.Linear(in_dim, num_classes)

    def forward(self, features: FrameFeatures) -> Float[Tensor, "B T K"]:
        x = self.drop(self.norm(features.vectors))  # B T D
        logits: Tensor = self.head(x)  # B T K
        return logits


class ConvPerFrameHead(nn.Module):
    """Dilated convolutions over time. A step sees ``2 ** num_layers - 1`` steps to either side."""

    def __init__(
        self, in_dim: int, num_classes: int, *, hidden_dim: int = 64, num_layers: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(in_dim), nn.Dropout(dropout)
        self.project = nn.Conv1d(in_dim, hidden_dim, 1)
        self.layers = nn.ModuleList(DilatedLayer(hidden_dim, 2**i, dropout) for i in range(num_layers))
        self.head = nn.Conv1d(hidden_dim, num_classes, 1)

    def forward(self, features: FrameFeatures) -> Float[Tensor, "B T K"]:
        x = features.vectors
        present = rearrange(x.detach().ne(0).any(-1), "b t -> b 1 t")  # B 1 T; zeros lie behind the end of a film
        x = rearrange(self.drop(self.norm(x)), "b t d -> b d t")
        x = self.project(x) * present  # B C T
        for layer in self.layers:
            x = layer(x) * present  # B C T
        return rearrange(self.head(x), "b k t -> b t k")


class DilatedLayer(nn.Module):
    """A residual layer of the convolutional head."""

    def __init__(self, dim: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(dim, dim, 3, padding=dilation, dilation=dilation)
        self.mix, self.drop = nn.Conv1d(dim, dim, 1), nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        found: Tensor = x + self.drop(self.mix(F.relu(self.dilated(x))))
        return found
