"""Comparing and taking away in a real browser, by keyboard and by touch, and usable by everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_page import DESKTOP, PATIENCE_MS, PHONE, Opener, open_page, said, until

from app_server import Served

__all__ = ["open_page"]


def test_two_models_are_compared_by_keyboard(open_page: Opener, served: Served) -> None:
    page = open_page("test-00.mp4", run="r0")
    page.locator("#other").focus()
    page.keyboard.type("finds_more")
    page.locator("#agreement", has_text="They say the same in").wait_for()
    found = served.get(f"/api/films/{served.film('test-00.mp4')}/compare/r0/r2?top_k=5")["differences"]
    assert page.locator("#differences-items button").count() == len(found)
    page.locator("#timeline").focus()
    page.keyboard.press("Home")
    before = float(page.evaluate("document.getElementById('second-timeline').width"))
    assert before == float(page.evaluate("document.getElementById('timeline').width"))
    page.keyboard.press("d")
    page.locator("#differences-items button[aria-current='true']").wait_for()
    later = [one for one in found if one["start"] > 1e-4] or found  # behind the last one comes the first
    shown = page.locator("#time").inner_text()
    minutes, seconds = shown.split(":")
    assert abs(60 * int(minutes) + float(seconds) - later[0]["start"]) < 0.2
    page.keyboard.press("Shift+D")
    page.locator("#agreement", has_text="beside it").wait_for()


@pytest.mark.soak  # in one of some ten runs beside others no file came; what is taken away is tested over HTTP, too
def test_what_the_model_finds_is_taken_away_by_keyboard(open_page: Opener, tmp_path: Path) -> None:
    page = open_page("test-01.mp4", run="r0")
    for name, suffix in (("csv", ".csv"), ("vtt", ".vtt")):
        assert taken(page, f"[data-table='{name}'][href*='/r0/']").suggested_filename == f"test-01{suffix}"
    for kind, suffix in (("overlay", ".mp4"), ("page", ".html"), ("checkpoint", ".zip")):
        download = taken(page, f"[data-make='{kind}']:not([disabled])")
        assert download.suggested_filename.endswith(suffix)
        said(page, "is ready.")
    download.save_as(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").stat().st_size > 1000


def taken(page: Any, selector: str) -> Any:
    """The download that Enter on a link or button begins; pressed anew where the page was just being drawn again."""
    from playwright.sync_api import TimeoutError as Late

    for _ in range(5):
        page.locator(selector).focus()
        try:
            with page.expect_download(timeout=PATIENCE_MS / 5) as download:
                page.keyboard.press("Enter")
            return download.value
        except Late:
            continue
    raise AssertionError(f"{selector} gives no file")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_labels_beside_the_model_and_films_side_by_side_by_touch(
    open_page: Opener, served: Served, size: tuple[int, int]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page("train-01.mp4", run="r2", size=size, scheme="dark" if size == PHONE else "light")

    def press(selector: str) -> None:
        found = page.locator(selector).first
        found.tap() if size == PHONE else found.click()

    press("#suggestions button")
    press("#accept")
    said(page, "Accepted")
    press("#confusion-show")
    page.locator("#confusion-text", has_text="It finds the label in").wait_for()
    press("#confusion-table .right")
    press("#confusion-list .clip")
    page.locator("#confusion-list .clip[aria-pressed='true'] video").first.wait_for()
    until(page, "document.querySelector('#confusion-list video').currentTime > 0")
    press("#beside-choose summary")
    for film in ("test-00.mp4", "test-01.mp4"):
        press(f"#beside-films label:has-text('{film}')")
    page.locator(".tile").nth(2).wait_for()
    page.locator(".tile .player img").nth(2).wait_for()
    until(page, "[...document.querySelectorAll('.tile video')].every((v) => v.readyState >= 2)")  # else the clock ends
    press("#beside-play")
    until(page, "parseFloat(document.getElementById('beside-clock').value) > 0.3")
    until(page, "[...document.querySelectorAll('.tile video')].every((v) => v.currentTime > 0.1)")
    press("#beside-play")
    if size == DESKTOP:
        page.select_option("#other", label="run")
        page.locator("#agreement", has_text="They say the same in").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    press("#undo")
    said(page, "Undone")
