"""The page in a real browser, by keyboard and by touch: looked at, corrected, undone, and usable by everyone."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app_server import Served

DESKTOP, PHONE = (1280, 800), (390, 844)
PATIENCE_MS = 180_000.0  # for what takes milliseconds on a machine that has nothing else to do
Opener = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Opener]:
    """Opens the page with a film that is scored; what goes wrong in a script fails the test."""
    contexts, wrong = [], list[str]()

    def opened(film: str, run: str = "r0", size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Any:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=size == PHONE)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: served.token in request.url.partition("?")[0] and wrong.append(request.url))
        page.goto(served.address)
        page.locator("#films button", has_text=film).click()
        page.select_option("#run", run)
        page.locator("#film-title", has_text=film).wait_for()
        page.locator("#progress", has_text="Scored. ").wait_for()
        page.locator("#suggestions button").first.wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def table_of(served: Served, film: str) -> list[tuple[str, float, float]]:
    """The labels of a film on the disk."""
    file = served.labels / f"{film}.csv"
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return [(r["label"], float(r["start"]), float(r["stop"])) for r in csv.DictReader(stream) if r["label"]]


def said(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def until(page: Any, expression: str) -> None:
    """Wait for an expression, looked at from outside: the page forbids scripts that evaluate text."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def lower_threshold(page: Any) -> None:
    """So that every behavior is suggested somewhere, whatever the small model learned."""
    page.locator("#threshold").fill("2")
    page.locator("#threshold-text", has_text="2 %").wait_for()
    page.wait_for_timeout(400)
    page.locator("#progress", has_text="Scored. ").wait_for()


def test_a_film_is_reviewed_by_keyboard(open_page: Opener, served: Served) -> None:
    film = "train-00.mp4"
    page = open_page(film)
    times = served.get(f"/api/films/{served.film(film)}")["times"]
    lower_threshold(page)
    page.locator("#timeline").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#frame", has_text="frame 3 of").wait_for()
    seconds = round(times[3] * 1000)
    assert page.locator("#time").inner_text() == f"0:{seconds // 1000:02d}.{seconds % 1000:03d}"
    page.locator("#still[data-frame='3']").wait_for()
    page.keyboard.press("n")
    first = page.locator("#suggestions button[aria-current='true'] .name").inner_text()
    page.keyboard.press("a")
    said(page, f"Accepted {first}; saved.")
    ((label, start, stop),) = table_of(served, film)
    assert label == first
    ends = [*times, served.get(f"/api/films/{served.film(film)}")["seconds"]]
    assert all(min(abs(edge - t) for t in ends) < 1e-5 for edge in (start, stop))
    second = page.locator("#suggestions button[aria-current='true'] .name").inner_text()
    page.keyboard.press("r")
    said(page, f"Rejected {second}; saved.")
    page.keyboard.press("n")
    page.keyboard.press("c")
    page.keyboard.type("groom")
    page.keyboard.press("Enter")
    said(page, "Labeled groom; saved.")
    assert {label for label, _, _ in table_of(served, film)} == {first, "groom"}
    page.locator("#timeline").focus()
    page.keyboard.press("u")
    said(page, "Undone")
    assert {label for label, _, _ in table_of(served, film)} == {first}
    page.reload()
    page.locator("#films button", has_text=film).click()
    page.locator("#marks button").wait_for()
    assert page.locator("#marks button").count() == 1
    page.keyboard.press("U")
    said(page, "Done again")
    assert len(table_of(served, film)) == 2


def test_the_film_plays_on_the_times_of_its_frames(open_page: Opener, served: Served) -> None:
    page = open_page("train-01.mp4")
    times = served.get(f"/api/films/{served.film('train-01.mp4')}")["times"]
    page.locator("#timeline").focus()
    page.keyboard.press(" ")
    page.locator("#play-text", has_text="Pause").wait_for()
    page.wait_for_timeout(600)
    page.keyboard.press(" ")
    page.locator("#play-text", has_text="Play").wait_for()
    frame = int(page.locator("#frame").inner_text().split()[1])
    assert frame > 2
    seconds = round(times[frame] * 1000)
    assert page.locator("#time").inner_text() == f"0:{seconds // 1000:02d}.{seconds % 1000:03d}"
    presented = page.evaluate("document.getElementById('video').currentTime")
    assert times[max(0, frame - 2)] - 0.05 <= presented <= times[min(len(times) - 1, frame + 3)] + 0.05
    page.locator(f"#still[data-frame='{frame}']").wait_for()


def test_a_film_is_reviewed_by_touch_on_a_phone(open_page: Opener, served: Served) -> None:
    film = "val-00.mp4"
    page = open_page(film, size=PHONE)
    lower_threshold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.locator("#suggestions button").first.tap()
    page.locator("#accept").tap()
    said(page, "Accepted")
    assert len(table_of(served, film)) == 1
    page.locator("#undo").tap()
    said(page, "Undone")
    assert table_of(served, film) == []
    box = page.locator("#timeline").bounding_box()
    page.locator("#timeline").tap(position={"x": box["width"] * 0.7, "y": 10})
    assert int(page.locator("#frame").inner_text().split()[1]) > 10
    page.locator("#set-start").tap()
    page.locator("#label").fill("rest")
    page.locator("#apply").tap()
    said(page, "Labeled rest; saved.")
    assert [label for label, _, _ in table_of(served, film)] == ["rest"]
    small = [
        name
        for name in ("accept", "reject", "undo", "play", "step-back", "apply")
        if page.locator(f"#{name}").bounding_box()["height"] < 40
    ]
    assert small == []


def test_the_later_of_two_tabs_is_told_and_keeps_its_edit(open_page: Opener, served: Served) -> None:
    film = "test-01.mp4"
    one, two = open_page(film), open_page(film)
    for page, label in ((one, "first"), (two, "second")):
        page.locator("#timeline").focus()
        page.keyboard.press("End" if label == "second" else "Home")
        page.keyboard.press("[")
        page.locator("#label").fill(label)
        page.keyboard.press("Enter")
        if label == "first":
            said(page, "Labeled first; saved.")
    two.locator("#conflict-text", has_text="changed elsewhere").wait_for()
    assert [label for label, _, _ in table_of(served, film)] == ["first"]
    assert two.locator("#marks .name").all_inner_texts() == ["first"]
    two.locator("#conflict-apply").click()
    said(two, "applied too")
    assert [label for label, _, _ in table_of(served, film)] == ["first", "second"]


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_axe_finds_no_violation(open_page: Opener, size: tuple[int, int], scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page("test-00.mp4", run="r0" if scheme == "dark" else "r1", size=size, scheme=scheme)
    page.locator("#suggestions button").first.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    if size == DESKTOP:
        button, shown = ("#heat", "#heat-picture") if scheme == "dark" else ("#keys-button", "#keys-dialog")
        page.locator(button).click()
        page.locator(shown).wait_for()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_a_film_is_dropped_in_and_looked_at(open_page: Opener, served: Served, film_labels: Path) -> None:
    page = open_page("test-00.mp4")
    page.locator("#file").set_input_files(
        {"name": "new one.mp4", "mimeType": "video/mp4", "buffer": (film_labels.parent / "val-00.mp4").read_bytes()}
    )
    page.locator("#film-title", has_text="new one.mp4").wait_for()
    page.locator("#progress", has_text="Scored. ").wait_for()
    page.locator("#file").set_input_files({"name": "no.mp4", "mimeType": "video/mp4", "buffer": b"#!/bin/sh"})
    said(page, "no.mp4")
