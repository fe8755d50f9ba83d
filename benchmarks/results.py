"""Where a benchmark's result goes: ``docs/results``, which is tracked, only with ``--write``; else ``runs/results``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tubelet.files import write_atomically

ROOT = Path(__file__).parents[1]


def result_file(name: str, *, write: bool) -> Path:
    """The file of the result ``name``."""
    return ROOT / ("docs" if write else "runs") / "results" / f"{name}.json"


def read_result(name: str, *, write: bool) -> dict[str, Any]:
    """What was measured before and written to the same place; empty without it."""
    file = result_file(name, write=write)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return content


def write_result(name: str, content: dict[str, Any], *, write: bool) -> None:
    """Write the result, and say on stderr where it is."""
    file = result_file(name, write=write)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    hint = "" if write else "; with --write it goes to docs/results"
    print(f"written: {file.relative_to(ROOT)}{hint}", file=sys.stderr)
