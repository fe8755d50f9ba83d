"""A bout of a film is explained with the per-frame head that found it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import assert_one_line
from tubelet import load
from tubelet.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "how", [{"method": "occlusion", "tubelet": (4, 16, 16)}, {"method": "integrated_gradients", "num_steps": 4}]
)
def test_a_bout_is_explained_on_the_samples_of_its_stretch(
    film_run: Path, film_labels: Path, how: dict[str, Any]
) -> None:
    film = sorted(film_labels.parent.rglob("*.mp4"))[0]
    classifier = load(film_run / "best", "cpu")
    label = classifier.moments(film).labels[0]
    found = classifier.explain(film, class_name=label, reading={"start_seconds": 1.0, "end_seconds": 1.6}, **how)
    assert found.label == label
    assert 0.8 <= min(found.view.seconds) <= 1.0
    assert 1.4 <= max(found.view.seconds) <= 1.6
    assert found.relevance.shape[0] == len(found.view.seconds)
    assert np.ptp(found.relevance) > 0
    assert "not tested" in found.tested


def test_a_bout_needs_its_times_and_a_method_that_sees_the_head(film_run: Path, film_labels: Path) -> None:
    film = sorted(film_labels.parent.rglob("*.mp4"))[0]
    classifier = load(film_run / "best", "cpu")
    with pytest.raises(ConfigError) as caught:
        classifier.explain(film)
    assert_one_line(caught, "give start_seconds and end_seconds", "tubelet moments")
    with pytest.raises(ConfigError) as caught:
        classifier.explain(film, method="attention_rollout", reading={"start_seconds": 1.0, "end_seconds": 2.0})
    assert_one_line(caught, "attention_rollout does not see the per-frame head", "use occlusion")
    with pytest.raises(DataError, match="it lasts"):
        classifier.explain(film, reading={"start_seconds": 90.0, "end_seconds": 91.0})
