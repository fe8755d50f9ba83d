"""What is offered for a class of models is what the benchmark found, and a method that failed is refused with why."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from known_cause import Bright
from torch import nn

from support import assert_one_line
from tubelet.errors import ConfigError
from tubelet.explain import tested
from tubelet.explain.config import METHODS, ExplainConfig
from tubelet.explain.tested import MethodResult, choose_method, known_results, known_text

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import explain_table  # noqa: E402


def row(method: str, fails: str = "", default: bool = False) -> MethodResult:
    found = "concentration 9.0 (8.0 to 10.0)"
    return MethodResult(model="Bright", method=method, found=found, fails=fails, default=default)  # type: ignore[arg-type]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (row("occlusion"), row("integrated_gradients", default=True), row("attention_rollout", "concentration 1.2"))
    monkeypatch.setattr(tested, "known_results", lambda: found)


def test_the_default_is_the_tested_one_and_occlusion_where_nothing_was_tested(rows: None) -> None:
    assert choose_method(Bright(), METHODS) == "integrated_gradients"
    assert choose_method(Bright(), ExplainConfig(tubelet=(2, 4, 4)).possible_methods) == "occlusion"
    assert choose_method(nn.Linear(1, 1), METHODS) == "occlusion"
    assert "concentration 9.0" in known_text(Bright(), "occlusion")
    assert "not tested" in known_text(nn.Linear(1, 1), "occlusion")


def test_a_method_that_failed_is_refused_with_the_reason_and_what_else_there_is(rows: None) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_method(Bright(), ("attention_rollout",))
    assert_one_line(
        caught, "attention_rollout is not offered for Bright", "concentration 1.2", "use occlusion or integ"
    )


def test_the_package_offers_what_the_published_result_says() -> None:
    result = json.loads((ROOT / "docs/results/explain_truth.json").read_text("utf-8"))
    with (ROOT / "src/tubelet/explain/tested.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == explain_table.tested_rows(result["models"])
    assert {each.method for each in known_results()} <= set(METHODS)


def values(gain: float, concentration: float) -> dict[str, Any]:
    spread = [0.01 * (i % 3) for i in range(16)]
    return {
        "concentration": [concentration + s for s in spread],
        "pointing_space": [1.0] * 16,
        "pointing_time": [1.0] * 16,
        "deletion": [1.0 - gain + s for s in spread],
        "insertion": [1.0 + gain + s for s in spread],
        "gaps": [],
        "randomized": {"1 of 2": [0.8] * 8, "2 of 2": [0.1 + s for s in spread[:8]]},
        "concentration_of_shuffled": [1.0] * 8,
    }


def test_a_method_fails_where_it_is_shown_to_and_what_is_not_shown_is_listed() -> None:
    random: dict[str, Any] = {"deletion": [1.0] * 16, "insertion": [1.0] * 16}
    good, spread, worse, unclear = values(0.5, 9.0), values(0.5, 2.0), values(-0.5, 9.0), values(0.0, 9.0)
    found = {"random": random, "good": good, "spread": spread, "worse": worse, "unclear": unclear}
    row = explain_table.table({"model": found})["model"]
    assert row["default"] == "good"
    assert row["methods"]["good"]["fails"] == []
    assert any("concentration 2.0, below 3" in text for text in row["methods"]["spread"]["fails"])
    assert any("deletion is worse" in text for text in row["methods"]["worse"]["fails"])
    assert row["methods"]["unclear"]["fails"] == []
    assert len(row["methods"]["unclear"]["not_shown"]) == 2
    assert row["methods"]["good"]["not_shown"] == []
    offered = explain_table.tested_rows({"model": {"class": "M", **row}})
    assert [(r["method"], r["default"], bool(r["fails"])) for r in offered] == [
        ("good", "yes", False), ("spread", "no", True), ("worse", "no", True),
        ("unclear", "no", False),
    ]  # fmt: skip


def test_a_map_that_stays_when_weights_are_shuffled_fails() -> None:
    random: dict[str, Any] = {"deletion": [1.0] * 16, "insertion": [1.0] * 16}
    stays = values(0.5, 9.0) | {"randomized": {"2 of 2": [0.9 + 0.001 * i for i in range(8)]}}
    (text,) = explain_table.table({"model": {"random": random, "good": stays}})["model"]["methods"]["good"]["fails"]
    assert "shuffled" in text
