"""``tubelet moments``: a folder per film, parts that several calls share, and files that other programs read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from support import content_of, error_of, rows_of
from tubelet import cli
from tubelet.data.layouts.bouts.read import read_bouts


@pytest.fixture(scope="module")
def films(film_labels: Path) -> list[str]:
    return [str(film_labels.parent / f"test-0{number}.mp4") for number in range(2)]


def moments(*words: str) -> int:
    return cli.main(["moments", *words, "--device", "cpu"])


@pytest.fixture(scope="module")
def done(films: list[str], film_run: Path, film_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moments") / "out"
    assert moments(*films, "--model", str(film_run), "--out", str(out), "--labels", str(film_labels)) == 0
    return out


def test_each_film_has_its_scores_bouts_and_picture(done: Path, films: list[str]) -> None:
    for film in films:
        part = done / Path(film).stem
        with np.load(part / "scores.npz", allow_pickle=False) as scores:
            assert scores["probs"].shape == (len(scores["first_frames"]), 4)
            assert len(scores["edges"]) == len(scores["probs"]) + 1
            times, labels = scores["timestamps"], scores["labels"].tolist()
        frames = rows_of(part / "frames.csv")
        assert len(frames) == len(times)
        assert list(frames[0]) == ["frame", "seconds", *labels]
        assert [float(row["seconds"]) for row in frames] == pytest.approx(times.tolist(), abs=1e-6)
        table = parquet.read_table(part / "frames.parquet").to_pydict()
        assert list(table) == ["frame", "seconds", *labels]
        for name, column in table.items():
            assert column == pytest.approx([float(row[name]) for row in frames], rel=1e-4, abs=1e-6)
        assert (part / "ethogram.png").read_bytes().startswith(b"\x89PNG")
        assert (part / "bouts.vtt").read_text().startswith("WEBVTT\n")
        bouts = json.loads((part / "bouts.json").read_text())["films"][0]["bouts"]
        assert len(bouts) == sum(row["label"] != "" for row in rows_of(part / "bouts.csv"))


def test_other_programs_read_the_same_bouts(done: Path, films: list[str]) -> None:
    project = {film.path: film for film in read_bouts(done / "bouts.boris").films}
    for film in films:
        (table,) = read_bouts(done / Path(film).stem / "bouts.csv").films
        bouts = {(b.label, round(b.start, 5), round(b.stop, 5)) for b in project[str(Path(film).resolve())].bouts}
        assert bouts == {(b.label, round(b.start, 5), round(b.stop, 5)) for b in table.bouts}
    summary = rows_of(done / "summary.csv")
    assert len(summary) == 8
    assert sum(int(row["num_bouts"]) for row in summary) == sum(len(film.bouts) for film in project.values())


def test_the_page_shows_every_film_and_needs_nothing_from_outside(done: Path) -> None:
    page = (done / "report.html").read_text()
    for word in ("test-00.mp4", "test-01.mp4", "test-00/ethogram.png", "Median bout", "spin"):
        assert word in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_parts_of_several_calls_are_together_what_one_call_gives(
    done: Path, films: list[str], film_run: Path, film_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*films, "--model", str(film_run), "--out", str(tmp_path / "out"), "--labels", str(film_labels)]
    assert moments(*words, "--shard", "2/2") == 0
    assert "1 of 2 films are left to other parts" in capsys.readouterr().err
    assert not (tmp_path / "out/summary.csv").exists()
    assert moments(*words, "--shard", "1/2") == 0
    for name in ("summary.csv", "test-00/frames.csv", "test-01/frames.csv", "test-01/bouts.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (done / name).read_bytes()


def test_a_second_call_does_nothing_again(
    done: Path, films: list[str], film_run: Path, film_labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = content_of(done / "test-00")
    assert moments(*films, "--model", str(film_run), "--out", str(done), "--labels", str(film_labels), "--json") == 0
    out, err = capsys.readouterr()
    assert err.count("done before") == 2
    assert len(json.loads(out)["films"]) == 2
    assert content_of(done / "test-00") == parts


def test_an_unreadable_film_gives_one_line_and_is_tried_again(
    films: list[str], film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    words = [films[0], str(bad), "--model", str(film_run), "--out", str(tmp_path / "out"), "--end", "1.5"]
    assert moments(*words) == 1
    err = capsys.readouterr().err
    assert len([line for line in err.splitlines() if "bad.mp4" in line]) == 1
    assert "1 of 2 files could not be read" in err
    assert "bad.mp4" in (tmp_path / "out/report.html").read_text()
    shutil.copy(films[1], bad)
    assert moments(*words) == 0
    assert len(rows_of(tmp_path / "out/summary.csv")) == 8


def test_a_film_of_the_same_name_has_results_of_its_own_and_a_changed_one_is_computed_anew(
    films: list[str], film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, out = tmp_path / "a/day.mp4", tmp_path / "b/day.mp4", tmp_path / "out"
    for path, film in zip((first, second), films, strict=True):
        path.parent.mkdir()
        shutil.copy(film, path)
    words = ["--model", str(film_run), "--out", str(out), "--end", "1"]
    assert moments(str(first), *words) == 0
    assert moments(str(second), *words) == 0
    assert "1 film of earlier calls stay" in capsys.readouterr().err
    assert {name: json.loads((out / name / "film.json").read_text())["source"] for name in ("day", "day-2")} == {
        "day": str(first),
        "day-2": str(second),
    }
    assert {row["path"] for row in rows_of(out / "summary.csv")} == {str(first), str(second)}
    assert "day-2/ethogram.png" in (out / "report.html").read_text()
    kept = content_of(out / "day-2")
    shutil.copyfile(films[1], first)  # another film in its place
    assert moments(str(second), str(first), *words) == 0
    err = capsys.readouterr().err
    assert "done before with another film; computed anew" in err
    assert err.count("done before\n") == 1
    assert (out / "day/frames.csv").read_bytes() == (out / "day-2/frames.csv").read_bytes()
    assert content_of(out / "day-2") == kept


def test_changed_labels_are_drawn_and_what_they_cannot_say_is_noted(
    films: list[str], film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    words = [films[0], "--model", str(film_run), "--out", str(tmp_path / "out"), "--end", "1", "--labels", str(labels)]
    labels.write_text(f"path,start,stop,label\n{films[0]},0.2,0.6,spin\n")
    assert moments(*words) == 0
    before = (tmp_path / "out/test-00/ethogram.png").read_bytes()
    labels.write_text(f"path,start,stop,label\n{films[0]},0.2,0.9,spin\n{films[0]},0,0.9,sleep\n")
    capsys.readouterr()
    assert moments(*words) == 0
    err = capsys.readouterr().err
    assert "done before with another labels; computed anew" in err
    assert "the model does not know sleep, which is not shown; it knows grow, pulse, run, spin" in err
    assert (tmp_path / "out/test-00/ethogram.png").read_bytes() != before
    labels.write_text(f"path,start,stop,label\n{films[1]},0.2,0.9,spin\n")
    assert moments(*words) == 0
    assert "labels none of these films (1 others, the first is " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("labels.csv", "path,start,stop,label\na.mp4,90,91,spin\n", "line 2: 'spin' starts at 90 seconds, behind the"),
        ("a_labels.csv", "spin,run\n" + "0,1\n1,0\n" * 10, "has labels for 20 frames, and the film has "),
    ],
    ids=["behind its end", "of another number of frames"],
)
def test_labels_that_are_not_of_a_film_cost_that_film_alone_and_no_time(
    name: str,
    text: str,
    says: str,
    films: list[str],
    film_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(films[0], tmp_path / "a.mp4")
    (tmp_path / name).write_text(text)
    words = ["--model", str(film_run), "--out", str(tmp_path / "out"), "--end", "1", "--labels", str(tmp_path / name)]
    assert moments(str(tmp_path / "a.mp4"), films[1], *words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if says in line]
    assert f"{tmp_path / 'a.mp4'}: {tmp_path / name}: " in line
    assert (tmp_path / "out/test-01/bouts.csv").is_file()
    assert [path.name for path in (tmp_path / "out/a").iterdir()] == ["film.json"]


def test_what_cannot_be_is_refused_before_any_film_is_read(
    done: Path, films: list[str], film_run: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*words: str) -> str:
        return error_of(["moments", *words], capsys)

    run, out = ["--model", str(film_run)], ["--out", str(tmp_path / "out")]
    assert "no per-frame head here" in says(films[0], "--model", str(checkpoint), *out)
    assert "--shard must be" in says(films[0], *run, *out, "--shard", "3/2")
    assert "holds moments of another start" in says(films[0], *run, "--out", str(done), "--start", "1")
    assert "no such file, folder or match" in says("gone.mp4", *run, *out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert "no folder of moments" in says(films[0], *run, "--out", str(tmp_path / "full"))
    assert not (tmp_path / "out").exists()


def test_task_per_frame_trains_and_names_the_command_that_uses_it(
    film_labels: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", "--task", "per_frame", "--data", str(film_labels), "--init", str(checkpoint), "--device", "cpu"]
    assert cli.main([*words, "--out", str(out), "--epochs", "1", "--per_frame.window_steps", "16"]) == 0
    err = capsys.readouterr().err
    assert f"tubelet moments FILM --model {out / 'best'}" in err
    assert (out / "report.html").is_file()
    assert cli.main([*words, "--out", str(tmp_path / "other"), "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "a small head learns from windows of its features" in planned
    assert "train 2, val 1, test 2" in planned
    assert not (tmp_path / "other").exists()


def test_a_sweep_over_heads_reads_each_film_once_and_chooses_on_validation_films(
    film_labels: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    words = ["train", "--task", "per_frame", "--data", str(film_labels), "--init", str(checkpoint), "--device", "cpu"]
    words += ["--out", str(out), "--epochs", "1", "--per_frame.window_steps", "16", "--json"]
    assert cli.main([*words, "--sweep", "per_frame.head=linear,conv"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "frame_mean_average_precision"
    assert len(found["best_on_test"]) == 1
    assert len(list(out.glob("features/*/*"))) == 5
    assert not list(out.glob("*/seed*/features"))
