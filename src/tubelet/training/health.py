"""What makes a run worth nothing while it looks like any other: each is said once, in a line with its remedy.

Before the first step: labels that are all the same, nothing to train, a warm-up as long as the run. While it runs: a
learning rate of zero, gradients of zero, a loss that is not finite, more waiting for data than work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, Diverged
from tubelet.training.config import TrainingConfig
from tubelet.training.optim.optimizer import OptimizerConfig

WAITING_SHARE = 0.5  # of an epoch; more is said
EARLY_STEPS = 100  # of a session, after which waiting is looked at for the first time: an epoch may last for hours
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
        seen = {tuple(labels_of(s.labels, i, multi_label=train.multi_label)) for s in train.samples}
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
    """A line when the learning rate never comes to what it is set to."""
    if optim.warmup_epochs < training.num_epochs:
        return []
    return [
        f"the warm-up is as long as the run (optim.warmup_epochs={optim.warmup_epochs:g}, training.num_epochs="
        f"{training.num_epochs}): the learning rate only rises, and the last step alone has optim.lr; shorten the "
        "warm-up, or train longer"
    ]


class Health:
    """Watches a run.

    Args:
        note: told each line.
        warmup_steps: that begin with a learning rate of zero.
        num_workers: that read the data.
    """

    def __init__(
        self,
        training: TrainingConfig,
        optim: OptimizerConfig,
        note: Callable[[str], None],
        *,
        warmup_steps: int,
        num_workers: int,
    ) -> None:
        self.training, self.optim, self.note = training, optim, note
        self.warmup_steps, self.num_workers = warmup_steps, num_workers
        self._said = set[str]()
        self._without_gradient = 0
        self._steps = 0  # of this session

    def look_at_start(self, train: Manifest) -> None:
        """What the labels and the configuration tell."""
        for line in [*look_at_labels(train), *look_at_schedule(self.training, self.optim)]:
            self._say(line, line)

    def look_at_step(self, row: Mapping[str, Any]) -> None:
        """A row of the log, with numbers.

        Raises:
            Diverged: loss or gradient are not finite.
        """
        self._check_finite(row)
        # A warm-up begins at zero; after it a rate of zero is nobody's wish.
        if row["lr"] < _NO_RATE and row["step"] > self.warmup_steps + 1:
            self._say(
                "rate",
                f"the learning rate is {row['lr']:.3g} at step {row['step']}: the weights stay as they are; raise "
                f"optim.lr ({self.optim.lr:g}), or look at optim.step_epochs and optim.step_factor",
            )
        self._without_gradient = self._without_gradient + 1 if row["grad_norm"] == 0 else 0
        if self._without_gradient == _STEPS_WITHOUT_GRADIENT:
            self._say(
                "gradient",
                f"the gradient was zero in {_STEPS_WITHOUT_GRADIENT} steps up to step {row['step']}: nothing learns; "
                "look for a part of the model that ignores its input or is detached, and for pixels that are all alike",
            )

    def report_waiting(self, epoch: int, waited: float, seconds: float) -> None:
        """How much of an epoch went by without data to work on, in seconds.

        Said of epochs 1, 2, 4, 8 and so on: what is slow shows early, and short epochs do not fill the screen.
        """
        if (epoch + 1) & epoch == 0:
            share = waited / seconds if seconds > 0 else 0.0
            self.note(f"epoch {epoch + 1}: {seconds:.1f} s, {share:.0%} of it waiting for data")

    def look_early(self, waited: float, seconds: float) -> None:
        """``look_at_waiting`` once within the first epoch, where that is long; called after every step."""
        self._steps += 1
        if self._steps == EARLY_STEPS:
            self.look_at_waiting(waited, seconds)

    def look_at_waiting(self, waited: float, seconds: float) -> None:
        """The same, without what comes once: the start of the processes that read."""
        if seconds <= 0 or waited / seconds <= WAITING_SHARE:
            return
        more = f"raise data.num_workers ({self.num_workers})"
        self._say(
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

    def _say(self, kind: str, line: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self.note(f"warning: {line}")
