"""The wheel holds all that the package needs: built, installed into an empty folder, and run from there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
KINDS = {".py", ".typed", ".yaml", ".j2", ".npz", ".csv"}  # code, marker, recipes, templates, embedded data, results


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target"]
    run("-m", "pip", "install", *options, folder, wheel, cwd=folder)
    return folder


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    files = (file for file in (SOURCE / "tubelet").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    expected = {file.relative_to(SOURCE).as_posix() for file in files}
    assert {Path(name).suffix for name in expected} >= KINDS
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert expected <= held
    assert {name.split("/")[0].split("-")[0] for name in held} == {"tubelet"}
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_installed_package_runs_without_the_repository(elsewhere: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(elsewhere)}
    code = "import tubelet.cli; print(tubelet.__file__); tubelet.cli.main(['models', '--filter', 'b16x2_joint'])"
    home, _, listed = run("-c", code, cwd=elsewhere, env=env).partition("\n")
    assert Path(home) == elsewhere / "tubelet" / "__init__.py"
    assert "vivit_b16x2_joint" in listed
