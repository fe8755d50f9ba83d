"""Whether a video is none of the classes: how familiar its logits are, against those of the validation videos.

    max_logit   the largest logit (Hendrycks et al. 2022, arXiv:1911.11132)
    energy      log of the summed exponentials (Liu et al. 2020, arXiv:2010.03759); where a video may have several
                labels, the sum of each class's softplus (Wang et al. 2021, arXiv:2111.12797)

Scores of several heads are summed. They are taken of the mean logits of the views, before the temperature.

    B  videos    K  classes of all heads together
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.protocol import LEVELS, Calibration, Protocol, Rejection, RejectionScore
from tubelet.tasks.actions import by_head
from tubelet.tasks.video_task import Ranking
from tubelet.types import HeadScores

NONE_OF_THESE = "none of these"
MIN_VIDEOS = 20  # of a validation split, for 5 % of it to be one
SCORES: tuple[RejectionScore, ...] = get_args(RejectionScore)


def familiarity(logits: Float[Tensor, "B K"], score: RejectionScore, protocol: Protocol) -> Float[Tensor, " B"]:
    """The score of each video; higher is more familiar."""
    parts = by_head(logits.double(), [len(names) for names in protocol.labels.values()])
    if score == "max_logit":
        return sum((part.amax(-1) for part in parts), logits.new_zeros(len(logits)).double())
    if protocol.multi_label:
        return F.softplus(parts[0]).sum(-1)
    return sum((part.logsumexp(-1) for part in parts), logits.new_zeros(len(logits)).double())


def check_rejection(calibration: Calibration) -> Rejection:
    """What a checkpoint says of familiar videos.

    Raises:
        CheckpointError: nothing.
    """
    if calibration.rejection is None:
        raise CheckpointError(
            "the checkpoint does not say which videos are unknown to it: `tubelet train` learns that from a validation "
            f"split of at least {MIN_VIDEOS} videos, and converted or earlier checkpoints have none; leave out --reject"
        )
    return calibration.rejection


def refusal(logits: Float[Tensor, " K"], rejection: Rejection, protocol: Protocol) -> Ranking | None:
    """The answer "none of these" for an unfamiliar video, else None.

    What stands for its probability is the share of the validation videos that are more familiar: above 95 %.
    """
    score = float(familiarity(logits[None], rejection.score, protocol)[0])
    if score >= rejection.threshold:
        return None
    share = 1 - float(np.interp(score, rejection.quantiles, np.linspace(0, 1, LEVELS + 1)))
    heads = list(protocol.labels) if len(protocol.labels) > 1 else []
    none = HeadScores(labels=(NONE_OF_THESE,), probs=(share,))
    return Ranking(labels=none.labels, probs=none.probs, heads=dict.fromkeys(heads, none))
