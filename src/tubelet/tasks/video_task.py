"""What the tasks share that answer once per video: how logits become answers, and the columns of ``scores.csv``.

B  videos    N  videos of a split    K  answers of all heads together
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from tubelet.tasks.agreement import Agreement
from tubelet.tasks.judgment import Judgment
from tubelet.tasks.task import Task
from tubelet.types import AnswerKind, HeadScores


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The answers about one video, the best first: classes of the only head, actions and the classes of each head, or
    numbers."""

    labels: tuple[str, ...]
    probs: tuple[float, ...]  # of the labels; of numbers their values
    heads: dict[str, HeadScores]  # empty where there is one head
    kind: AnswerKind = "probability"


@dataclass(frozen=True, kw_only=True)
class VideoTask(Task):
    """A task that answers once per video."""

    is_calibrated: ClassVar[bool]  # whether validation videos teach temperatures, and which videos are unknown

    @abstractmethod
    def probs(self, logits: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """What the logits say: probabilities of the classes, or numbers."""

    @abstractmethod
    def logits_of(self, probs: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """Logits whose ``probs`` these are."""

    @abstractmethod
    def tempered(self, logits: Float[Tensor, "*B K"], temperatures: Sequence[float]) -> Float[Tensor, "*B K"]:
        """Logits divided by the temperature of their head; as they are where there is none."""

    @abstractmethod
    def temperatures(self, probs: Float[Tensor, "N K"], targets: Int[Tensor, "N *targets"]) -> tuple[float, ...]:
        """Of each head, the temperature that fits held-out videos best, from their uncalibrated probabilities."""

    @abstractmethod
    def rank(self, probs: Float[Tensor, " K"], top_k: int | None = None) -> Ranking:
        """The best answers about a video.

        Args:
            top_k: how many, of each head and of the actions. None means all.
        """

    @abstractmethod
    def agreement(self, probs: Float[Tensor, "N K"], others: Float[Tensor, "N K"]) -> Agreement:
        """How ``others``, answers by another computation of the model, compare, and why that is refused, if it is."""

    @property
    @abstractmethod
    def class_columns(self) -> list[str]:
        """How ``scores.csv`` calls the columns of the scores."""

    @property
    @abstractmethod
    def label_columns(self) -> list[str]:
        """How ``scores.csv`` calls the columns of labels and answers."""

    @abstractmethod
    def label_cells(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[list[str]]:
        """Labels and answers of each video, for ``label_columns``."""

    @abstractmethod
    def judge(self, labels: Sequence[tuple[int, ...]], probs: Float[Tensor, "B K"]) -> list[Judgment | None]:
        """The answers about videos beside what is true; None where that is not known, or nobody would call it wrong."""
