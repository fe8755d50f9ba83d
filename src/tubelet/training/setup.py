"""What the training loop is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor, nn

from tubelet.data.clips.augment_config import MixConfig
from tubelet.data.loading.config import FAILURE_BUDGET
from tubelet.data.loading.loader import Loader
from tubelet.tasks.task import Task
from tubelet.training.config import TrainingConfig
from tubelet.training.optim.config import OptimizerConfig

Looked = tuple[Mapping[str, Any], Mapping[str, UInt8[np.ndarray, "H W 3"]]]  # metrics, and pictures by name
Measure = Callable[[nn.Module], Mapping[str, Any]]  # the metrics of a model by name


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """What a run trains, on what and how. The caller, who knows models and recipes, makes every part.

    Attributes:
        model: maps clips to logits ``[B, K]``.
        loader: reads the training batches. Of several processes, each has its own loader with its rows.
        prepare: turns uint8 pixels into the model's input on the session's device.
        validate: returns the metrics of a model. None means there is no validation split, and the last weights are the
            best.
        look: called after a validation with the model and the epoch (from 0): more metrics, and pictures for
            TensorBoard. None means nothing.
        save: writes a checkpoint of the model as it stands to the folder it is given.
        check_folder: raises when another process has taken over the folder of the run. Asked before it is written to.
        training: how long to train, in what portions, and what to keep.
        optim: what changes the weights, and how fast.
        seed: keys everything random in a step.
        mix: mixup and cutmix.
        failure_budget: share of the training videos that may be unreadable (``tubelet.data.manifest.failure_budget``).
        frozen: modules that stay in eval mode.
        contents: gets the hashes of the files that were read (``Loader.take_contents``), of all processes and sessions,
            before ``save`` is called.
        task: what the targets mean. None means what the labels of the loader's manifest ask for.
    """

    model: nn.Module
    loader: Loader
    prepare: Callable[[Tensor], Tensor]
    validate: Measure | None
    save: Callable[[Path], None]
    training: TrainingConfig
    optim: OptimizerConfig
    seed: int = 0
    mix: MixConfig = field(default_factory=MixConfig)
    failure_budget: float = FAILURE_BUDGET
    frozen: tuple[nn.Module, ...] = ()
    check_folder: Callable[[], None] = lambda: None
    contents: dict[str, str] = field(default_factory=dict)
    look: Callable[[nn.Module, int], Looked] | None = None
    task: Task | None = None
