"""Equality with the original implementations, case by case, at the tolerance each fixture states."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from parity.cases import CHECKS, MANIFEST_CHECKS
from parity.compare import read_config
from parity.kinds import described, key_of_case, key_of_manifest


def run_case(case: Path) -> None:
    """Check a case by what its config.json and its files say; one that no check claims fails."""
    config = read_config(case)
    key = key_of_case(config, case)
    assert key in CHECKS, unclaimed(key, config, [file.name for file in case.iterdir()])
    CHECKS[key](case, config)


def run_manifest(manifest: Path) -> None:
    """The same of a manifest."""
    content = json.loads(manifest.read_text(encoding="utf-8"))
    key = key_of_manifest(content)
    assert key in MANIFEST_CHECKS, unclaimed(key, content, [manifest.name])
    MANIFEST_CHECKS[key](content)


def unclaimed(key: str, content: Mapping[str, Any], files: Collection[str]) -> str:
    return f"no test claims {key} ({described(content, files)}): add it to tests/parity/cases.py"


def test_equals_the_original(case: Path) -> None:
    run_case(case)


def test_real_size_checkpoint_maps_strictly_by_name_and_shape(manifest: Path) -> None:
    run_manifest(manifest)
