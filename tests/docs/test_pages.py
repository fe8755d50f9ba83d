"""``make docs``: pages without a warning, without a network, with every command, recipe and public name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tubelet
from tubelet.cli import COMMANDS
from tubelet.recipe import list_recipes

ROOT = Path(__file__).parents[2]


def test_the_documentation_is_made_without_a_warning_and_names_everything_public(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-q",
            "-b",
            "html",
            "-d",
            str(tmp_path / "trees"),
            "docs",
            str(tmp_path),
        ],
        cwd=ROOT,
        env={**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {name: (tmp_path / f"reference/{name}.html").read_text() for name in ("commands", "recipes", "python")}
    assert all(f"tubelet {name}" in pages["commands"] for name in COMMANDS)
    assert all(name in pages["recipes"] for name in list_recipes())
    assert all(f'id="tubelet.{name}"' in pages["python"] for name in set(tubelet.__all__) - {"__version__"})
    for page in tmp_path.rglob("*.html"):
        assert 'src="http' not in page.read_text(encoding="utf-8"), f"{page.name} fetches a script or a picture"
