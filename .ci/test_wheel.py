"""Installs the wheel of ``dist/`` beside the oldest and the newest torch, and runs a short job on each.

    python .ci/test_wheel.py [--torch 2.11.0] [--keep]

Each environment is made anew in a temporary folder, from the package index that pip knows, and removed before the next
is made: the packages take about 7 GB on Linux, where torch brings CUDA; a build of torch for the CPU alone is taken
where the index has one. The job runs in a folder from which the repository cannot be seen: it writes clips, trains,
evaluates and predicts by the command line, and loads the checkpoint in Python. The oldest torch is that of
``pyproject.toml``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
WRITE_CLIPS = """
from pathlib import Path
from tubelet.data.synthetic import write_motion_set
write_motion_set(Path("clips"), {"train": 32, "val": 8, "test": 8}, size_pixels=32, num_frames=12)
"""
LOAD = """
import json, torch, tubelet
found = tubelet.load("run/best", "cpu").predict("clip.mp4", top_k=1)
assert "site-packages" in tubelet.__file__, tubelet.__file__
print(json.dumps({"torch": torch.__version__, "tubelet": tubelet.__version__, "label": found.labels[0]}))
"""
SMALL = {
    "model.name": "vivit_ti16x2_fe",
    "model.embed_dim": "32",
    "model.depth": "1",
    "model.num_heads": "2",
    "model.temporal_depth": "1",
    "protocol.num_frames": "8",
    "protocol.target_fps": "24",
    "protocol.resize_short_side": "32",
    "protocol.crop_size": "32,32",
    "data.num_workers": "1",
    "training.num_epochs": "2",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", nargs="*", help="versions in place of the oldest and the newest")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        print(f"dist/ holds {len(wheels)} wheels; run `make dist`", file=sys.stderr)
        return 1
    for version in options.torch or [oldest_torch(), "newest"]:
        folder = Path(tempfile.mkdtemp(prefix="tubelet-wheel-"))
        try:
            print(json.dumps(test(wheels[0], version, folder)), flush=True)
        finally:
            if not options.keep:
                shutil.rmtree(folder)
    return 0


def oldest_torch() -> str:
    """``2.11.0`` for ``torch>=2.11``."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (bound,) = [found[1] for text in needed if (found := re.fullmatch(r"torch>=([\d.]+)", text))]
    return bound if bound.count(".") == 2 else f"{bound}.0"


def test(wheel: Path, version: str, folder: Path) -> dict[str, object]:
    """Make an environment and run the job in it."""
    began = time.monotonic()
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-cache-dir"]
    torch = ["torch"] if version == "newest" else [f"torch=={version}"]
    for_cpu = [f"torch=={version}+cpu"]
    if version != "newest" and say([*install, "--dry-run", "--no-deps", *for_cpu], folder, check=False) == 0:
        torch = for_cpu
    say([*install, wheel, *torch], folder)
    say([*pip, "check"], folder)
    installed = time.monotonic() - began
    loaded = job(python, folder)
    size = sum(file.stat().st_size for file in (folder / "env").rglob("*") if file.is_file() and not file.is_symlink())
    return {
        **loaded,
        "install_seconds": round(installed),
        "job_seconds": round(time.monotonic() - began - installed),
        "gigabytes": round(size / 1e9, 1),
    }


def job(python: Path, folder: Path) -> dict[str, object]:
    """Train, evaluate and predict, in a folder of its own. Raises CalledProcessError."""
    work = folder / "work"
    work.mkdir()
    tubelet = [python, "-m", "tubelet"]
    fields = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    say([python, "-c", WRITE_CLIPS], work)
    say([*tubelet, "models", "--filter", "vivit_ti"], work)
    say([*tubelet, "train", "--data", "clips", "--out", "run", "--device", "cpu", *fields], work)
    say([*tubelet, "evaluate", "run/best", "--data", "clips", "--device", "cpu", "--num-workers", "1"], work)
    next((work / "clips/test").glob("*/*.mp4")).rename(work / "clip.mp4")
    say([*tubelet, "predict", "run/best", "clip.mp4", "--device", "cpu"], work)
    said = subprocess.run([python, "-c", LOAD], cwd=work, env=environment(), text=True, capture_output=True, check=True)
    loaded: dict[str, object] = json.loads(said.stdout.splitlines()[-1])
    return loaded


def environment() -> dict[str, str]:
    """Ours, without what could lead to the repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def say(command: list[object], folder: Path, *, check: bool = True) -> int:
    """Run a command there. Where it must succeed and does not, print what it said and raise."""
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment(), text=True, capture_output=True)
    if check and done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"failed: {' '.join(map(str, command[1:8]))}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
