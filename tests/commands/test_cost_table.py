"""``tubelet cost --table``: rows for people and for programs, nothing measured unless it is asked for."""

from __future__ import annotations

import json

import pytest

from support import error_of
from tubelet import cli


def test_the_table_and_the_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["cost", "--table", "--filter", "torchvision/r"]
    assert cli.main([*asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in rows] == ["torchvision/r3d_18", "torchvision/r2plus1d_18"]
    assert rows[0]["published"]["gmacs"] == pytest.approx(rows[0]["gmacs_per_view"], abs=1e-3)
    assert rows[0]["milliseconds_per_view"] is None
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert "torchvision R3D_18_Weights" in out
    assert "40.697" in out
    assert "torchvision states its networks' cost for 16 frames" in out
    assert "ms/view" not in out


def test_measuring_adds_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--filter", "vivit_ti16x2_avgpool", "--measure", "--repetitions", "1", "--threads", "1", "--device", "cpu"]
    assert cli.main(["cost", "--table", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["milliseconds_per_view"] > 1


def test_the_help_shows_the_options_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["cost", "--table", "--help"])
    assert ended.value.code == 0
    assert "tubelet cost --table --filter vivit_b16x2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--filter", "vivt"], "no model's name contains 'vivt'"),
        (["--threads", "1"], "--threads belongs to --measure"),
        (["--measure", "--repetitions", "0"], "--repetitions and --threads must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in error_of(["cost", "--table", *words], capsys)
