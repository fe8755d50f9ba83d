"""What is tracked in docs/results changes only where --write asks for it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import results  # noqa: E402


def test_a_result_goes_beside_the_tracked_ones_without_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    results.write_result("speed", {"rows": 1}, write=False)
    assert capsys.readouterr().err == "written: runs/results/speed.json; with --write it goes to docs/results\n"
    assert not (tmp_path / "docs").exists()
    assert results.read_result("speed", write=True) == {}
    results.write_result("speed", {"rows": 2}, write=True)
    assert json.loads((tmp_path / "docs/results/speed.json").read_text()) == {"rows": 2}
    assert results.read_result("speed", write=False) == {"rows": 1}


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.py")), ids=lambda file: file.stem)
def test_no_benchmark_names_the_tracked_folder_itself(file: Path) -> None:
    """They write through ``results.write_result``. ``scale_plan`` reads there."""
    strings = {node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant)}
    assert file.stem in ("results", "scale_plan") or not strings & {"docs", "results"}
