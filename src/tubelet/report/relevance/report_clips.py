"""What a run's report shows of where its model looked: right and wrong clips of each class, for the class it answered.

Integrated gradients with few steps, so that a report costs little; ``tubelet explain`` takes more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.errors import TubeletError
from tubelet.evaluation.cost import count_macs
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explain import offered
from tubelet.explain.explanation import Explanation
from tubelet.inference.predictor import Classifier, load
from tubelet.protocol import Protocol
from tubelet.report.film_strip import film_strip
from tubelet.report.relevance.colors import READS
from tubelet.report.relevance.explained_row import explain_row
from tubelet.report.relevance.pictures import overlay
from tubelet.report.relevance.scale import Scale, scale_over
from tubelet.session.progress import Progress

MAX_EXPLAINED = 8  # clips of a report
MAX_GMACS_ON_CPU = 30.0  # of a forward pass; each clip costs some 20 of them, and a report is no long job
_STEPS = 8  # of integrated gradients


class ClipExplainer:
    """Explains clips of an evaluation, the first right and the first wrong one of each class, up to a number.

    Args:
        checkpoint: folder of the run's best weights.
        protocol: of the evaluation.
    """

    def __init__(self, checkpoint: Path, protocol: Protocol, progress: Progress) -> None:
        self.checkpoint, self.protocol, self.progress = checkpoint, protocol, progress
        self._classifier: Classifier | None = None
        self._config: ExplainConfig | None = None
        self._seen: set[tuple[str, bool]] = set()
        self._is_off = len(protocol.labels) != 1 or protocol.multi_label  # an answer is no single class

    def explain(self, dataset: ClipDataset, row: int, label: str, predicted: str) -> Explanation | None:
        """The explanation of a clip for the class that was answered; None where none is due, or a note says why."""
        kind = (label, label == predicted)
        if self._is_off or kind in self._seen or len(self._seen) >= MAX_EXPLAINED:
            return None
        try:
            found = self._explained(dataset, row, predicted)
        except TubeletError as error:
            self.progress.note(f"no relevance in the report: {error}")
            self._is_off = True
            return None
        self._seen.add(kind)
        return found

    def _explained(self, dataset: ClipDataset, row: int, predicted: str) -> Explanation:
        if self._classifier is None or self._config is None:
            self._classifier = load(self.checkpoint)
            self._check_cost(self._classifier)
            self._config = offered(self._classifier.model, ExplainConfig(num_steps=_STEPS))
        return explain_row(self._classifier, dataset, row, self.protocol, self._config, class_name=predicted)

    def _check_cost(self, classifier: Classifier) -> None:
        config: Any = classifier.model.config
        size = (config.in_channels, self.protocol.num_frames, *self.protocol.crop_size)
        gmacs = count_macs(classifier.model, size) / 1e9
        if classifier.device.type == "cpu" and gmacs > MAX_GMACS_ON_CPU:
            raise TubeletError(
                f"a clip costs {gmacs:.0f} GMACs, more than {MAX_GMACS_ON_CPU:.0f} on a CPU; "
                f"`tubelet explain {self.checkpoint} CLIP` shows one"
            )


def scale_of_page(explanations: Sequence[Explanation]) -> Scale:
    """One scale for all clips of a page."""
    return scale_over(explanations, f"the {len(explanations)} clips explained on this page")


def relevance_strip(explanation: Explanation, scale: Scale) -> tuple[list[tuple[str, str]], str]:
    """(alternative text, data address) of painted frames, and the line below them."""
    images = [(f"relevance, {text}", address) for text, address in film_strip(overlay(explanation, scale))]
    when = explanation.view.seconds[int(np.argmax(explanation.time_curve))]
    text = (
        f"Relevance for {explanation.label} ({explanation.method}, {READS}; {scale.text}; {explanation.tested}). "
        f"Most of it at {when:.2f} s."
    )
    return images, text
