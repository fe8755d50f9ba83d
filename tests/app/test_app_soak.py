"""Four viewers on one film, and a browser that goes away in mid-upload: `make soak`.

python -m pytest -m soak tests/app/test_app_soak.py
"""

from __future__ import annotations

import csv
import json
import re
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from test_page import until

from app_server import Served

pytestmark = pytest.mark.soak

COMMAND = "python -m pytest -m soak tests/app/test_app_soak.py"
VIEWERS, ROUNDS = 4, 12
FILM = "test-01.mp4"
LARGE = 200 * 2**20  # bytes of the upload that is left


def write(results: Path, name: str, content: dict[str, Any]) -> None:
    """Both proofs share a file."""
    file = results / "app_soak.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    head = {"command": COMMAND, "date": datetime.now(UTC).date().isoformat(), "fastapi": version("fastapi")}
    file.write_text(json.dumps({**known, **head, name: content}, indent=2) + "\n", encoding="utf-8")


def uploads_in(folder: Path) -> list[Path]:
    """The files of uploads that are not whole, of whichever server."""
    return [file for file in folder.glob("*/*") if re.fullmatch(r"[0-9a-f]{32}(\.\w+)?", file.name)]


def opened(browser: Any, served: Served, wrong: list[str]) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(180_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(served.address)
    page.locator("#films button", has_text=FILM).click()
    page.locator("#progress", has_text="Scored. ").wait_for()
    return page


def test_four_viewers_of_one_film_lose_no_edit(browser: Any, served: Served, results: Path) -> None:
    wrong, conflicts, began = list[str](), 0, time.monotonic()
    pages = [opened(browser, served, wrong) for _ in range(VIEWERS)]
    for number in range(ROUNDS):
        for viewer, page in enumerate(pages):
            page.locator("#timeline").focus()
            page.keyboard.press("Home")
            for _ in range(2 + number * VIEWERS + viewer):
                page.keyboard.press("ArrowRight")
            page.keyboard.press("[")
            page.locator("#label").fill(f"viewer {viewer}")
            page.keyboard.press("Enter")
            until(
                page,
                "!document.getElementById('conflict').hidden ||"
                f" document.getElementById('status').textContent.includes('Labeled viewer {viewer}')",
            )
            if page.locator("#conflict").is_visible():
                conflicts += 1
                page.locator("#conflict-apply").click()
                page.locator("#status", has_text="applied too").wait_for()
    with (served.labels / f"{FILM}.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"].startswith("viewer ")]
    marks = served.get(f"/api/films/{served.film(FILM)}/labels")["marks"]
    seconds = {
        viewer: sum(m["stop"] - m["start"] for m in marks if m["label"] == f"viewer {viewer}")
        for viewer in range(VIEWERS)
    }
    times = served.get(f"/api/films/{served.film(FILM)}")["times"]
    wanted = {
        viewer: sum(times[f + 1] - times[f] for f in (2 + number * VIEWERS + viewer for number in range(ROUNDS)))
        for viewer in range(VIEWERS)
    }
    assert seconds == pytest.approx(wanted, abs=1e-4)
    assert wrong == []
    assert "Traceback" not in served.errors
    for page in pages:
        page.context.close()
    write(results, "four_viewers", {
        "viewers": VIEWERS, "edits": VIEWERS * ROUNDS, "conflicts_that_were_told": conflicts, "rows": len(rows),
        "edits_lost": 0, "seconds": round(time.monotonic() - began, 1),
    })  # fmt: skip


def test_a_browser_that_leaves_in_mid_upload_costs_nothing(
    browser: Any, served: Served, film_labels: Path, results: Path, tmp_path: Path
) -> None:
    wrong = list[str]()
    page = opened(browser, served, wrong)
    large = tmp_path / "large.mp4"
    with large.open("wb") as stream:
        stream.truncate(LARGE)
    page.locator("#file").set_input_files(str(large))
    unfinished = served.labels / ".tubelet/uploading"
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(file.stat().st_size for file in uploads_in(unfinished)):
        time.sleep(0.01)
    page.context.close()
    time.sleep(2)
    (left,) = uploads_in(unfinished)
    size = left.stat().st_size
    time.sleep(2)
    assert 0 < size < LARGE
    assert left.stat().st_size == size  # nothing goes on by itself
    assert "large.mp4" not in [film["name"] for film in served.get("/api/home")["films"]]
    page = opened(browser, served, wrong)
    again = {"name": "again.mp4", "mimeType": "video/mp4", "buffer": (film_labels.parent / FILM).read_bytes()}
    page.locator("#file").set_input_files(again)
    page.locator("#film-title", has_text="again.mp4").wait_for()
    page.context.close()
    assert "Traceback" not in served.errors
    served.kill()
    served.start()
    begun = {"name": "next.mp4", "size_bytes": 10}
    assert served.post("/api/uploads", begun).status == 200  # the next server's first one removes what nobody sends on
    assert [file.stat().st_size for file in uploads_in(unfinished)] == [0]
    assert wrong == []
    write(results, "closed_in_mid_upload", {
        "bytes_announced": LARGE, "bytes_that_had_arrived": size, "films_that_it_left": 0,
        "bytes_left_after_the_next_upload_begins": 0,
    })  # fmt: skip
