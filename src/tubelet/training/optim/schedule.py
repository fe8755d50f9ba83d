"""The learning-rate schedule, from timm's schedulers.

By default the official ViViT one (google-research/scenic, commit 4a38d475, ``train_lib/lr_schedules.py``): a linear
warm-up from zero, then one cosine from the peak that starts after the warm-up. With ``optim.step_epochs`` the steps of
TimeSformer (facebookresearch/TimeSformer, commit a5ef29a7, ``timesformer/utils/lr_policy.py``): the peak until an
epoch, then a share of it.
"""

from __future__ import annotations

import dataclasses
import logging

import torch
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler
from torch import nn

from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer

# timm's words for a warm-up as long as the run, of which the run itself warns by the names of its own fields.
_NO_EFFECT = "Cosine annealing scheduler will have no effect"
logging.getLogger("timm.scheduler.cosine_lr").addFilter(lambda record: not record.getMessage().startswith(_NO_EFFECT))


def make_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, *, num_epochs: int, steps_per_epoch: int
) -> CosineLRScheduler | MultiStepLRScheduler:
    """Make the schedule in optimizer steps: ``schedule.step_update(step)`` sets the rate that step ``step`` uses.

    The rate of a parameter group, ``min_lr`` too, is ``lr_scale`` times that of the schedule.
    """
    total = max(1, (config.schedule_epochs or num_epochs) * steps_per_epoch)
    warmup = min(int(config.warmup_epochs * steps_per_epoch), total - 1)
    if config.step_epochs:
        return MultiStepLRScheduler(
            optimizer,
            # timm lowers the rate one step early: it asks which steps lie behind the one after this.
            decay_t=[int(epoch * steps_per_epoch) + 1 for epoch in config.step_epochs],
            decay_rate=config.step_factor,
            warmup_t=warmup,
            warmup_lr_init=0.0,
            warmup_prefix=False,
            t_in_epochs=False,
        )
    return CosineLRScheduler(
        optimizer,
        t_initial=total - warmup,
        lr_min=config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=0.0,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def learning_rates(
    config: OptimizerConfig, *, num_epochs: int, steps_per_epoch: int, num_points: int
) -> list[tuple[int, float]]:
    """Return (step, learning rate) at ``num_points`` steps spread over a run; fewer if the run has fewer steps."""
    flat = dataclasses.replace(config, head_lr=None, layer_decay=1.0)  # because groups only scale the schedule
    optimizer = make_optimizer(nn.Linear(1, 1, bias=False), flat)
    schedule = make_schedule(optimizer, config, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch)
    last = num_epochs * steps_per_epoch - 1
    points = []
    for step in sorted({round(i * last / (num_points - 1)) for i in range(num_points)}):
        schedule.step_update(step)
        points.append((step, optimizer.param_groups[0]["lr"]))
    return points
