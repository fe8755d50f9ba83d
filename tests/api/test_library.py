"""From Python what the command line does: a run and back, figures equal to those of commands, errors in one line."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import tubelet
from support import MODEL, TINY
from tubelet import cli
from tubelet.errors import CheckpointError, ConfigError, DataError, Stopped, TubeletError
from tubelet.session.console_progress import ConsoleProgress

FIELDS: dict[str, Any] = {
    "model": MODEL,
    **{f"model.{name}": value for name, value in TINY.items()},
    "protocol": {
        "num_frames": 4,
        "frame_stride": 2,
        "target_fps": None,
        "resize_short_side": 20,
        "crop_size": [16, 16],
        "num_temporal_views": 2,
    },
    "epochs": 1,
    "batch_size": 8,
    "data.num_workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tubelet.Run:
    return tubelet.train(videos, out=tmp_path_factory.mktemp("library") / "run", progress=False, **FIELDS)


def test_a_run_has_its_recipe_checkpoint_figures_and_report(
    run: tubelet.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.recipe.training.num_epochs == 1
    assert run.report is not None
    page = run.report.read_text(encoding="utf-8")
    assert "tubelet.train" in page
    assert f"<title>{MODEL} on videos</title>" in page
    again = tubelet.Run.open(run.folder)
    assert again.metrics == json.loads((run.folder / "evaluation/test/metrics.json").read_text(encoding="utf-8"))
    assert list(again.to_dataframe()["epoch"]) == list(again.content.validation["epoch"])
    assert again._repr_html_().startswith("<table><caption>run</caption>")
    assert capsys.readouterr() == ("", "")


def test_the_same_call_goes_on_and_trains_nothing_anew(run: tubelet.Run, videos: Path) -> None:
    before = (run.folder / "log.csv").read_bytes()
    tubelet.train(videos, out=run.folder, progress=False, **FIELDS)
    assert (run.folder / "log.csv").read_bytes() == before


def test_evaluation_and_predictions_equal_those_of_the_commands(
    run: tubelet.Run,
    videos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation = run.evaluate(num_workers=0, device="cpu", progress=False)
    argv = ["evaluate", str(run.best), "--data", str(videos), "--num-workers", "0", "--device", "cpu", "--json"]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(evaluation.to_dict()))
    assert list(evaluation.to_dataframe().columns) == ["metric", "value"]

    film = videos / "test" / "left" / "0000.mp4"
    assert cli.main(["predict", str(run.best), str(film), "--views", "1x1", "--device", "cpu", "--json"]) == 0
    (of_command,) = json.loads(capsys.readouterr().out)["predictions"]
    prediction = tubelet.predict(run.best, film, device="cpu", views="1x1", top_k=5)
    assert isinstance(prediction, tubelet.types.Prediction)
    assert list(prediction.labels) == of_command["labels"]
    assert list(prediction.probs) == pytest.approx(of_command["probs"], abs=0)
    assert isinstance(prediction.to_dataframe(), pandas.DataFrame)

    classifier = run.load("cpu")
    segments = classifier.windows(film, window=0.4, hop_seconds=0.2, sample_fps=10).segments
    argv = ["predict", str(run.best), str(film), "--window", "0.4s", "--hop", "0.2s", "--fps", "10", "--json"]
    assert cli.main([*argv, "--device", "cpu"]) == 0
    (of_film,) = json.loads(capsys.readouterr().out)["films"]
    assert [s.start_seconds for s in segments] == [s["start_seconds"] for s in of_film["segments"]]
    streamed = list(classifier.stream(str(film), window=0.4, hop_seconds=0.2, sample_fps=10))
    assert [s.probs for s in streamed] == [s.probs for s in segments]


def test_an_embedding_is_what_the_head_takes(run: tubelet.Run, videos: Path) -> None:
    classifier = run.load("cpu")
    film = videos / "test" / "left" / "0000.mp4"
    embedding, tokens = classifier.embed(film), classifier.tokens(film)
    assert embedding.shape == (TINY["embed_dim"],)
    assert tokens.shape[:2] == (2, 2)  # views, time indices
    head: Any = classifier.model
    logits = classifier.predict(film).probs
    with torch.inference_mode():
        probs = (head.head(embedding) / (classifier.record.calibration.temperatures or (1.0,))[0]).softmax(-1)
    assert sorted(probs.tolist(), reverse=True) == pytest.approx(list(logits), abs=1e-6)


def test_threads_predict_the_bits_of_one(checkpoint: Path, videos: Path) -> None:
    classifier = tubelet.load(checkpoint, "cpu")
    films = sorted(videos.glob("test/*/*.mp4"))[:8]
    alone = [classifier.predict(film) for film in films]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(classifier.predict, films)) == alone
    assert torch.get_num_threads() == threads


def test_an_interrupt_leaves_a_run_that_the_same_call_goes_on_with(
    run: tubelet.Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fields = tmp_path / "stopped", FIELDS | {"epochs": 3}

    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of xdist ignores it
    try:
        with monkeypatch.context() as patched:
            patched.setattr(ConsoleProgress, "validated", interrupt)  # after the first epoch
            with pytest.raises(Stopped, match="the same call goes on"):
                tubelet.train(videos, out=out, progress=False, **fields)
    finally:
        signal.signal(signal.SIGINT, before)
    assert tubelet.train(videos, out=out, progress=False, **fields).metrics["num_videos"] == run.metrics["num_videos"]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda v: tubelet.train(), ConfigError, "nothing to train on"),
        (lambda v: tubelet.train(v, model="vivit_b16"), ConfigError, "did you mean one of vivit_b16x2"),
        (lambda v: tubelet.train(v, optim={"learning": 1}), ConfigError, "learning"),
        (lambda v: tubelet.train(v, optin={"lr": 1}), ConfigError, "a recipe has no 'optin'; did you mean 'optim'?"),
        (lambda v: tubelet.train(v / "missing"), DataError, "missing"),
        (lambda v: tubelet.Run.open(v), TubeletError, "not a run folder: expected recipe.yaml"),
        (lambda v: tubelet.evaluate(v / "none", v), CheckpointError, "none"),
        (lambda v: tubelet.predict(v / "none", v), CheckpointError, "none"),
        (lambda v: tubelet.compare("tokenizer"), ConfigError, "did you mean 'tokenizers'"),
        (lambda v: tubelet.compare("tokenizers", job=2), ConfigError, "'compare.job'; did you mean 'jobs'?"),
    ],
)
def test_errors_are_one_line_with_a_type(
    call: Any,
    kind: type[Exception],
    message: str,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        call(videos)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.*"))
