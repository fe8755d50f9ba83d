"""``tubelet data``: a command of commands, each imported when it runs."""

from __future__ import annotations

import pytest

from tubelet import cli
from tubelet.commands.data import SUBCOMMANDS


def test_help_lists_every_subcommand_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["data", "--help"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, line) in SUBCOMMANDS.items():
        assert sum(text.split()[:1] == [name] and text.endswith(line) for text in lines) == 1


def test_no_subcommand_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data"]) == 2
    assert capsys.readouterr().out.startswith("usage: tubelet data COMMAND")


def test_an_unknown_subcommand_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "manifset", "x"]) == 2
    assert "unknown command 'data manifset'; did you mean 'manifest'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["manifest", "get"])
def test_every_subcommand_explains_itself_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["data", name, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: tubelet data {name}" in out
    assert f"  tubelet data {name} " in out.partition("xample")[2]
