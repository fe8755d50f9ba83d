"""The command line as a user meets it: help, errors of one line, exit codes, and the commands that describe models."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tubelet import __version__, cli
from tubelet.commands import data
from tubelet.config import describe, to_dict
from tubelet.models import create_model, list_models, model_config
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint

SMALL = {"embed_dim": 16, "depth": 1, "num_heads": 2, "num_frames": 4, "image_size": [16, 16]}


def lines_of_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a failing command wrote to stderr; it must fail with 1 and print nothing to stdout."""
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, line) in cli.COMMANDS.items():
        assert sum(text.split()[:1] == [name] and text.endswith(line) for text in lines) == 1
    assert max(map(len, lines)) <= 80


def test_no_command_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().out.startswith("usage: tubelet COMMAND")


OPTIONS = [module for module, _ in (*cli.COMMANDS.values(), *data.SUBCOMMANDS.values())]


@pytest.mark.parametrize("module", [module for module in OPTIONS if module != data.__name__])
def test_every_option_says_what_it_is_for(module: str) -> None:
    rows = list(describe(import_module(module).Options))
    assert [name for name, _, _, meaning in rows if not meaning] == []


def test_every_field_of_a_recipe_says_what_it_is_for() -> None:
    assert [name for name, _, _, meaning in describe(Recipe) if not meaning] == []


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: tubelet {name}" in out
    assert f"  tubelet {name} " in out.partition("xample")[2]


@pytest.mark.parametrize("module", OPTIONS)
def test_no_list_of_a_description_runs_into_the_text_behind_it(module: str) -> None:
    """The help joins lines of a paragraph, and what follows an indented line without an empty one is joined to it."""
    for name, text in vars(import_module(module)).items():
        lines = text.splitlines() if name == "DESCRIPTION" else []
        assert [b for a, b in itertools.pairwise(lines) if a.startswith(" ") and b and not b.startswith(" ")] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tubelet {__version__}\n"


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretict", "x.mp4"]) == 2
    assert (
        capsys.readouterr().err == "tubelet: unknown command 'pretict'; did you mean 'predict'?; see tubelet --help\n"
    )


