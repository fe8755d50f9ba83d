"""Lets the tests of models use the helpers of benchmarks/ and of tests/nn."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for helpers in (ROOT / "benchmarks", ROOT / "tests" / "nn"):
    if str(helpers) not in sys.path:
        sys.path.append(str(helpers))
