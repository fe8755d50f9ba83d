"""Names, permissions, disks and memory as real machines have them: one line each, and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support import PROTOCOL, TRAIN_TINY, error_of, motion_videos, rows_of, write_checkpoint
from tubelet import cli
from tubelet.commands.prediction_files import timeline_names
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError, OutOfMemory, explaining_memory, is_out_of_memory
from tubelet.inference.predictor import Classifier
from tubelet.training.state.storage import explaining_training_memory

NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes. Error code 12")
NO_GPU_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity")
NOT_UTF8 = "bad\udcff.mp4"


def test_films_of_equal_names_have_a_timeline_each() -> None:
    sources = ["a/clip.mp4", "b/clip.mp4", "b/CLIP.mkv", "c/clip-2.mp4", f"{'n' * 250}.mp4", "a\nb.mp4"]
    names = [name.name for name in timeline_names(Path("out/film.png"), sources)]
    assert names[:3] == ["film-clip.png", "film-clip-2.png", "film-CLIP-3.png"]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(len(name) < 200 and "\n" not in name for name in names)
    assert timeline_names(Path("film.png"), ["a/clip.mp4"]) == [Path("film.png")]


def test_csv_goes_to_standard_output_alone_and_never_over_an_input(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(videos / "test/left/0000.mp4", tmp_path / "clip.mp4"))
    argv = ["predict", str(checkpoint), str(file), "--num-workers", "0", "--device", "cpu", "--csv"]
    assert cli.main([*argv, str(tmp_path / "out.csv")]) == 0
    assert cli.main([*argv, str(tmp_path / "out.csv"), "--json"]) == 0
    capsys.readouterr()
    assert cli.main([*argv, "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out.csv").read_text()
    windows = [*argv[:3], "--device", "cpu", "--window", "400ms", "--fps", "10", "--csv", "-"]
    assert cli.main(windows) == 0
    assert capsys.readouterr().out.startswith("path,start_seconds,")
    assert "both write to standard output" in error_of([*argv, "-", "--json"], capsys)
    before = file.read_bytes()
    assert "is one of the files to predict" in error_of([*argv, str(file)], capsys)
    assert file.read_bytes() == before


def test_a_name_that_is_not_utf8_is_predicted_and_can_be_read_back(
    checkpoint: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(videos / "test/left/0000.mp4", NOT_UTF8)
    argv = ["predict", str(checkpoint), ".", "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*argv, "--json", "--csv", "out.csv"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found["source"] == NOT_UTF8
    assert rows_of(Path("out.csv"))[0]["path"] == "bad\\udcff.mp4"
    assert cli.main(argv) == 0
    assert "bad\\udcff.mp4" in capsys.readouterr().out


def test_a_data_set_with_a_name_that_is_not_utf8_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("left/0.mp4", f"left/{NOT_UTF8}", "right/0.mp4"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(os.fsencode(name))
    said = error_of(["train", "--data", str(tmp_path / "data"), *TRAIN_TINY, "--out", str(tmp_path / "run")], capsys)
    assert said.endswith(
        "1 of 3 names of files or classes are not UTF-8, the first is left/bad\\udcff.mp4; rename them (convmv does a "
        "whole folder)"
    )


# Runs commands without root's power to pass over permissions, which its processes do not get back. argv holds JSON, a
# list of command lines.
WITHOUT_POWERS = """
import contextlib, ctypes, io, json, os, sys
from tubelet import cli
libc = ctypes.CDLL(None)
for power in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.prctl(24, power, 0, 0, 0)  # PR_CAPBSET_DROP
if os.geteuid() == 0:
    assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
found = []
for argv in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(argv)
    found.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""


