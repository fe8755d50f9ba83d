"""What every token of a model holds of every token of the clip, composed step by step from recorded attention.

Sources: attention rollout is Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020, arXiv
2005.00928) section 3; gradient x attention is Chefer, Gur and Wolf, "Generic Attention-model Explainability" (ICCV
2021, arXiv 2103.15679) equations 5, 6 and 10. Both are defined for joint attention.

Deviation: here every step is a rule on the rows of its own queries, so that the steps of factorized models compose:

    joint          all tokens of the clip gather from all
    space, time    the tokens of a frame, or of a place, gather from each other; other groups do not meet
    divided        time, then space: two steps, one after the other. The class token has a copy in every frame, and its
                   row is the mean of what the copies gathered, as the block averages them (of gradients, the sum)
    dot product    time and space in one module: both read the rows before it, and a row is the mean of both
    window         a frame gathers from its neighbors and the class token, in several calls that read the same rows
    pool, cross    a query that no step has made starts outside of the clip and gathers from its keys: the rows as they
                   are, or of cross as they were behind the layer that the keys are from

    N  tokens of the clip   M = N + 1, with one column for what comes from no pixel   G, Q, K  as in the recorder
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.nn.attention_steps import EVERYWHERE, NOWHERE, StepKind
from tubelet.types import Grid

Rule = Literal["rollout", "gradient"]
Slot = tuple[int, int, int, int]  # t, h, w, and which of the tokens of one group with this position

_CLIP_TOKEN: Slot = (EVERYWHERE, EVERYWHERE, EVERYWHERE, 0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One attention of one clip, its heads reduced."""

    kind: StepKind
    weights: Float[Tensor, "G Q K"]
    queries: Int[Tensor, "G Q 3"]
    keys: Int[Tensor, "G K 3"]
    layer: int | None = None  # cross: which rows are read; else: as which the rows behind it are kept


