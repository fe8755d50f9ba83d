"""A family of models is a folder and one line: a toy family can then do what the others can."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import tubelet

HERE = Path(__file__).parent / "toy_family"


def with_toy(folder: Path) -> Path:
    """A copy of the package whose table of families has the toy, added where the others stand."""
    package = folder / "tubelet"
    shutil.copytree(Path(tubelet.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "toy", package / "models" / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "models" / "__init__.py"
    text = table.read_text(encoding="utf-8")
    changes = {
        "import timesformer, ": "import timesformer, toy, ",
        "    vivit.FAMILY,\n": "    vivit.FAMILY,\n    toy.FAMILY,\n",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    table.write_text(text, encoding="utf-8")
    return folder


def test_a_family_added_in_one_place_is_listed_counted_started_trained_and_converted(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(with_toy(tmp_path / "source"))}
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, str(HERE / "walk.py"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
