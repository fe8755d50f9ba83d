"""How well clips of a split are painted under fixed masks, and whether the encoder's features tell clips apart.

B  clips of a batch   N  clips   D  width of the pooled features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.clips.normalize import to_input
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.failure_budget import FailureBudget
from tubelet.runs.masked_pretraining.model import PretrainingModel
from tubelet.session.device import autocast
from tubelet.session.session import Session
from tubelet.types import Precision


@dataclass(kw_only=True)
class ClipFigures:
    """What was measured of the clips of a split, in the order of its rows."""

    rows: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)  # of painting; empty where it was not asked for
    constants: list[float] = field(default_factory=list)  # of painting every tubelet in its mean color
    features: list[Float[Tensor, " D"]] = field(default_factory=list)  # mean of the encoder's tokens
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def pooled(self) -> Float[Tensor, "N D"]:
        """The features of all clips."""
        return torch.stack(self.features) if self.features else torch.zeros(0, 1)


@torch.no_grad()
def look_at_clips(
    model: PretrainingModel,
    loader: Loader,
    session: Session,
    precision: Precision,
    *,
    paints: bool = True,
) -> ClipFigures:
    """Measure the clips of a loader in views mode, the first view of each; all processes share the work.

    Args:
        paints: also measure how well masked tokens are painted; else features alone.
    """
    found, budget = ClipFigures(), FailureBudget(loader.dataset.manifest, 1.0, "clips")
    for batch in loader.eval_batches():
        budget.count(batch)
        read = batch.weight > 0
        session.advance(len(found.rows) + len(budget.failed), loader.num_eval_videos, "looking at clips")
        if not read.any():
            continue
        clips = to_input(batch.clips[:, 0][read], loader.dataset.protocol, session.device)  # B C T H W
        found.rows += [row for row, ok in zip(batch.index, read.tolist(), strict=True) if ok]
        with autocast(session.device, precision):
            tokens = model.encoder.tokens(clips)  # B n_t n_h n_w D
            if paints:
                masked = batch.labels[read].to(session.device)
                found.errors += model.error(clips, masked)[:, 0].tolist()
        found.features += list(tokens.float().mean(dim=(1, 2, 3)).cpu())
        if paints:
            found.constants += constant_errors(model, clips, masked)
    found.failed = budget.failed
    return _merged(session.processes.gather(found))


def constant_errors(
    model: PretrainingModel, clips: Float[Tensor, "B C T H W"], masked: Int[Tensor, "B MQ"]
) -> list[float]:
    """The error of each clip if every painted tubelet had its mean color."""
    targets = model.error.targets(clips, masked).unflatten(2, (-1, clips.shape[1]))  # B Q thw C
    difference = (targets - targets.mean(dim=2, keepdim=True)).flatten(2)  # B Q P
    values: list[float] = model.error.of_videos(difference, clips, masked).tolist()
    return values


def _merged(parts: Sequence[ClipFigures]) -> ClipFigures:
    """The clips of all processes, in the order of their rows."""
    order = sorted((row, part, place) for part, of in enumerate(parts) for place, row in enumerate(of.rows))
    merged = ClipFigures(failed={row: line for part in parts for row, line in part.failed.items()})
    for row, part, place in order:
        merged.rows.append(row)
        merged.features.append(parts[part].features[place])
        if parts[part].errors:
            merged.errors.append(parts[part].errors[place])
            merged.constants.append(parts[part].constants[place])
    return merged
