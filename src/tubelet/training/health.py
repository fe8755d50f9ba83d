"""Problems that make a run worthless while it looks like any other. Each gets one warning, with its remedy.

Before the first step: labels that are all the same, nothing to train, a warm-up as long as the run. While it runs: a
learning rate of zero, gradients of zero, a loss that is not finite, more waiting for data than work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from tubelet.data.clips.augment_config import MixConfig
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, Diverged
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.optim.config import OptimizerConfig

WAITING_SHARE = 0.5  # of an epoch; more gets a warning
EARLY_STEPS = 100  # of a session, after which waiting is first looked at, because an epoch may last for hours
_NO_RATE = 1e-12  # a step this small leaves every float32 weight of usual size as it is
_STEPS_WITHOUT_GRADIENT = 10  # in a row


def check_trainable(model: nn.Module) -> None:
    """Raises ConfigError when every parameter is frozen."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            f"everything is frozen: none of the parameters of {type(model).__name__} takes a gradient; freeze fewer "
            "modules (freeze), or call requires_grad_() on what is to train"
        )


def look_at_labels(train: Manifest) -> list[str]:
    """A line for each head whose training labels are all the same."""
    lines = []
    for i, head in enumerate(train.class_names):
        seen = train.label_sets(i)
        if not train.multi_label:
            seen -= {()}  # not known
        if len(seen) == 1:
            named = ", ".join(train.class_names[head][label] for label in seen.pop())
            lines.append(
                f"labels are constant: every training video has '{named}' as its {head}, so that there is nothing to "
                "learn; check the label column or the folders (`tubelet data manifest` shows what was read)"
            )
    return lines


def look_at_schedule(training: TrainingConfig, optim: OptimizerConfig) -> list[str]:
    """A line when the learning rate never comes to what it is set to, or to 0 before the end."""
    if optim.schedule_epochs is not None and optim.schedule_epochs < training.num_epochs and not optim.min_lr:
        return [
            f"the learning rate is 0 after epoch {optim.schedule_epochs} of {training.num_epochs}: set optim.min_lr, "
            "or leave optim.schedule_epochs out"
        ]
    if optim.warmup_epochs < training.num_epochs:
        return []
    return [
        f"the warm-up is as long as the run (optim.warmup_epochs={optim.warmup_epochs:g}, training.num_epochs="
        f"{training.num_epochs}): the learning rate only rises, and the last step alone has optim.lr; shorten the "
        "warm-up, or train longer"
    ]


class TrainingHealth:
    """Watches a run, and notes each problem once.

    Args:
        steps_per_epoch: tells how many steps the warm-up has, which begins with a learning rate of zero.
        num_workers: processes that read the data.
    """

    def __init__(
        self,
        training: TrainingConfig,
        optim: OptimizerConfig,
        session: Session,
        steps_per_epoch: int,
        num_workers: int,
    ) -> None:
        self.training, self.optim, self.progress = training, optim, session.progress
        self.warmup_steps, self.num_workers = int(optim.warmup_epochs * steps_per_epoch), num_workers
        self._noted = set[str]()
        self._without_gradient = 0

    def look_at_start(self, train: Manifest) -> None:
        """Warn of what the labels and the configuration show before the first step."""
        for line in [*look_at_labels(train), *look_at_schedule(self.training, self.optim)]:
            self._warn(line, line)

    def look_at_step(self, row: Mapping[str, Any]) -> None:
        """Check a row of the log.

        Raises:
            Diverged: Loss or gradient are not finite.
        """
        self._check_finite(row)
        # A warm-up begins at zero; after it a rate of zero is nobody's wish.
        if row["lr"] < _NO_RATE and row["step"] > self.warmup_steps + 1:
            self._warn(
                "rate",
                f"the learning rate is {row['lr']:.3g} at step {row['step']}: the weights stay as they are; raise "
                f"optim.lr ({self.optim.lr:g}), or look at optim.step_epochs and optim.step_factor",
            )
        self._without_gradient = self._without_gradient + 1 if row["grad_norm"] == 0 else 0
        if self._without_gradient == _STEPS_WITHOUT_GRADIENT:
            self._warn(
                "gradient",
                f"the gradient was zero in {_STEPS_WITHOUT_GRADIENT} steps up to step {row['step']}: nothing learns; "
                "look for a part of the model that ignores its input or is detached, and for pixels that are all alike",
            )

    def compare_losses(self, mix: MixConfig) -> None:
        """Note why the loss of training is no measure of that of validation."""
        smoothing = self.training.label_smoothing
        causes = [f"training.label_smoothing={smoothing:g}"] * bool(smoothing) + ["augment.mix"] * mix.is_on
        if causes:
            self.progress.note(
                f"training loss is of softened labels ({', '.join(causes)}), validation loss of plain ones: that of "
                "training cannot fall to 0, and usually lies above that of validation"
            )

    def report_waiting(self, epoch: int, waited: float, seconds: float) -> None:
        """Note how much of an epoch went by without data to work on, in seconds.

        Only epochs 1, 2, 4, 8 and so on get a note, so that short epochs do not fill the screen.
        """
        if (epoch + 1) & epoch == 0:
            share = waited / seconds if seconds > 0 else 0.0
            self.progress.note(f"epoch {epoch + 1}: {seconds:.1f} s, {share:.0%} of it waiting for data")

    def look_at_waiting(self, waited: float, seconds: float) -> None:
        """Warn when waiting for data took most of the time. The time leaves out the start of the reader processes."""
        if seconds <= 0 or waited / seconds <= WAITING_SHARE:
            return
        more = f"raise data.num_workers ({self.num_workers})"
        self._warn(
            "waiting",
            f"{waited / seconds:.0%} of the time went by waiting for data: {more}, or store smaller videos "
            "(`tubelet data prepare`); `tubelet data bench` says what takes the time",
        )

    def _check_finite(self, row: Mapping[str, Any]) -> None:
        if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
            return
        remedies = ["lower optim.lr", "lengthen optim.warmup_epochs"]
        if self.optim.clip_grad_norm is None:
            remedies.append("set optim.clip_grad_norm 1.0")
        if self.training.precision != "fp32":
            remedies.append("use training.precision fp32")
        raise Diverged(
            f"loss {row['loss']} and gradient norm {row['grad_norm']} at step {row['step']} "
            f"(epoch {row['epoch']}, learning rate {row['lr']:.3g}) are not finite; "
            f"the last checkpoint is untouched: start a new run and {', '.join(remedies)} (to go on would come to the "
            "same step)"
        )

    def _warn(self, kind: str, line: str) -> None:
        if kind not in self._noted:
            self._noted.add(kind)
            self.progress.note(f"warning: {line}")
