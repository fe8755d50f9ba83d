"""Finds the parity cases below --parity-dir and makes one test of each; reports the pending ones at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parity.cases import is_pending
from parity.compare import read_config
from parity.kinds import key_of_case, key_of_manifest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, found in (("case", _cases(metafunc.config)), ("manifest", _manifests(metafunc.config))):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, [path for path in found if not _waits(path)], ids=name_of)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    pending = [path for path in (*_cases(config), *_manifests(config)) if _waits(path)]
    if pending:
        title = f"{len(pending)} parity cases and manifests pending: their models or functions are not built yet"
        terminalreporter.section(title)
        terminalreporter.write_line(", ".join(map(name_of, pending)))


def name_of(path: Path) -> str:
    """What a test is called: the names of folder and case, which decide nothing else."""
    return f"{path.parent.name}/{path.stem if path.is_file() else path.name}"


def _cases(config: pytest.Config) -> list[Path]:
    return sorted(file.parent for file in _root(config).glob("*/*/config.json"))


def _manifests(config: pytest.Config) -> list[Path]:
    return sorted(_root(config).glob("*/manifest_*.json"))


def _root(config: pytest.Config) -> Path:
    root: Path = config.getoption("--parity-dir").resolve()
    return root


def _waits(path: Path) -> bool:
    try:
        if path.is_dir():
            return is_pending(key_of_case(read_config(path), path))
        return is_pending(key_of_manifest(json.loads(path.read_text(encoding="utf-8"))))
    except ValueError:  # damaged: its test says so
        return False
