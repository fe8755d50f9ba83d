"""The arithmetic behind the benchmark's ratios, and that contestants take turns."""

from __future__ import annotations

import pytest
import relative
from relative import Runs, measure_interleaved, speedup


def test_a_run_at_the_products_own_rate_has_a_share_of_one() -> None:
    runs = Runs(seconds=(2.0, 4.0), product_rates=(50.0, 50.0))
    assert runs.product_shares(100) == [1.0, 0.5]


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    ours = Runs(seconds=(1.0, 2.0, 4.0), product_rates=(80.0, 40.0, 20.0))
    other = Runs(seconds=(1.5, 3.0, 6.0), product_rates=(80.0, 40.0, 20.0))
    assert speedup(ours, other) == pytest.approx(1.5)
    assert set(ours.product_shares(40)) == {0.5}


def test_contestants_take_turns_and_the_first_round_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative, "PRODUCT", (64, 64, 64))
    calls: list[str] = []
    runs = measure_interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repetitions=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(run.seconds) for name, run in runs.items()} == {"a": 2, "b": 2}
