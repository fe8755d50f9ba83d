"""Finds the parity cases below --parity-dir and makes one test of each; reports the pending ones at the end."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from parity.cases import PENDING


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames and "manifest" not in metafunc.fixturenames:
        return
    root: Path = metafunc.config.getoption("--parity-dir").resolve()
    if "case" in metafunc.fixturenames:
        found = sorted(p.parent for p in root.glob("*/*/config.json"))
        cases = [p for p in found if not is_pending(p)]
        metafunc.config.stash.setdefault(_PENDING_FOUND, []).extend(name_of(p) for p in found if is_pending(p))
        metafunc.parametrize("case", cases, ids=name_of)
    else:
        manifests = [p for p in sorted(root.glob("*/manifest_*.json")) if not is_pending(p)]
        metafunc.parametrize("manifest", manifests, ids=name_of)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pending = config.stash.get(_PENDING_FOUND, [])
    if pending:
        terminalreporter.section(f"{len(pending)} parity cases pending: their models or functions are not built yet")
        terminalreporter.write_line(", ".join(pending))


_PENDING_FOUND = pytest.StashKey[list[str]]()


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem if path.is_file() else path.name}"


def is_pending(path: Path) -> bool:
    return any(fnmatch.fnmatchcase(name_of(path), pattern) for pattern in PENDING)