def test_files_and_folders_without_permission_are_one_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = motion_videos(tmp_path / "data")
    best, closed = write_checkpoint(tmp_path / "best"), data / "test/left/0000.mp4"
    (tmp_path / "read_only").mkdir(mode=0o555)
    closed.chmod(0)
    no_workers = ("--num-workers", "0", "--device", "cpu")
    commands = [
        ["predict", str(best), str(data / "test/left"), *no_workers],
        ["evaluate", str(best), "--data", str(data), "--split", "test", "--views", "1x1", *no_workers],
        ["evaluate", str(best), "--data", "none", "--out", str(tmp_path / "read_only"), *no_workers],
        ["predict", str(best), str(data / "test/left"), "--csv", str(tmp_path / "read_only/x.csv"), *no_workers],
        ["train", "--data", str(data), *TRAIN_TINY, "--out", str(tmp_path / "read_only/run")],
        ["data", "scan", str(data), "--out", str(tmp_path / "out/scan"), "--num-workers", "1"],
    ]
    script = [sys.executable, "-c", WITHOUT_POWERS, json.dumps(commands)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    predicted, scored, *refused, scanned = json.loads(done.stdout)
    assert predicted[0] == 1
    assert f"{closed}: " in predicted[2]
    assert "Permission denied" in predicted[2]
    assert "0001.mp4" in predicted[1]
    assert scored[0] == 0
    assert "15 videos" in scored[1] + scored[2]
    for code, _, err in refused:
        assert code == 1
        assert "permission denied" in err.splitlines()[-1].lower()
        assert str(tmp_path / "read_only") in err.splitlines()[-1]
    assert scanned[0] == 1
    assert "unreadable: test/left/0000.mp4: expected a video, cannot open the file (Permission denied)" in scanned[1]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("error", [NO_MEMORY, NO_GPU_MEMORY, MemoryError()], ids=["cpu", "gpu", "python"])
def test_a_clip_that_does_not_fit_in_memory_is_one_line_and_the_others_are_predicted(
    checkpoint: Path,
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    """The allocation that fails cannot be had; all around it is real."""
    real, calls = Classifier.score_clips, [0]

    def score(self: Classifier, *arguments: torch.Tensor) -> object:
        calls[0] += 1
        if calls[0] == 1:
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(Classifier, "score_clips", score)
    argv = ["predict", str(checkpoint), str(videos / "test/left"), "--num-workers", "0", "--device", "cpu", "--json"]
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert "left/0001.mp4" in out
    assert "left/0000.mp4: out of memory" in err
    assert "use fewer views" in err
    assert err.splitlines()[-1] == "tubelet: error: 1 of 2 files could not be read"


def test_what_lacks_memory_says_how_much_was_asked_for_and_what_to_do(tmp_path: Path) -> None:
    for error, line in (
        (NO_MEMORY, "out of memory (tried to allocate 4000 bytes)"),
        (NO_GPU_MEMORY, "out of memory on the GPU (tried to allocate 20.00 MiB)"),
    ):
        with pytest.raises(OutOfMemory) as caught, explaining_training_memory(tmp_path):
            raise error
        assert str(caught.value).startswith(f"{line}; a new run takes less with a larger training.accumulation")
        assert str(caught.value).endswith("make room, then start the run again")
    with pytest.raises(RuntimeError, match="unlike"), explaining_memory("x"):
        raise RuntimeError("unlike")
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60)
    assert is_out_of_memory(real.value)


def test_a_command_that_runs_out_of_memory_says_what_to_lower(
    checkpoint: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise NO_MEMORY

    monkeypatch.setattr("tubelet.api.evaluate.score", fail)
    argv = ["evaluate", str(checkpoint), "--data", str(videos), "--num-workers", "0", "--device", "cpu"]
    assert "give a smaller --batch-size" in error_of(argv, capsys)


def test_a_source_that_does_not_fit_in_memory_is_a_row_that_failed(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise NO_MEMORY

    dataset = ClipDataset(read_manifest(videos), PROTOCOL, mode="views")
    monkeypatch.setattr(ClipDataset, "open", fail)
    with pytest.raises(DataError, match=r"0000\.mp4: out of memory .*; use fewer reading processes"):
        dataset.read(0, 0)
