"""Which class an explanation is about, and its score in the logits of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tubelet.errors import ConfigError, nearest
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Target:
    """One class of one head, and where both stand in the logits."""

    head: str
    name: str
    index: int  # of the class among all logits
    start: int  # of the first class of the head
    stop: int  # behind the last one
    multi_label: bool

    def logit(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        return logits[:, self.index]

    def log_prob(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Logarithm of the probability of the class among those of its head; of many labels, that it is there."""
        if self.multi_label:
            return F.logsigmoid(self.logit(logits))
        return logits[:, self.start : self.stop].log_softmax(-1)[:, self.index - self.start]


def choose_target(
    protocol: Protocol, logits: Float[Tensor, " K"], class_name: str | None = None, head: str | None = None
) -> Target:
    """The class that is asked for. Without a name it is the best of the head.

    Args:
        protocol: names the classes of each head in the order of the logits.
        logits: of the clip.
        class_name: None means the best class of the clip.
        head: needed where the model has several.

    Raises:
        ConfigError: no such head or class, or several heads and none named.
    """
    heads = protocol.labels
    if not heads:
        raise ConfigError("the checkpoint is an encoder without classes; there is no class to explain")
    if head is None and len(heads) > 1:
        raise ConfigError(f"the model has the heads {', '.join(heads)}; say which one to explain (head, --head)")
    if head is not None and head not in heads:
        raise ConfigError(f"no head '{head}'{nearest(head, heads)}; the model has {', '.join(heads)}")
    head = next(iter(heads)) if head is None else head
    names = list(heads)
    start = sum(len(heads[name]) for name in names[: names.index(head)])
    of_head = heads[head]
    if class_name is None:
        place = int(logits[start : start + len(of_head)].argmax())
    elif class_name in of_head:
        place = of_head.index(class_name)
    else:
        raise ConfigError(
            f"no class '{class_name}' in the head '{head}'{nearest(class_name, of_head)}; "
            f"the model has {len(of_head)} classes (tubelet inspect lists them)"
        )
    return Target(
        head=head,
        name=of_head[place],
        index=start + place,
        start=start,
        stop=start + len(of_head),
        multi_label=protocol.multi_label,
    )


def check_finite(logits: Float[Tensor, "*B K"]) -> None:
    """Raise ConfigError where the model gives no numbers, of which nothing can be explained."""
    if not torch.isfinite(logits).all():
        raise ConfigError("the logits of the clip are not finite; the model cannot be explained (tubelet inspect)")
