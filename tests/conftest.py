"""Options and settings shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

import tubelet
from tubelet.session.fast_fp32 import FastFp32, fast_fp32

PACKAGE = Path(tubelet.__file__).parent
# Every jaxtyping annotation of the package is checked while tests run. Modules without any are left alone: checking all
# calls of the package makes a run take half as long again, and mypy checks their types.
SHAPED = [
    ".".join(("tubelet", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in sorted(PACKAGE.rglob("*.py"))
    if "from jaxtyping import" in file.read_text(encoding="utf-8")
]
install_import_hook(SHAPED, "beartype.beartype")

VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
FIXTURES = Path(__file__).parent / "fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity-dir",
        type=Path,
        default=FIXTURES / "parity",
        help="folder of golden fixtures, <family>/<case>/config.json; default: the selection in tests/fixtures",
    )
    parser.addoption(
        "--clips-dir",
        type=Path,
        default=FIXTURES / "clips",
        help="folder of videos, searched through, for the proofs on footage; default: the small ones in tests/fixtures",
    )
    parser.addoption(
        "--fast-fp32",
        choices=("onednn", "convolution", "both"),
        help="compute fp32 products in this way in all tests, whatever the processor (tubelet.session.fast_fp32)",
    )
    parser.addoption("--write", action="store_true", help="soak: results go to docs/results, else to runs/results")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Path:
    """The folder that the longer proofs write their results to; the tracked one with --write only."""
    folder = Path(__file__).parents[1] / ("docs" if request.config.getoption("--write") else "runs") / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def clips(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """The videos below --clips-dir, sorted by name."""
    folder: Path = request.config.getoption("--clips-dir").resolve()
    found = sorted((f for f in folder.rglob("*") if f.suffix in VIDEO_SUFFIXES), key=lambda file: file.name)
    assert found, f"no videos below {folder}"
    return tuple(found)


@pytest.fixture(scope="session")
def clips_option(request: pytest.FixtureRequest) -> str:
    """What a command line says of --clips-dir, so that results name the footage; empty for the default."""
    folder: Path = request.config.getoption("--clips-dir")
    if folder == FIXTURES / "clips":
        return ""
    root = Path(__file__).parents[1]
    shown = Path(os.path.relpath(folder, root)) if folder.is_absolute() else folder
    return f" --clips-dir {shown.as_posix()}"


@pytest.fixture(scope="session", autouse=True)
def _products(request: pytest.FixtureRequest) -> Iterator[None]:
    way = request.config.getoption("--fast-fp32")
    convolution_from = 0 if way in ("convolution", "both") else None
    with fast_fp32(FastFp32(onednn_matmul=way in ("onednn", "both"), convolution_from=convolution_from)):
        yield


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
