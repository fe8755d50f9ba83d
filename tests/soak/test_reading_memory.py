"""Memory does not grow with the number of passes: `make soak`; writes memory.json.

python -m pytest -m soak tests/soak/test_reading_memory.py --clips-dir FOLDER
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from memory import memory_by_pass

NUM_PASSES, SETTLED = 20, 3

pytestmark = pytest.mark.soak


def test_twenty_passes_take_no_more_memory_than_three(
    clips: tuple[Path, ...], clips_option: str, results: Path
) -> None:
    passes = list(memory_by_pass(clips, NUM_PASSES, num_workers=2))
    totals = [main + workers for main, workers in passes]
    growth = totals[-1] / totals[SETTLED - 1] - 1
    content = {
        "command": f"python -m pytest -m soak tests/soak/test_reading_memory.py{clips_option}",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("av", "torch", "numpy")},
        "num_clips": len(clips),
        "num_workers": 2,
        "measure": "resident memory (VmRSS) of the main process and both workers after each pass",
        "main_mib": [round(main / 2**20, 1) for main, _ in passes],
        "workers_mib": [round(workers / 2**20, 1) for _, workers in passes],
        "growth_from_pass_3_to_20": round(growth, 4),
    }
    (results / "memory.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    assert growth <= 0.03
