"""Takes the pictures of docs/app.md: the page of `tubelet app` in chromium, on generated films. Run it from anywhere:

python docs/images/draw_app.py           films and models are kept below runs/app_pictures
python docs/images/draw_app.py --all     every view, light and dark, on both sizes, into runs/app_pictures/views

Before it, `python benchmarks/app_retrain.py` makes ten films of a minute and stores what a frozen EfficientNet-Lite0
sees of them. Two heads learn from that here, the second one for fewer epochs; the pictures show other films.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tubelet.api.recipe_fields import data_field, first_weights
from tubelet.data.synthetic_films import write_films
from tubelet.recipe import load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.fast_fp32 import fast_fp32
from tubelet.session.session import Session
from tubelet.weights.init.lite0 import LITE0

HERE = Path(__file__).parent
WORK, LEARNED = (HERE.parents[1] / "runs" / name for name in ("app_pictures", "app_retrain"))
DESKTOP, PHONE = (1280, 800), (390, 844)
NAMES = ("cage-noon", "cage-evening", "cage-morning")
COLORS = 256  # of a picture: pages have few
EPOCHS = {"behaviors": 30, "first try": 8}
PATIENCE_MS = 240_000.0


def models() -> list[Path]:
    """The runs, trained where they are missing."""
    found = []
    for name, epochs in EPOCHS.items():
        fields = {"training.num_epochs": epochs, "per_frame.feature_folder": str(LEARNED / "features")}
        words = [(key, json.dumps(value)) for key, value in fields.items()]
        words = [data_field(LEARNED / "films/labels.csv"), *first_weights(LITE0, suggests=True), *words]
        found.append(WORK / name)
        if not (found[-1] / "evaluation").exists():
            with fast_fp32():  # as the features were computed
                print(run_recipe(load_recipe("films/per_frame", words), found[-1], Session()).evaluation.summary)
    return found


@contextmanager
def served(runs: list[Path]) -> Iterator[str]:
    """The address of a server of three films that nobody has labeled."""
    films, new = WORK / "films", WORK / "new"
    if not films.exists():
        write_films(new, {"test": len(NAMES)}, seconds=(28.0, 32.0), size_pixels=160, seed=5)
        films.mkdir()
        for number, name in enumerate(NAMES):
            shutil.copy(new / f"test-{number:02d}.mp4", films / f"{name}.mp4")
    for table in films.glob("labels/*.csv"):  # of the last call; what is scored stays
        table.unlink()
    command = [sys.executable, "-m", "tubelet", "app", *map(str, runs), "--films", str(films), "--port", "0"]
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def said(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def look(page: Any) -> None:
    """A film that is scored."""
    page.locator("#films button", has_text="cage-noon").click()
    page.locator("#film-title", has_text="cage-noon").wait_for()
    page.locator("#progress", has_text="Scored. ").wait_for()
    page.locator("#timeline").focus()


def correct(page: Any) -> None:
    """Some suggestions are accepted, one is rejected, and one is chosen."""
    look(page)
    page.wait_for_timeout(500)
    page.keyboard.press("n")
    if not page.locator("#marks button").count():
        for key in "raaa":
            page.keyboard.press(key)
            said(page, "; saved.")
            page.locator("#status").evaluate("node => { node.textContent = ''; }")
    page.locator("#still[data-frame]").wait_for()


def compare(page: Any) -> None:
    """Another model beside the first, and the labels of a person beside it."""
    look(page)
    page.select_option("#other", label="first try")
    page.locator("#agreement", has_text="They say the same in").wait_for()
    page.locator("#next-difference").click()
    page.locator("#timeline").evaluate("node => node.scrollIntoView()")


def confusion(page: Any) -> None:
    """Labels beside the model."""
    correct(page)
    page.locator("#confusion-show").click()
    page.locator("#confusion-table td button").first.wait_for()
    page.locator("#confusion-table td button").first.click()
    page.locator("#confusion-list img").first.wait_for()
    page.locator("#confusion-title").scroll_into_view_if_needed()


def beside(page: Any) -> None:
    """Films side by side."""
    look(page)
    page.locator("#beside-choose summary").click()
    for name in ("cage-morning", "cage-evening"):
        page.locator(f"#beside-films label:has-text('{name}')").click()
    page.locator(".tile .player img").nth(2).wait_for()
    page.locator("#beside-choose").scroll_into_view_if_needed()


def teach(page: Any) -> None:
    """Classes with keys, stretches that are marked, and a training."""
    look(page)
    for name in ("run", "spin", "rest"):
        if not page.locator(f"#classes button[data-class='{name}']").count():
            page.locator("#class-name").fill(name)
            page.keyboard.press("Enter")
            said(page, f"Class {name} has the key")
    page.locator("input[value='mark']").check()
    if not page.locator("#job").is_visible():
        page.locator("#timeline").focus()
        for key in "123":
            page.keyboard.press(key)
            page.locator("#status", has_text="begins at").wait_for()
            for _ in range(3):
                page.keyboard.press("Shift+ArrowRight")
            page.keyboard.press(key)
            said(page, "; saved.")
            page.keyboard.press("ArrowRight")
        page.select_option("#train-encoder", "behaviors")
        page.locator("#train-go").click()
    page.locator("#job-losses").wait_for()
    page.locator("#classes").evaluate("node => node.scrollIntoView()")


def keys(page: Any) -> None:
    """The keys."""
    look(page)
    page.locator("#keys-button").click()


def heat(page: Any) -> None:
    """Where the model looked."""
    look(page)
    page.keyboard.press("n")
    page.locator("#heat").click()
    page.locator("#heat-picture").wait_for()


VIEWS: dict[str, Callable[[Any], None]] = {
    "correct": correct,
    "compare": compare,
    "confusion": confusion,
    "beside": beside,
    "teach": teach,
    "heat": heat,
    "keys": keys,
}


# What the page of the documentation shows: file, view, size, scheme.
SHOWN = (
    ("app_desktop_light", "correct", DESKTOP, "light"),
    ("app_desktop_dark", "correct", DESKTOP, "dark"),
    ("app_phone_light", "correct", PHONE, "light"),
    ("app_compare", "compare", DESKTOP, "light"),
    ("app_compare_phone", "compare", PHONE, "light"),
    ("app_confusion", "confusion", DESKTOP, "light"),
    ("app_heat", "heat", DESKTOP, "light"),
    ("app_teach", "teach", DESKTOP, "light"),
    ("app_teach_phone", "teach", PHONE, "light"),
)
EVERY = tuple(
    (f"{view}_{'phone' if size == PHONE else 'desktop'}_{scheme}", view, size, scheme)
    for view in VIEWS
    for size in (DESKTOP, PHONE)
    for scheme in ("light", "dark")
    if (view, size) != ("keys", PHONE)  # a phone has none
)


def picture(page: Any, file: Path) -> None:
    """Small: in few colors."""
    page.wait_for_timeout(500)
    whole = Image.open(BytesIO(page.screenshot())).convert("RGB")
    file.parent.mkdir(parents=True, exist_ok=True)
    whole.quantize(COLORS, Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE).save(file, optimize=True)
    print(file, f"{file.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every view, into runs/app_pictures/views")
    parser.add_argument("--views", nargs="*", choices=VIEWS, default=list(VIEWS))
    options = parser.parse_args()
    program = next(found for name in ("chromium", "google-chrome") if (found := shutil.which(name)))
    with served(models()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for name, view, size, scheme in EVERY if options.all else SHOWN:
            if view not in options.views:
                continue
            viewport: Any = {"width": size[0], "height": size[1]}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=size == PHONE)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.goto(address)
            VIEWS[view](page)
            picture(page, (WORK / "views" if options.all else HERE) / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
