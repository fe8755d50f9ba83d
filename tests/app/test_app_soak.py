"""The app under people: four viewers on one film, a browser that is closed in mid-upload and in mid-training.

TUBELET_REQUIRE_BROWSER=1 python -m pytest -m soak tests/app/test_app_soak.py
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_server import Served, make_served

pytestmark = pytest.mark.soak

FILM = "test-00.mp4"
PATIENCE_MS = 180_000.0
NUM_VIEWERS, LABELS_EACH = 4, 3
PADDED_BYTES, BYTES_PER_SECOND = 48 * 2**20, 4 * 2**20  # a film that takes 12 s to send


@pytest.fixture
def own(tmp_path: Path, film_labels: Path, film_run: Path) -> Iterator[Served]:
    """A server of its own."""
    served = make_served(tmp_path, film_labels, film_run).start()
    yield served
    served.kill()


def opened(browser: Any, served: Served) -> Any:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(served.address)
    page.locator("#films button", has_text=FILM).click()
    page.locator("#film-title", has_text=FILM).wait_for()
    return page


def labels_of(served: Served) -> list[str]:
    with (served.labels / f"{FILM}.csv").open(newline="") as stream:
        return [row["label"] for row in csv.DictReader(stream)]


def add_label(page: Any, name: str, steps: int) -> None:
    """Label a frame, and say yes where somebody else was quicker."""
    page.locator("#timeline").focus()
    page.keyboard.press("Home")
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    page.locator("#label").fill(name)
    page.keyboard.press("Enter")
    page.locator("#status", has_text=f"Labeled {name}").or_(page.locator("#conflict-apply")).first.wait_for()
    while page.locator("#conflict-apply").is_visible():
        page.locator("#conflict-apply").click()
        page.locator("#status", has_text="applied too").or_(page.locator("#conflict-apply")).first.wait_for()


def test_four_viewers_of_one_film_see_the_same_and_lose_no_label(browser: Any, own: Served) -> None:
    pages = [opened(browser, own) for _ in range(NUM_VIEWERS)]
    for page in pages:
        page.locator("#progress", has_text="Scored. ").wait_for()
    assert len(list((own.labels / ".tubelet/scores").iterdir())) == 1  # computed once
    found = [page.locator("#suggestions .times").all_inner_texts() for page in pages]
    assert found[0]
    assert found == [found[0]] * NUM_VIEWERS
    wanted = set()
    for number in range(LABELS_EACH):
        for viewer, page in enumerate(pages):
            name = f"viewer {viewer} label {number}"
            add_label(page, name, 2 * viewer + 10 * number)
            wanted.add(name)
    assert set(labels_of(own)) == wanted
    for page in pages:
        page.keyboard.press("Escape")
        page.locator("#timeline").focus()
        page.keyboard.press(" ")
    time.sleep(2)
    assert all(page.evaluate("document.getElementById('video').currentTime") > 0.3 for page in pages)
    for page in pages:
        page.context.close()
    assert own.stop() == 130  # as of Ctrl-C


def test_a_browser_that_is_closed_in_mid_upload_leaves_no_film_and_no_lock(
    browser: Any, own: Served, film_labels: Path, tmp_path: Path
) -> None:
    film = tmp_path / "long one.mp4"
    content = (film_labels.parent / FILM).read_bytes()
    padding = PADDED_BYTES - len(content)
    film.write_bytes(content + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8))  # a box that players skip
    page = opened(browser, own)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": BYTES_PER_SECOND}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", limits)
    page.locator("#file").set_input_files(film)
    bar = page.locator("#uploads progress")
    bar.wait_for()
    while not 0 < float(bar.evaluate("node => node.value")) < 0.9:
        time.sleep(0.05)
    page.context.close()
    time.sleep(1)
    assert not list((own.labels / "uploads").glob("*"))
    assert film.name not in {one["name"] for one in own.get("/api/home")["films"]}
    page = opened(browser, own)
    page.locator("#file").set_input_files(film)
    page.locator("#film-title", has_text=film.name).wait_for()
    page.locator("#progress", has_text="Scored. ").wait_for()
    assert (own.labels / f"uploads/{film.name}").stat().st_size == PADDED_BYTES
    page.context.close()
    assert own.stop() == 130  # as of Ctrl-C
    assert not [path for path in (own.labels / ".tubelet/uploading").rglob("*") if path.stat().st_size > 1000]


def test_a_training_goes_on_when_its_browser_is_closed(browser: Any, own: Served, film_labels: Path) -> None:
    imported = own.ask("POST", "/api/labels/import?name=labels.csv", film_labels.read_bytes())
    assert imported.status == 200, imported.body
    page = opened(browser, own)
    page.select_option("#train-how", "full")
    page.locator("#train-data", has_text="Without a GPU this takes long").wait_for()
    page.locator("#train-go").click()
    page.locator("#job-text", has_text="loss").wait_for()
    page.context.close()
    until = time.monotonic() + PATIENCE_MS / 1000
    while (job := own.get("/api/teach")["job"])["state"] == "working":
        assert time.monotonic() < until, job
        time.sleep(0.2)
    assert job["state"] == "done", job
    assert job["validations"]
    page = opened(browser, own)
    page.locator("#job-text", has_text="Trained in").wait_for()
    page.select_option("#run", label="1-stretches-full")
    page.locator("#progress", has_text="Scored. ").wait_for()
    assert page.locator("#train-encoder option", has_text="1-stretches-full").count() == 1
    page.context.close()
    assert own.stop() == 130  # as of Ctrl-C
