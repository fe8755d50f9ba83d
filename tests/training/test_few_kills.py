"""A small part of `make soak` (tests/soak/test_kills.py): kills and a full disk at moments picked by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kills import NUM_STEPS, different, finish, kill_at_random, leftovers, limit_at_random, look, write_recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As many as the processes that are killed: sums in another order have other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_runs_that_are_killed_or_find_the_disk_full_end_with_the_bits_of_the_one_that_is_not(tmp_path: Path) -> None:
    recipe, rng = write_recipe(tmp_path), random.Random(7)
    expected = tmp_path / "uninterrupted"
    seconds = finish(recipe, expected)
    assert leftovers(expected) == ()
    for number, interrupt in enumerate((kill_at_random, limit_at_random, kill_at_random)):
        run = tmp_path / f"run{number}"
        delay, code = interrupt(recipe, run, rng, seconds)
        found = look(interrupt.__name__, delay, code, run, run.with_suffix(".log"))
        assert found.damaged == (), found
        assert found.step <= NUM_STEPS
        if interrupt is limit_at_random:
            assert "Traceback" not in run.with_suffix(".log").read_text(encoding="utf-8")
            assert leftovers(run) == ()
            # Where the limit came after the end, or before the first state, there is nothing to go on with.
            assert code == 0 or (code == 1 and "cannot be written (file too large)" in found.said), found
        finish(recipe, run)
        assert different(run, expected) == (), found
        assert leftovers(run) == ()
