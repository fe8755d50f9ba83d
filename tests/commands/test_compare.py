"""``tubelet compare`` as a user meets it before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support import error_of
from tiny_comparison import write_comparison
from tubelet import cli, config
from tubelet.api import compare
from tubelet.api.compare import ComparisonOptions, choose_comparison, folder_name, process_devices


def test_without_a_name_the_comparisons_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed["tokenizers"] == "Is tubelet embedding better than uniform frame sampling?"
    assert len(listed) == 14


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tokenizer"], "did you mean 'tokenizers'"),
        (["tokenizers", "--quick", "--full"], "exclude each other"),
        (["tokenizers", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["tokenizers", "--seeds", "0"], "num_seeds must be at least 1, got 0"),
        (["tokenizers", "--data", "organmnist3d"], "tubelet data get medmnist3d/organmnist3d"),
        (["tokenizers", "--data", "adrenal"], "did you mean 'adrenalmnist3d'"),
        (["tokenizers", "--data", "."], "this comparison is of volumes (.npz)"),
        (["tokenizers", "--data", "adrenalmnist3d", "adrenalmnist3d"], "two datasets are called 'adrenalmnist3d'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of(["compare", *argv, "--device", "cpu"], capsys)
    assert not any(tmp_path.iterdir())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    file = str(write_comparison(tmp_path))
    assert "give another --out" in error_of(["compare", file, "--out", str(tmp_path / "out")], capsys)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_a_comparison_does_not_go_on_with_another_kind_of_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = str(write_comparison(tmp_path)), tmp_path / "out"
    out.mkdir()
    (out / "comparison.yaml").write_text("")
    (out / "device.txt").write_text("cuda\n")
    message = error_of(["compare", file, "--out", str(out), "--device", "cpu"], capsys)
    assert "began on cuda, and runs on cpu come to other numbers; go on with --device cuda" in message


@pytest.mark.parametrize(
    ("jobs", "devices"),
    [(None, ["cuda:0", "cuda:1", "cuda:2"]), (2, ["cuda:0", "cuda:1"]), (4, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"])],
)
def test_runs_are_spread_over_the_gpus(jobs: int | None, devices: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Made up, for want of three GPUs."""
    monkeypatch.setattr(compare, "choose_device", lambda asked: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert process_devices("auto", jobs) == devices


@pytest.mark.parametrize("key", ["arms", "datasets"])
def test_the_folder_of_another_comparison_keeps_its_own(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write_comparison(tmp_path), tmp_path / "out"
    out.mkdir()
    other = config.load_yaml(file) | {key: {"something": {}}}
    (out / "comparison.yaml").write_text(config.dump_yaml(other))
    message = error_of(["compare", str(file), "--out", str(out), "--device", "cpu"], capsys)
    assert f"holds another comparison, with the {key} something in place of" in message
    assert config.load_yaml(out / "comparison.yaml") == other


def test_data_without_a_test_split_leave_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_comparison(tmp_path)
    with np.load(tmp_path / "volumes.npz", allow_pickle=False) as content:
        arrays = {name: array for name, array in content.items() if not name.startswith("test")}
    np.savez(tmp_path / "volumes.npz", **arrays)
    message = error_of(["compare", str(file), "--out", str(tmp_path / "out"), "--device", "cpu"], capsys)
    assert "no split test" in message
    assert not (tmp_path / "out").exists()


def test_each_data_has_a_folder_of_its_own(tmp_path: Path) -> None:
    volumes = tmp_path / "vesselmnist3d.npz"
    volumes.write_bytes(b"")
    quick, data = ComparisonOptions(size="quick"), ("adrenalmnist3d", str(volumes))
    comparison = choose_comparison("tokenizers", data, quick)
    assert folder_name("tokenizers", quick, comparison, data) == "tokenizers-quick-adrenalmnist3d-vesselmnist3d"
    assert folder_name("my/own.yaml", ComparisonOptions(), comparison, ()) == "own"
    (tmp_path / "my clips (1)").mkdir()
    own = choose_comparison("vivit_variants", (str(tmp_path / "my clips (1)"),), ComparisonOptions())
    assert list(own.datasets) == ["my_clips_1"]


def test_a_set_of_medmnist_is_found_by_name_where_it_was_downloaded_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fracturemnist3d.npz").write_bytes(b"")
    Path("vesselmnist3d_64.npz").write_bytes(b"")
    comparison = choose_comparison("tokenizers", ("fracturemnist3d", "vesselmnist3d_64.npz"), ComparisonOptions())
    recipes = [comparison.recipe(name, "tubelets", {}, 0) for name in ("fracturemnist3d", "vesselmnist3d_64")]
    assert recipes[0].data.source == str(tmp_path / "fracturemnist3d.npz")
    assert len(recipes[0].data.manifest.class_names["label"]) == 3
    assert recipes[1].data.manifest.class_names == {"label": ("vessel", "aneurysm")}


def test_data_are_chosen_by_name_or_by_file(tmp_path: Path) -> None:
    volumes = tmp_path / "vesselmnist3d.npz"
    volumes.write_bytes(b"")
    comparison = choose_comparison("tokenizers", ("adrenalmnist3d", str(volumes)), ComparisonOptions(num_seeds=2))
    assert list(comparison.datasets) == ["adrenalmnist3d", "vesselmnist3d"]
    recipe = comparison.recipe("vesselmnist3d", "tubelets", {}, 0)
    assert recipe.data.source == str(volumes)
    assert recipe.data.manifest.class_names == {"label": ("vessel", "aneurysm")}
    assert comparison.num_seeds == 2


def test_data_of_the_user_are_read_as_the_comparison_reads_its_own_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"")
    (tmp_path / "my_clips").mkdir()
    files = (str(tmp_path / "mine.npz"), str(tmp_path / "my_clips"))
    comparison = choose_comparison("initialisation", files, ComparisonOptions())
    volumes, videos = (comparison.recipe(name, "sampling", {}, 0) for name in ("mine", "my_clips"))
    assert volumes.model["tubelet_size"] == [1, 7, 7]
    assert (volumes.protocol.num_channels, comparison.metric_on("mine")) == (1, "auroc")
    assert volumes.data.manifest.class_names == {}  # those of the embedded volumes are not its own
    assert videos.model["tubelet_size"] == [1, 16, 16]
    assert (videos.data.source, comparison.metric_on("my_clips")) == (str(tmp_path / "my_clips"), "top1")
    assert comparison.start_recipe("mine", "image").model["tubelet_size"] == [1, 7, 7]


def test_a_dataset_that_a_size_leaves_out_can_be_asked_for_by_name() -> None:
    comparison = choose_comparison("initialisation", ("adrenalmnist3d",), ComparisonOptions(size="quick"))
    assert comparison.recipe("adrenalmnist3d", "random", {}, 0).data.source == "embedded:adrenalmnist3d"
