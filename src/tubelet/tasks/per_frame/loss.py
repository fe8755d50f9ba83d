"""What training of a per-frame head minimizes: the mean over the labeled steps of a batch.

B  windows   T  steps   K  classes
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """Cross entropy of one class per step, or binary cross entropy of each class."""

    one: bool  # behaviors exclude each other
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None  # K; of one: of each class; else how much more a step with the class counts

    def shares(self, targets: Int[Tensor, "B T"], weight: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """How much each window of a whole batch counts: its labeled steps over those of all."""
        labeled = (targets >= 0).sum(dim=1) * weight  # B
        return labeled[:, None] / labeled.sum().clamp(min=1)

    def __call__(
        self, logits: Float[Tensor, "B T K"], targets: Int[Tensor, "B T"], shares: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the share of labeled steps whose classes are all right at one half (or the likeliest)."""
        labeled = (targets >= 0).float()
        each, right = self._one(logits, targets) if self.one else self._several(logits, targets)  # B T
        share = shares * labeled / labeled.sum(dim=1, keepdim=True).clamp(min=1)  # B T
        return (each * share).sum(), (right * share).sum()

    def _one(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        known = targets.clamp(min=0)
        each = F.cross_entropy(
            logits.transpose(1, 2), known, weight=weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return each, (logits.detach().argmax(-1) == known).float()

    def _several(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        bits = torch.arange(logits.shape[-1], device=logits.device)
        seen = ((targets.clamp(min=0)[..., None] >> bits) & 1).to(logits.dtype)  # B T K
        smoothed = seen * (1 - self.label_smoothing) + self.label_smoothing / 2
        positive = None if self.class_weights is None else self.class_weights.to(logits.device)
        each = F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=positive, reduction="none").mean(-1)
        return each, ((logits.detach() > 0) == (seen > 0.5)).all(-1).float()
