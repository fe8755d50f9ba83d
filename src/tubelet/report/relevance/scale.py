"""How strong a color a value of relevance gets: the scale of the pictures of an explanation.

The scale of the clip alone paints noise as strongly as evidence. That of other clips, which the model was trained on,
leaves a clip pale in which it finds little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tubelet.explain.explanation import Explanation

ALONE = "this clip alone"
QUANTILE = 0.99  # of the absolute relevance: what is shown in full color


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is shown in full color, and where it is from."""

    value: float  # absolute relevance; 0 where there is none anywhere
    over: str  # the clips, as pictures say it

    @property
    def is_alone(self) -> bool:
        """Whether it is of what is explained, and of no other clips."""
        return self.over.startswith(ALONE)

    @property
    def text(self) -> str:
        """The line of a picture."""
        return f"full color: {self.value:.3g}, the {QUANTILE:g} quantile of |relevance| of {self.over}"


def scale_over(explanations: Sequence[Explanation], over: str = ALONE) -> Scale:
    """The scale of clips that were explained in the same way."""
    return scale_of_values(np.abs(np.concatenate([one.relevance.ravel() for one in explanations])), over)


def scale_of_values(values: Float[np.ndarray, " N"], over: str) -> Scale:
    """The scale of absolute relevances."""
    return Scale(value=float(np.quantile(values, QUANTILE)) or float(values.max()), over=over)
