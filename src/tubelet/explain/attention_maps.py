"""Relevance of the tokens of a clip from recorded attention: rollout, and gradient x attention.

Both read how attention mixes tokens. Neither sees what else mixes them (convolutions over time, values that cancel),
and rollout does not know the class. ``attention_state`` holds the sources and the rule of every step.

    C  channels   T, H, W  clip   n_t, n_h, n_w  tokens of the clip
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import ConfigError
from tubelet.explain.attention_state import AttentionState, Rule, Step
from tubelet.explain.occlusion import Logits
from tubelet.explain.target import Target
from tubelet.nn.attention_recorder import AttentionRecord, record_attention
from tubelet.types import Grid

_INSTEAD = "use occlusion or integrated_gradients"


@torch.no_grad()
def roll_out(model: nn.Module, logits_of: Logits, clip: Float[Tensor, "C T H W"]) -> Float[Tensor, "n_t n_h n_w"]:
    """Attention rollout, the mean over heads; the same for every class. One step's probabilities are held at a time.

    Raises:
        ConfigError: the attention of the model does not compose; the line says why.
        TubeletError: no attention was recorded.
    """
    composer = _Composer(model, "rollout", lambda record: record.probs)
    with record_attention(model, heads="mean", to=composer.take):
        logits_of(clip[None])
    return composer.finished().readout(composer.class_token_share)


def gradient_attention(
    model: nn.Module, logits_of: Logits, clip: Float[Tensor, "C T H W"], target: Target
) -> Float[Tensor, "n_t n_h n_w"]:
    """Gradient x attention for the logit of a class: the mean over heads of what is positive of their product.

    Call it inside ``without_parameter_gradients``. The probabilities of all heads and steps are held at once.

    Raises:
        ConfigError: the attention of the model does not compose; the line says why.
        TubeletError: no attention was recorded.
    """
    pixels = clip[None].clone().requires_grad_()  # 1 C T H W
    with torch.enable_grad(), record_attention(model) as records:
        score = target.logit(logits_of(pixels)).sum()
    gradients = torch.autograd.grad(score, [record.probs for record in records], allow_unused=True)
    products = {
        id(record): torch.zeros_like(record.probs) if slope is None else (slope * record.probs).clamp(min=0)
        for record, slope in zip(records, gradients, strict=True)
    }
    composer = _Composer(model, "gradient", lambda record: products[id(record)])
    with torch.no_grad():
        for record in records:
            composer.take(record)
        return composer.finished().readout(composer.class_token_share)


def on_pixels(tokens: Float[Tensor, "n_t n_h n_w"], clip_size: Grid) -> Float[Tensor, "T H W"]:
    """Every pixel gets the value of its token. Sampled frames stand for those around them."""
    return F.interpolate(tokens[None, None], clip_size, mode="nearest")[0, 0]


class _Composer:
    """Takes records in the order of the forward pass, and gives the state those of one module together."""

    def __init__(self, model: nn.Module, rule: Rule, weigh: Callable[[AttentionRecord], Tensor]) -> None:
        self.rule, self.weigh = rule, weigh
        self.frame_pool = _frame_pool(model)
        self.class_token_share = float(getattr(model, "class_token_share", 0.0))
        if getattr(getattr(model, "config", None), "global_pool", None) == "max":
            raise ConfigError(f"the model takes the maximum over tokens, which attention does not describe; {_INSTEAD}")
        self.state: AttentionState | None = None
        self.waiting: list[Step] = []
        self.module = ""

    def take(self, record: AttentionRecord) -> None:
        step = self._step(record)
        if record.module != self.module or record.call == 0:
            self._flush()
            self.module = record.module
        if self.state is None:
            assert record.grid is not None
            self.state = AttentionState(record.grid, self.rule, self.frame_pool, record.probs.device)
        self.waiting.append(step)

    def finished(self) -> AttentionState:
        self._flush()
        assert self.state is not None  # the recorder raises where nothing was recorded
        return self.state

    def _flush(self) -> None:
        if self.waiting:
            assert self.state is not None
            self.state.apply(self.waiting)
            self.waiting = []

    def _step(self, record: AttentionRecord) -> Step:
        if record.kind is None or record.queries is None or record.keys is None or record.grid is None:
            raise ConfigError(
                f"the model does not say which tokens of the clip '{record.module}' attends to, so its attention "
                f"does not compose; {_INSTEAD}"
            )
        if (record.kind == "cross" and record.layer is None) or _repeats_patches(record.keys):
            raise ConfigError(
                f"'{record.module}' reads tokens of several layers in a way that is not recorded, so its attention "
                f"does not compose; {_INSTEAD}"
            )
        weights = self.weigh(record).detach().float().mean(2)[0]  # G Q K
        return Step(kind=record.kind, weights=weights, queries=record.queries, keys=record.keys, layer=record.layer)


def _frame_pool(model: nn.Module) -> str:
    pool = getattr(model, "frame_pool", "token")
    if pool not in ("token", "avg"):
        raise ConfigError(f"the vector of a frame is pooled by '{pool}', which attention does not describe; {_INSTEAD}")
    return str(pool)


def _repeats_patches(keys: Int[Tensor, "G K 3"]) -> bool:
    """Whether one group holds a patch twice: as two layers gave it."""
    patches = keys[0][keys[0][:, 1] >= 0]
    return len(patches) > len(patches.unique(dim=0))
