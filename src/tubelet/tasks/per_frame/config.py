"""Fields of a recipe under ``per_frame``: what is learned of films whose stretches are labeled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import added

FeatureKind = Literal["auto", "frames", "tokens"]


@dataclass(frozen=True, kw_only=True)
class PerFrameConfig:
    """A head on the features of a film's time steps, and how it is trained, alone or with the backbone."""

    labels: Literal["several", "one"] = "several"  # behaviors at once, or one of them or background
    head: Literal["conv", "linear"] = "conv"  # dilated convolutions over time, or each step for itself
    hidden_dim: int = 64  # width of the convolutions
    num_layers: int = 5  # residual layers of convolutions; layer i reaches 2^i steps to either side
    dropout: float = 0.25  # of features and between layers
    features: FeatureKind = "auto"  # per-frame stage, or tokens of clips pooled over space; auto: the stage if there
    window_steps: int = 128  # steps that enter the head together, in training and for films
    overlap: float = 0.5  # share of a window that the next one sees again
    jitter: bool = True  # training windows begin at any step, drawn for each epoch
    observer: str | None = None  # whose labels to train on, where several labeled; None means the first of each film
    feature_folder: Path | None = None  # features of films for other runs and data sets; None means the run's folder
    train_backbone: bool = added(False)  # end to end on windows of frames; False: the head alone, on stored features

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "window_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"per_frame.{name} must be at least 1, got {getattr(self, name)}")
        if self.num_layers < 0:
            raise ConfigError(f"per_frame.num_layers must not be negative, got {self.num_layers}")
        if self.train_backbone and self.feature_folder is not None:
            raise ConfigError("per_frame.feature_folder: has no effect with train_backbone, which stores no features")
        if not 0 <= self.dropout < 1 or not 0 <= self.overlap < 1:
            raise ConfigError(
                f"per_frame.dropout and per_frame.overlap must lie in [0, 1), got {self.dropout} and {self.overlap}"
            )

    @property
    def hop_steps(self) -> int:
        """Steps from one window to the next."""
        return max(1, round(self.window_steps * (1 - self.overlap)))
