"""docs/scale.md holds the tables that its script makes from the measured figures."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scale.md"
SCRIPT = "benchmarks/scale_plan.py"


def test_the_page_holds_what_the_script_makes_of_the_measured_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "scale.md"
    copy.write_text(re.sub(r"\| .*\n", "", text), encoding="utf-8")  # without its tables
    monkeypatch.setattr(sys, "argv", [SCRIPT, "--write", str(copy)])
    runpy.run_path(str(ROOT / SCRIPT), run_name="__main__")
    assert copy.read_text(encoding="utf-8") == text, f"make it anew: python {SCRIPT} --write docs/scale.md"


def test_every_file_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (PAGE.parent / target).is_file(), target
    for target in re.findall(r"benchmarks/\w+\.py", text):
        assert (ROOT / target).is_file(), target
