"""What people try first, and what they are told."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from support import MODEL, PROTOCOL, TRAIN_TINY, error_of, motion_videos, rows_of, tiny_model
from tubelet import cli
from tubelet.api.recipe_fields import first_weights
from tubelet.errors import ConfigError, nearest
from tubelet.recipe import load_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["videos"], "videos: is no recipe; to train on this data, give --data videos"),
        (["labels.csv"], "labels.csv: is no recipe; to train on this data, give --data labels.csv"),
        (["run"], "run: is a run; go on with --resume run, or give its run/recipe.yaml"),
        (["my_clips"], "no recipe 'my_clips'"),
        (["my_clips"], "--data names videos"),
        (["vivit_ti16x2_fe"], "vivit_ti16x2_fe: is a model, not a recipe; give --model vivit_ti16x2_fe --data FOLDER"),
        (["--data", "videos", "--model", "vivit_b16"], "did you mean one of vivit_b16x2_avgpool, vivit_b16x2_fdp"),
        (["--data", "videos", "--weight-decay", "0.1"], "no option --weight-decay; did you mean --optim.weight_decay?"),
        (["--data", "videos", "--num_workers", "0"], "no option --num_workers; did you mean --data.num_workers?"),
    ],
)
def test_a_wrong_word_of_train_names_the_right_one(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    Path("labels.csv").touch()
    Path("run").mkdir()
    Path("run/recipe.yaml").touch()
    assert line in error_of(["train", *words], capsys)


def test_a_file_whose_name_begins_with_a_dash_is_told_from_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dash.mp4").touch()
    with pytest.raises(SystemExit):
        cli.main(["predict", "model", "-dash.mp4"])
    assert "-dash.mp4 exists and is read as an option; write ./-dash.mp4" in capsys.readouterr().err


def test_words_that_are_options_are_suggested_as_options(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("version", "help"):
        assert cli.main([word]) == 2
        assert f"did you mean '--{word}'?" in capsys.readouterr().err


def test_of_a_beginning_all_that_begin_so_are_named_before_what_is_only_alike() -> None:
    assert nearest("ab_c", ["ab_cd", "ab_ce", "xb_c"]) == "; did you mean one of ab_cd, ab_ce?"
    assert nearest("ab_c", [f"ab_c{i}" for i in range(9)]).endswith("ab_c5, ...?")
    assert nearest("lr", ["lr_scale", "lr_end", "lrs"]) == "; did you mean 'lrs'?"


def test_short_names_train_and_are_echoed_in_full_and_the_first_epoch_explains_itself(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    short = ["--epochs", "2", "--batch_size=16", "--lr", "0.002", "--training.label_smoothing", "0.1"]
    assert cli.main(["train", "--data", str(videos), "--out", str(run), *TRAIN_TINY, *short]) == 0
    said = capsys.readouterr().err
    for line in (
        "--epochs sets --training.num_epochs",
        "--batch_size sets --training.batch_size",
        "--lr sets --optim.lr",
    ):
        assert line in said.splitlines()
    assert [row["epoch"] for row in rows_of(run / "log.csv")] == ["0", "1"]
    assert said.count(f"{run / 'best'} is usable from now on: tubelet predict {run / 'best'} CLIP") == 1
    assert said.count("training loss is of softened labels (training.label_smoothing=0.1)") == 1


def test_dead_links_in_a_folder_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = motion_videos(tmp_path / "videos")
    (root / "train" / "lost").symlink_to("/gone/class")
    words = ["train", "--data", str(root), *TRAIN_TINY, "--dry-run"]
    assert cli.main(words) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "1 links lead to files or folders that do not exist: train/lost -> /gone/class" in said
    (root / "train" / "left" / "lost.mp4").symlink_to("/gone/lost.mp4")
    assert cli.main(words) == 1
    assert "train/left/lost.mp4 -> /gone/lost.mp4" in "".join(capsys.readouterr())


def test_a_log_says_how_much_time_is_left_also_between_works_that_take_turns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("tubelet.session.console_progress.time.monotonic", lambda: now)
    monkeypatch.setattr("tubelet.session.console_progress.LINE_EVERY_SECONDS", 0.0)
    with ConsoleProgress("run") as progress:
        for step in range(10, 13):  # resumed at step 10; every step takes 5 minutes, and so does its validation
            progress.step(step, 20, 0, 0.5)
            for video in range(3):
                progress.advance(video, 2, "evaluating")
                now += 100.0
            now += 300.0
    lines = [line for line in capsys.readouterr().err.splitlines() if "loss" in line]
    assert lines[0] == "run: 10 of 20, epoch 1, loss 0.500"
    assert lines[2] == "run: 12 of 20, epoch 1, loss 0.500, about 80 min left"


HELP = re.compile(r"--[a-z][\w.-]*")


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "data"])
def test_help_spells_fields_as_recipes_do_and_options_with_hyphens(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    flags = set(HELP.findall(capsys.readouterr().out))
    assert not {flag for flag in flags if ("-" in flag[2:] if "." in flag else "_" in flag)}


def test_both_spellings_are_understood(checkpoint: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--protocol.num-frames", "--protocol.num_frames"):
        words = ["evaluate", str(checkpoint), "--data", str(videos), option, "2", "--num-workers", "0", "--json"]
        assert cli.main(words) == 0
    capsys.readouterr()


ROOT = Path(__file__).parents[2]


DOCS = [file for file in sorted((ROOT / "docs").rglob("*.md")) if file.parent.name != "reference"]  # generated


@pytest.mark.parametrize("file", [ROOT / "README.md", *DOCS], ids=lambda f: f.name)
def test_docs_spell_options_as_help_does(file: Path) -> None:
    ours = re.findall(r"(?:tubelet|-m tubelet) [^`\n]*", file.read_text(encoding="utf-8"))
    flags = {flag for line in ours for flag in HELP.findall(line)}
    assert not {flag for flag in flags if ("-" in flag[2:] if "." in flag else "_" in flag)}


def test_messages_spell_options_as_help_does() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    flags = {flag for file in files for flag in HELP.findall(file.read_text(encoding="utf-8"))}
    assert len(flags) > 50
    assert not {flag for flag in flags if ("-" in flag[2:] if "." in flag else "_" in flag)}


def test_a_system_error_is_told_without_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(["train", "--data", str(tmp_path / "none.csv")], capsys)
    assert "Errno" not in said
    (tmp_path / "shut").mkdir()
    said = error_of(["evaluate", str(tmp_path / "shut"), "--data", str(tmp_path)], capsys)
    assert "Errno" not in said


def test_first_weights_and_few_clips_name_the_probe_and_switch_nothing(
    videos: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "--data", str(videos), *TRAIN_TINY]
    assert cli.main([*argv, "--init", str(checkpoint), "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().err
    assert f"tubelet probe --data {videos} --encoder {checkpoint}" in said
    assert "test: top-1" in said  # it trained as asked
    assert cli.main([*argv, "--out", str(tmp_path / "b")]) == 0
    assert "tubelet probe" not in capsys.readouterr().err


def test_sizes_are_judged_by_the_model_of_the_first_weights(tmp_path: Path) -> None:
    """Tubelets of 8 cut a crop of 24 that those of the shipped recipe, of 16, do not."""
    model, config = tiny_model(2, tubelet_size=(2, 8, 8), image_size=(24, 24))
    protocol = dataclasses.replace(PROTOCOL, crop_size=(24, 24), resize_short_side=24, labels={"label": ("a", "b")})
    save_checkpoint(tmp_path, model, Record(model_name=MODEL, model_config=config, protocol=protocol))
    fields = first_weights(str(tmp_path), suggests=True)
    for crop, says in (((24, 24), None), ((40, 40), None), ((20, 20), "h=8 does not divide 20")):
        chosen = [*fields, ("protocol.crop_size", str(list(crop))), ("protocol.resize_short_side", "48")]
        if says is None:
            assert load_recipe("films/per_frame", chosen).protocol.crop_size == crop
        else:
            with pytest.raises(ConfigError, match=says):
                load_recipe("films/per_frame", chosen)
