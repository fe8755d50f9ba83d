"""All reports share one look: one frame, one style, titles without this machine's paths, pages that fit a phone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

import tubelet
from browser import browser
from code_blocks import PREPARED, write_workplace
from support import videos
from tiny_comparison import write_volumes
from tubelet import cli
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.report.mistakes import link_of
from tubelet.report.page import data_name
from tubelet.studies.items import item_of

__all__ = ["browser", "videos"]
TEMPLATES = Path(tubelet.__file__).parent / "report/templates"
STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8").strip()
PARTS = {"page.html.j2", "film_parts.html.j2", "matrix.html.j2"}
COMMANDS = {
    "moments/report.html": "moments films/ --model runs/behaviors --out moments",
    "why/report.html": "explain runs/first/best clip.mp4 --out why",
    "why_film/report.html": "explain runs/first/best film.mp4 --out why_film --class left --window 2s --hop 1s",
    "comparisons/my_comparison/report.html": "compare my_comparison.yaml",
}


def test_every_report_is_set_in_the_one_frame_and_has_no_style_of_its_own() -> None:
    reports = [file for file in TEMPLATES.glob("*.html.j2") if file.name not in PARTS]
    assert len(reports) >= 5
    for file in reports:
        text = file.read_text(encoding="utf-8")
        assert '{% extends "page.html.j2" %}' in text, file.name
        assert not re.search(r"<(style|title|html|head|script|link)\b", text), file.name
    frame = (TEMPLATES / "page.html.j2").read_text(encoding="utf-8")
    assert '{% include "style.css" %}' in frame
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in frame
    assert "@media print" in STYLE


@pytest.mark.parametrize(
    ("source", "name"), [("/home/someone/clips", "clips"), ("my_clips", "my_clips"), ("generated:motion",) * 2]
)
def test_a_title_names_data_without_the_folders_of_this_machine(source: str, name: str) -> None:
    assert data_name(source) == name


def test_a_mistake_of_a_comparison_can_be_played_where_its_clip_is_a_film(videos: Path, tmp_path: Path) -> None:
    manifest = read_manifest(videos, ManifestConfig()).split("test")
    for sample in manifest.samples[:3]:
        link = link_of(tmp_path, manifest, item_of(sample))
        assert (tmp_path / link).resolve() == manifest.path_of(sample).resolve()
    volumes = read_manifest(write_volumes(tmp_path / "volumes.npz"), ManifestConfig()).split("test")
    assert link_of(tmp_path, volumes, item_of(volumes.samples[0])) == ""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of every kind, by its path."""
    root = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        write_workplace(root)
        PREPARED["docs/cluster.md"]()
        PREPARED["docs/comparisons.md"]()
        for line in COMMANDS.values():
            assert cli.main(line.split()) == 0, line
    return {name: root / name for name in (*COMMANDS, "runs/first/report.html", "runs/behaviors/report.html")}


@pytest.mark.soak
def test_reports_of_every_kind_fit_a_phone_and_a_sheet_of_paper_and_their_films_play(
    pages: dict[str, Path], browser: Any
) -> None:
    films = 0
    for name, file in pages.items():
        assert STYLE in file.read_text(encoding="utf-8"), name
        for width, medium in ((360, "screen"), (1280, "screen"), (720, "print")):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.emulate_media(media=medium)
            page.goto(file.as_uri())
            assert os.sep not in page.title(), name
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} at {width} pixels"
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), name
            if medium == "screen":
                films += page.locator("video").count()
                played = "video => new Promise(done => { video.muted = true; video.onplaying = () => done(true);"
                played += " video.onerror = () => done(false); video.play().catch(() => done(false)); })"
                for number in range(min(2, page.locator("video").count())):
                    assert page.locator("video").nth(number).evaluate(played), name
            page.close()
    assert films >= 8