def test_unknown_option_of_a_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["models", "--fliter", "b16"])
    assert stopped.value.code == 2
    assert "--filter" in capsys.readouterr().err


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A command ``broken`` that does what its argument says."""
    (tmp_path / "broken_command.py").write_text(
        "from tubelet.errors import DataError\n"
        "def main(argv):\n"
        "    kinds = {'data': DataError('two\\nlines'), 'stop': KeyboardInterrupt(), 'bug': ZeroDivisionError()}\n"
        "    open('/') if argv[0] == 'folder' else None\n"
        "    raise kinds[argv[0]]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "broken", ("broken_command", "fail"))
    return "broken"


def test_an_error_for_the_user_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of_error([command, "data"], capsys) == ["tubelet: error: two lines"]


def test_an_error_of_the_system_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of_error([command, "folder"], capsys)
    assert line == "tubelet: error: /: Is a directory"


def test_an_interrupt_is_one_line_and_its_exit_code(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "stop"]) == 130
    assert capsys.readouterr().err == "tubelet: interrupted\n"


def test_a_defect_keeps_its_traceback(command: str) -> None:
    with pytest.raises(ZeroDivisionError):
        cli.main([command, "bug"])


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tubelet", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_models_lists_every_name_that_fits_with_size_and_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--filter", "b16x2", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list_models("b16x2")
    joint = rows["vivit_b16x2_joint"]
    assert joint["parameters"] == 88_954_000
    assert joint["gmacs_per_view"] == pytest.approx(451.52, abs=0.01)
    assert joint["clip_shape"] == [3, 32, 224, 224]


def test_models_prints_one_row_per_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--filter", "b16x2_fe"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    for text in ("vivit_b16x2_fe", "115.06", "283.34", "32 x 224 x 224"):
        assert text in out


def test_a_filter_that_fits_no_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of_error(["models", "--filter", "vivit_b16x2_jiont"], capsys)
    assert line == (
        "tubelet: error: no model's name contains or matches 'vivit_b16x2_jiont'; did you mean 'vivit_b16x2_joint'?"
    )


def test_cost_counts_a_clip_of_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    def cost(*options: str) -> dict[str, Any]:
        assert cli.main(["cost", "vivit_ti16x2_avgpool", "--no-measure", "--json", *options]) == 0
        content: dict[str, Any] = json.loads(capsys.readouterr().out)
        return content

    whole = cost("--num-classes", "8")
    half = cost("--num-classes", "8", "--frames", "16", "--views", "2x1")
    assert "median_seconds" not in whole
    # The average pool sees each time index alone: but for the head, the work halves with the frames.
    head = 192 * 8 / 1e9
    assert half["gmacs_per_view"] - head == pytest.approx((whole["gmacs_per_view"] - head) / 2)
    assert half["gmacs_per_video"] == pytest.approx(2 * half["gmacs_per_view"])
    assert (half["frames"], half["size"], half["num_classes"]) == (16, [224, 224], 8)


def test_cost_measures_on_the_device_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "cost vivit_ti16x2_avgpool --frames 2 --size 32 32 --batch 2 --repetitions 3 --threads 1 --device cpu"
    assert cli.main([*argv.split(), "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["device"], cost["threads"], cost["batch"], cost["repetitions"]) == ("cpu", 1, 2, 3)
    assert 0 < cost["fastest_seconds"] <= cost["median_seconds"] <= cost["slowest_seconds"]
    assert cost["peak_memory_bytes"] > 0
    assert cli.main(argv.split()) == 0
    out = capsys.readouterr().out
    for text in ("parameters", "GMACs per video (4x3 views)", "median of 3", "MiB (the whole process)"):
        assert text in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["vivit_b16x2_jiont"], "did you mean 'vivit_b16x2_joint'?"),
        (["vivit_b16x2_fe", "--views", "4"], "for example 4x3; got '4'"),
        (["vivit_b16x2_fe", "--frames", "31"], "does not divide 31"),
        (["vivit_b16x2_fe", "--batch", "0"], "must be positive"),
        (["vivit_b16x2_fe", "--repetitions", "0"], "must be positive"),
        (["vivit_b16x2_fe", "--threads", "0"], "must be positive"),
    ],
)
def test_cost_refuses_with_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of_error(["cost", *options], capsys)
    assert line.startswith("tubelet: error: ")
    assert message in line


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    name = "vivit_ti16x2_fe"
    names = tuple(f"class {i}" for i in range(30))
    record = Record(
        model_name=name,
        model_config=to_dict(model_config(name, {**SMALL, "num_classes": 30})),
        protocol=Protocol(num_frames=4, crop_size=(16, 16), resize_short_side=18, labels={"action": names}),
        provenance={"seed": 3, "recipe": {"model": name}, "note": "[not markup]"},
    )
    save_checkpoint(tmp_path / "best", create_model(name, **record.model_config), record)
    return tmp_path / "best"


def test_inspect_gives_all_of_the_record(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(checkpoint), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"] == "vivit_ti16x2_fe"
    assert content["model_config"]["embed_dim"] == 16
    expected = create_model("vivit_ti16x2_fe", **SMALL, num_classes=30)
    assert content["parameters"] == sum(p.numel() for p in expected.parameters())
    assert content["protocol"]["crop_size"] == [16, 16]
    assert content["labels"] == {"action": [f"class {i}" for i in range(30)]}
    assert content["provenance"] == {"seed": 3, "recipe": {"model": "vivit_ti16x2_fe"}, "note": "[not markup]"}


def test_inspect_shows_the_first_labels_and_says_how_many_there_are(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(checkpoint)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for text in ("vivit_ti16x2_fe", "labels of action (30)", "class 19 ... and 10 more", "crop_size", "[not markup]"):
        assert text in out
    assert "class 20" not in out


def test_inspect_without_a_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of_error(["inspect", str(tmp_path / "nowhere")], capsys)
    assert line.startswith(f"tubelet: error: {tmp_path / 'nowhere'}: no checkpoint here")
