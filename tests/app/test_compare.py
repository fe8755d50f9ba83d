"""Two models on one film, and a model beside labels: seconds are counted once, and stretches are where they are."""

from __future__ import annotations

import pytest

from tubelet.app.compare.confusion import LookedAt, confusion_of
from tubelet.app.compare.differences import compared
from tubelet.app.compare.stretches import side_by_side
from tubelet.app.history import Mark


def mark(label: str, start: float, stop: float) -> Mark:
    return Mark(start=start, stop=stop, label=label, kind="label")


def test_the_whole_film_is_cut_where_anything_changes() -> None:
    first, second = [mark("a", 1, 3), mark("b", 2, 4)], [mark("a", 1, 2.5), mark("a", 2.5, 9)]
    cut = [(s, e, "".join(sorted(x)), "".join(sorted(y))) for s, e, x, y in side_by_side(first, second, 6)]
    assert cut == [(0, 1, "", ""), (1, 2, "a", "a"), (2, 3, "ab", "a"), (3, 4, "b", "a"), (4, 6, "", "a")]


def test_edges_that_differ_by_rounding_are_one() -> None:
    found = compared([mark("a", 1, 3)], [mark("a", 1 + 1e-9, 3)], knows=(["a"], ["a"]), known_seconds=4)
    assert found.agreement == pytest.approx(1)
    assert found.differences == []


def test_models_are_compared_over_the_labels_that_both_know() -> None:
    first, second = [mark("run", 0, 4), mark("spin", 4, 6)], [mark("run", 0, 2), mark("rest", 2, 10)]
    found = compared(first, second, knows=(["run", "spin"], ["run", "rest"]), known_seconds=10)
    assert (found.shared, found.only_first, found.only_second) == (["run"], ["spin"], ["rest"])
    assert found.agreement == pytest.approx(0.8)
    assert [(d.start, d.stop, d.first, d.second) for d in found.differences] == [(2, 4, ["run"], [])]
    assert [(s.label, s.first, s.second, s.both) for s in found.labels] == [("run", 4, 2, 2)]
    strange = compared(first, second, knows=(["run"], ["rest"]), known_seconds=10)
    assert strange.agreement is None
    assert compared(first, second, knows=(["run"], ["run"]), known_seconds=0).agreement is None


def test_seconds_of_labels_and_findings_fall_into_cells() -> None:
    film = LookedAt(
        film="f",
        name="f.mp4",
        seconds=10,
        labeled=[mark("run", 0, 4), mark("spin", 4, 6), mark("groom", 9, 10)],
        found=[mark("run", 1, 5), mark("rest", 7, 8)],
    )
    found = confusion_of([film, film], ["run", "spin", "rest"])
    cells = {(cell.labeled, cell.found): (cell.seconds, cell.count) for cell in found.cells}
    assert cells == {
        ("run", ""): (2, 2),
        ("run", "run"): (6, 2),
        ("spin", "run"): (2, 2),
        ("spin", ""): (2, 2),
        ("", "rest"): (2, 2),
        ("groom", ""): (2, 2),
    }
    assert found.labels == ["run", "spin", "rest", "groom", ""]
    assert found.agreement == pytest.approx(6 / 14)
    (spin,) = [cell for cell in found.cells if (cell.labeled, cell.found) == ("spin", "run")]
    assert [(one.start, one.stop) for one in spin.stretches] == [(4, 5), (4, 5)]


def test_what_agrees_is_no_confusion_where_several_labels_hold() -> None:
    film = LookedAt(film="f", name="f", seconds=2, labeled=[mark("a", 0, 2), mark("b", 0, 2)], found=[mark("a", 0, 2)])
    cells = {(cell.labeled, cell.found): cell.seconds for cell in confusion_of([film], ["a", "b"]).cells}
    assert cells == {("a", "a"): 2, ("b", ""): 2}


def test_what_is_ignored_or_still_to_be_labeled_counts_nowhere_and_background_is_no_label() -> None:
    film = LookedAt(
        film="f",
        name="f",
        seconds=10,
        labeled=[mark("a", 0, 2), mark("ignore", 2, 5), mark("to label", 5, 6), mark("background", 6, 8)],
        found=[mark("a", 0, 3), mark("a", 5, 7)],
    )
    found = confusion_of([film], ["a", "b"])
    assert {(cell.labeled, cell.found): cell.seconds for cell in found.cells} == {("a", "a"): 2, ("", "a"): 1}
    assert found.agreement == 1
