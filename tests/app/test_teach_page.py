"""Teaching in a real browser by keyboard: classes, stretches marked frame by frame, a training, its timeline."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from app_server import make_served

PATIENCE_MS = 180_000.0  # for a training that takes seconds
SIZE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def said(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def add_class(page: Any, name: str) -> None:
    page.locator("#class-name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    said(page, f"Class {name} has the key")


def mark(page: Any, key: str, name: str, frames: int) -> None:
    page.keyboard.press(key)
    said(page, f"{name} begins at")
    for _ in range(frames):
        page.keyboard.press("ArrowRight")
    page.keyboard.press(key)
    said(page, "; saved.")


def test_a_model_is_taught_by_keyboard(browser: Any, film_labels: Path, film_run: Path, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    served = make_served(tmp_path, film_labels, film_run).start()
    context = browser.new_context(viewport=SIZE)
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        page.goto(served.address)
        page.locator("#films button", has_text="test-01.mp4").click()
        page.locator("#film-title", has_text="test-01.mp4").wait_for()
        add_class(page, "dig")
        add_class(page, "rest")
        page.locator("input[value='review']").focus()
        page.keyboard.press("ArrowDown")
        page.locator("#mode-note", has_text="begins a stretch").wait_for()
        page.locator("#timeline").focus()
        page.keyboard.press("Home")
        for key, name in (("1", "dig"), ("2", "rest"), ("1", "dig")):
            mark(page, key, name, 8)
            page.keyboard.press("ArrowRight")
        with (served.labels / "test-01.mp4.csv").open(newline="") as stream:
            assert [row["label"] for row in csv.DictReader(stream)] == ["dig", "rest", "dig"]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.select_option("#train-encoder", "run")
        page.locator("#train-go").focus()
        page.keyboard.press("Enter")
        page.locator("#job-text", has_text="Trained in").wait_for()
        assert page.locator("#train-go").is_enabled()
        page.locator("#run option", has_text="1-stretches-probe").wait_for(state="attached")
        page.locator("#progress", has_text="Scored. ").wait_for()
        assert page.locator("#run").evaluate("node => node.selectedOptions[0].text") == "1-stretches-probe"
        assert {"dig", "rest"} == set(served.get("/api/home")["runs"][1]["labels"])
        page.select_option("#other", "r0")
        page.locator("#agreement", has_text="no label in common").wait_for()
        page.select_option("#run", "r0")
        page.locator("#other option", has_text="1-stretches-probe").wait_for(state="attached")
        page.select_option("#other", "t1")
        page.locator("#second-title", has_text="1-stretches-probe").wait_for()
        page.locator("#agreement", has_text="no label in common").wait_for()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.locator("input[value='sort']").check()
        page.locator("#timeline").focus()
        page.keyboard.press("2")
        said(page, "test-01.mp4 is rest; saved.")
        assert (served.labels / "sorted/clips.csv").read_text() == "path,label\n../../films/test-01.mp4,rest\n"
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert wrong == []
    finally:
        context.close()
        served.stop()
