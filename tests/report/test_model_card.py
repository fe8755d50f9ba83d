"""A model card says what the record and the metrics say, and nothing about the machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import PROTOCOL
from tubelet.report.model_card import model_card
from tubelet.weights.checkpoint.checkpoint import Record

METRICS: dict[str, Any] = {
    **{"split": "test", "num_videos": 160, "num_failed": 3, "views": "2x3", "averaging": "logits", "top1": 0.8625},
    **{"top5": 0.99, "top5_k": 5, "mean_class": 0.85, "auroc": 0.971, "calibration_error": 0.041},
    **{"majority_baseline": 0.125, "majority_label": "left"},
}
PROVENANCE: dict[str, Any] = {
    "recipe": {"model": {"name": "vivit_ti16x2_fe"}, "data": {"source": "/home/someone/secret/gestures"}},
    "data_fingerprint": "abc123",
    "versions": {"tubelet": "0.1.0", "torch": "2.11"},
}


def record(**provenance: Any) -> Record:
    return Record(model_name="vivit_ti16x2_fe", model_config={}, protocol=PROTOCOL, provenance=provenance)


def front_of(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    content: dict[str, Any] = yaml.safe_load(front)
    return content


def test_the_card_holds_metrics_with_their_views_and_counts_and_the_protocol() -> None:
    card = model_card(record(**PROVENANCE), METRICS, "me/gestures", "cc-by-4.0")
    assert "On the test split: 160 videos, 3 failed, 2x3 views" in card
    assert "| top-1 | 86.2% |" in card
    assert "| always 'left' | 12.5% |" in card
    assert "4 frames (every 2.), short side 20 pixels, crop 16x16, RGB" in card
    assert "tubelet.load('me/gestures')" in card
    front = front_of(card)
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "tubelet")
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"type": "custom", "name": "gestures", "split": "test"}
    assert {m["type"]: m["value"] for m in result["metrics"]} == {"accuracy": 0.8625, "roc_auc": 0.971}


def test_accuracy_on_training_clips_is_called_so_and_not_published() -> None:
    card = model_card(record(**PROVENANCE), {**METRICS, "split": "train"}, "me/gestures")
    assert "No clip was held out: these figures say nothing about new clips." in card
    assert "model-index" not in front_of(card)


def test_no_path_of_the_machine_is_on_the_card() -> None:
    card = model_card(record(**PROVENANCE), METRICS, "me/gestures")
    assert "gestures" in card
    assert "secret" not in card
    assert "/home" not in card


@pytest.mark.parametrize("auroc", [None, 0.5])
def test_what_is_not_known_is_said_and_not_filled_in(auroc: float | None) -> None:
    card = model_card(record(), None, "me/x")
    assert "Not evaluated" in card
    assert "License: unknown" in card
    assert "Data: not known" in card
    assert not {"license", "model-index"} & front_of(card).keys()
    evaluated = model_card(record(), {**METRICS, "auroc": auroc}, "me/x")
    assert ("| AUROC | not defined |" in evaluated) == (auroc is None)


def test_converted_weights_say_where_they_are_from_and_how_far_from_the_original() -> None:
    converted = {
        "source": "scenic",
        "original": "google-research/scenic",
        "path": "checkpoint",
        "license": "apache-2.0",
        "mapping": {"summary": "36 tensors filled, 0 fresh, 0 of the source dropped", "rows": []},
        "parity": {"measured": True, "max_abs_difference": 3.1e-6},
    }
    card = model_card(record(**converted), None, "me/x")
    assert "Converted from google-research/scenic (checkpoint)." in card
    assert "36 tensors filled" in card
    assert "at most 3.1e-06" in card
    assert front_of(card)["license"] == "apache-2.0"


def test_many_labels_are_cut_and_counted() -> None:
    protocol = dataclasses.replace(PROTOCOL, labels={"label": tuple(f"class {i}" for i in range(400))})
    card = model_card(dataclasses.replace(record(), protocol=protocol), None, "me/x")
    assert "class 59 ... and 340 more in `tubelet.json`" in card
    assert Path("class 60").name not in card
