"""Equality with the original implementations, case by case, at the tolerance each fixture states."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parity.cases import CHECKS, MANIFEST_CHECKS
from parity.compare import read_config
from parity.conftest import name_of


def check_of(path: Path, checks: Sequence[tuple[str, Callable[..., Any]]]) -> Callable[..., Any]:
    """The first check whose pattern fits the name; a case that none claims fails."""
    check = next((check for pattern, check in checks if fnmatch.fnmatchcase(name_of(path), pattern)), None)
    assert check is not None, f"no test claims {name_of(path)}: add it to tests/parity/cases.py"
    return check


def test_equals_the_original(case: Path) -> None:
    check_of(case, CHECKS)(case, read_config(case))


def test_real_size_checkpoint_maps_strictly_by_name_and_shape(manifest: Path) -> None:
    check_of(manifest, MANIFEST_CHECKS)(json.loads(manifest.read_text(encoding="utf-8")))