class AttentionState:
    """A row per token: shares of the tokens of the clip, and in the last column what comes from none of them.

    Args:
        grid: tokens of the clip.
        rule: "rollout" is ``(row + gathered) / 2``, whose rows sum to one; "gradient" is ``row + gathered``.
        frame_pool: "avg" where the vector of a frame is the mean of its patches though it has a class token.
    """

    def __init__(self, grid: Grid, rule: Rule, frame_pool: str = "token", device: torch.device | None = None) -> None:
        self.grid, self.rule, self.frame_pool = grid, rule, frame_pool
        self.num_tokens = prod(grid)
        _, n_h, n_w = grid
        self.slots: dict[Slot, int] = {
            (i // (n_h * n_w), i // n_w % n_h, i % n_w, 0): i for i in range(self.num_tokens)
        }
        self.rows = torch.eye(self.num_tokens, self.num_tokens + 1, device=device)  # tokens M
        self.layers: dict[int, Tensor] = {}  # rows behind the layers that are read again
        self.last_queries: list[int] = []
        self.last_kind: StepKind | None = None
        self._is_over_frames = False  # whether a step has gathered from vectors of frames

    def apply(self, steps: Sequence[Step]) -> None:
        """The steps of one module: all read the rows as they are before it."""
        places = [
            (self._rows_of(step.queries, step.kind), self._rows_of(step.keys, step.kind)) for step in steps
        ]  # each G Q, G K
        before = self.rows
        gathered, count = torch.zeros_like(before), before.new_zeros(len(before))
        for step, (queries, keys) in zip(steps, places, strict=True):
            weights = step.weights * (keys >= 0).unsqueeze(1)  # G Q K
            found = weights @ self._read(step)[keys.clamp(min=0)]  # G Q M
            is_token = queries >= 0
            tokens, copies = queries[is_token].unique(return_counts=True)
            of_step = torch.zeros_like(before).index_add_(0, queries[is_token], found[is_token])
            # The gradient of a copy's attention holds its share of the mean already; a probability does not.
            gathered[tokens] += of_step[tokens] / (copies.unsqueeze(1) if self.rule == "rollout" else 1)
            count[tokens] += 1
        changed = count > 0
        new = gathered[changed] / count[changed].unsqueeze(1)
        self.rows = before.clone()
        self.rows[changed] = before[changed] + new if self.rule == "gradient" else (before[changed] + new) / 2
        self.last_queries = sorted({int(row) for queries, _ in places for row in queries.flatten() if row >= 0})
        self.last_kind = steps[-1].kind
        if self.last_kind != "cross" and steps[-1].layer is not None:
            self.layers[steps[-1].layer] = self.rows

    def readout(self, class_token_share: float = 0.0) -> Float[Tensor, "n_t n_h n_w"]:
        """The row of what the head takes: the last queries, the class token, or the mean of frames or of patches.

        Args:
            class_token_share: share of the mean of the frames' class tokens, beside that of the last queries.
        """
        if self.last_kind in ("cross", "pool") and class_token_share:
            parts = (self.rows[rows, : self.num_tokens] for rows in (self.last_queries, self._frame_rows()))
            queries, frames = (part.sum(0) if self.rule == "gradient" else part.mean(0) for part in parts)
            if self.rule == "gradient":  # the gradient of an attention holds the share of what it made already
                return (queries + frames).view(self.grid)
            return torch.lerp(queries, frames, class_token_share).view(self.grid)
        if self.last_kind in ("cross", "pool"):
            rows = self.last_queries
        elif _CLIP_TOKEN in self.slots:
            rows = [self.slots[_CLIP_TOKEN]]
        else:
            rows = self._frame_rows()
        if rows:
            return self.rows[rows, : self.num_tokens].mean(0).view(self.grid)
        patches = self.rows[: self.num_tokens, : self.num_tokens]
        if self.rule == "gradient":  # what a patch holds of itself from the start says nothing of attention
            patches = patches - torch.eye(self.num_tokens, device=patches.device)
        return patches.mean(0).view(self.grid)

    def _read(self, step: Step) -> Float[Tensor, "tokens M"]:
        """The rows that a step gathers from: of a layer for what was there behind it, else as they are."""
        if step.kind != "cross" or step.layer is None:
            return self.rows
        kept = self.layers[step.layer]
        return torch.cat([kept, self.rows[len(kept) :]])

    def _frame_rows(self) -> list[int]:
        slots = ((t, EVERYWHERE, EVERYWHERE, 0) for t in range(self.grid[0]))
        rows = [self.slots[slot] for slot in slots if slot in self.slots]
        if rows and self.frame_pool == "avg" and not self._is_over_frames:
            return []  # the mean over frames of the means of their patches is the mean of all patches
        return rows

    def _rows_of(self, positions: Int[Tensor, "G N 3"], kind: StepKind) -> Int[Tensor, "G N"]:
        """The row of every token; -1 where there is none. Tokens that no step has named get one."""
        found = [[self._row_of(slot, kind) for slot in _slots(group)] for group in positions.tolist()]
        return torch.tensor(found, device=self.rows.device)

    def _row_of(self, slot: Slot, kind: StepKind) -> int:
        if slot[0] == NOWHERE:
            return -1
        is_frame = slot[0] >= 0 and slot[1] == EVERYWHERE
        if is_frame and kind != "space" and not self._is_over_frames:
            self._pool_frames()
        if slot not in self.slots:
            row = self.rows.new_zeros(1, self.rows.shape[1])
            row[0, -1] = 1
            self._add(slot, row)
        return self.slots[slot]

    def _pool_frames(self) -> None:
        """The vector of a frame: its class token, where it has one, or the mean of its patches."""
        self._is_over_frames = True
        means = self.rows[: self.num_tokens].unflatten(0, (self.grid[0], -1)).mean(1)  # n_t M
        for t in range(self.grid[0]):
            slot = (t, EVERYWHERE, EVERYWHERE, 0)
            if slot not in self.slots:
                self._add(slot, means[t : t + 1])
            elif self.frame_pool == "avg":
                self.rows[self.slots[slot]] = means[t]

    def _add(self, slot: Slot, row: Float[Tensor, "1 M"]) -> None:
        self.slots[slot] = len(self.rows)
        self.rows = torch.cat([self.rows, row])


def _slots(group: Sequence[Sequence[int]]) -> Iterator[Slot]:
    seen: Counter[tuple[int, ...]] = Counter()
    for position in group:
        t, h, w = position
        yield t, h, w, seen[t, h, w]
        seen[t, h, w] += 1
