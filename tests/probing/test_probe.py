"""A probe from videos to checkpoint, with real ImageNet weights: features once, figures beside random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tubelet
from support import MODEL, TINY, Notes, error_of
from tubelet import cli
from tubelet.api.evaluate import EvaluationOptions, score_checkpoint
from tubelet.errors import ConfigError
from tubelet.inference import embedding
from tubelet.probing.clips import read_clips
from tubelet.recipe import DEFAULT_RECIPE, DataConfig, load_recipe
from tubelet.runs.initialization import first_model
from tubelet.session.session import Session
from tubelet.weights.checkpoint.checkpoint import save_checkpoint

SMALL = {"protocol.resize_short_side": 32, "protocol.crop_size": [32, 32], "protocol.num_frames": 4}
FIELDS = {**SMALL, "data.num_workers": 0}
ARGUMENTS = [word for name, value in FIELDS.items() for word in (f"--{name}", json.dumps(value).strip("[]"))]


@pytest.fixture(scope="module")
def clips(two_classes: Path) -> Path:
    return two_classes


@pytest.fixture(scope="module")
def out(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes") / "first"
    tubelet.probe(
        clips,
        "lite0",
        out=folder,
        folds=3,
        few_shot=(1, 2),
        penalties=(100.0, 10.0),
        device="cpu",
        progress=False,
        fields=FIELDS,
    )
    return folder


def test_figures_stand_beside_chance_and_random_weights(out: Path) -> None:
    found = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    assert found["name"] == "lite0"
    assert found["encoder"]["metrics"]["num_videos"] == found["random_weights"]["metrics"]["num_videos"]
    assert found["encoder"]["metrics"]["majority_baseline"] == 0.5
    expected = found["encoder"]["metrics"]["top1"] - found["random_weights"]["metrics"]["top1"]
    assert found["difference"] == pytest.approx(expected)
    assert found["difference_interval"][0] <= found["difference"] <= found["difference_interval"][1]
    assert len(found["encoder"]["chosen"]) == 3
    assert set(found["few_shot"]) == {"1", "2"}


def test_the_winner_is_a_checkpoint_that_predicts_streams_and_says_what_it_is(
    out: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = tubelet.load(out / "best", "cpu")
    film = sorted((clips / "left").glob("*.mp4"))[0]
    assert set(classifier.predict(film).labels) == {"left", "growing"}
    assert classifier.record.provenance["probe"]["name"] == "lite0"
    assert classifier.record.license == "apache-2.0"
    assert classifier.windows(film, window=0.8, sample_fps=5).segments
    head: Any = classifier.model
    logits = (classifier.embed(film) @ head.head.weight.T + head.head.bias).softmax(-1)
    assert sorted(logits.tolist(), reverse=True) == pytest.approx(list(classifier.predict(film).probs), abs=1e-5)


def test_evaluation_names_the_clips_that_the_winner_was_trained_on(out: Path, clips: Path) -> None:
    notes = Notes()
    classifier = tubelet.load(out / "best", "cpu")
    result = score_checkpoint(classifier, str(clips), EvaluationOptions(num_workers=0), notes, None)
    assert result.seen is not None
    assert len(result.seen) == result.num_videos == 10
    assert not any("is not split or filled as" in note for note in notes.notes)


def test_an_encoder_that_was_trained_on_the_clips_is_named(out: Path, clips: Path) -> None:
    fields = FIELDS | {"protocol.num_temporal_views": 1}
    options: Any = {"folds": 3, "penalties": (10.0,), "device": "cpu", "progress": False, "fields": fields}
    found = tubelet.probe(clips, str(out / "best"), out=out.parent / "own", **options)
    assert found.notes[0].startswith("10 of 10 clips were in the encoder's training set")


def test_the_random_weights_are_not_those_that_an_encoder_of_ours_began_with(clips: Path, tmp_path: Path) -> None:
    model = {"name": MODEL, **TINY, "num_frames": 4, "image_size": [16, 16]}
    small = {"protocol.crop_size": [16, 16], "protocol.resize_short_side": 20, "protocol.num_frames": 4}
    recipe = load_recipe(
        DEFAULT_RECIPE, [(name, json.dumps(value)) for name, value in {"model": model, **small}.items()]
    )
    manifest, _ = read_clips(DataConfig(source=str(clips)), 3, Session())
    own = first_model(recipe, manifest, Session())
    save_checkpoint(tmp_path / "own", own.model, own.record())
    options: Any = {"folds": 3, "penalties": (10.0,), "device": "cpu", "progress": False}
    found = tubelet.probe(
        clips,
        str(tmp_path / "own"),
        out=tmp_path / "p" / "one",
        seed=recipe.seed,
        fields={"data.num_workers": 0},
        **options,
    )
    assert found.encoder.metrics["loss"] != found.random.metrics["loss"]


def test_a_folder_with_the_probe_of_another_encoder_is_left_as_it_is(out: Path, clips: Path, tmp_path: Path) -> None:
    other = json.loads((out / "probe.json").read_text()) | {"name": "checkpoints/other"}
    (tmp_path / "probe.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"holds a probe of checkpoints/other, not of lite0; give another --out"):
        tubelet.probe(clips, "lite0", out=tmp_path, folds=3, device="cpu", progress=False)
    assert json.loads((tmp_path / "probe.json").read_text()) == other


def test_features_are_computed_once_and_new_clips_alone_cost_anything(
    out: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    compute = embedding.embed_views

    def counted(*arguments: Any, **options: Any) -> Any:
        seen.append(1)
        return compute(*arguments, **options)

    monkeypatch.setattr("tubelet.probing.features.embed_views", counted)
    again: Any = {"folds": 3, "penalties": (10.0,), "device": "cpu", "progress": False, "fields": FIELDS}
    tubelet.probe(clips, "lite0", out=out.parent / "second", **again)
    assert not seen
    more = tmp_path / "more"
    shutil.copytree(clips, more)
    probe = tubelet.probe(more, "lite0", out=out.parent / "third", **again)
    assert len(seen) == 2 * probe.num_clips  # other files, by the encoder and by random weights
    shutil.copy(next((more / "left").glob("*.mp4")), more / "left" / "copy.mp4")
    tubelet.probe(more, "lite0", out=out.parent / "fourth", **again)
    assert len(seen) == 2 * probe.num_clips + 2


def test_an_unreadable_clip_is_named_and_a_damaged_set_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(clips, bad)
    first, second = sorted((bad / "left").glob("*.mp4"))[:2]
    first.write_bytes(b"no video")
    argv = ["probe", "--data", str(bad), "--encoder", "lite0", "--folds", "3", "--device", "cpu", *ARGUMENTS]
    assert cli.main([*argv, "--out", str(tmp_path / "p" / "one"), "--json"]) == 0
    out = capsys.readouterr().out
    assert len(json.loads(out)["failed"]) == 1
    second.write_bytes(b"nor this")
    line = error_of([*argv, "--out", str(tmp_path / "q" / "two")], capsys)
    assert "2 of 10 clips cannot be read, more than --data.failure_budget" in line
    assert first.name in line
    assert second.name in line
    assert not (tmp_path / "q" / "two" / "probe.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "lite0", "--max-gb", "0.000001"], "are larger than --max-gb 1e-06"),
        (["--encoder", "lite0", "--folds", "50"], "cannot be parted into 50 folds"),
        (["--encoder", "no_such_net"], "no_such_net"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_one_line(
    words: list[str], message: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["probe", "--data", str(clips), "--device", "cpu", "--out", str(tmp_path / "probes" / "x"), *ARGUMENTS]
    assert message in error_of([*argv, *words], capsys)


def test_an_encoder_with_layers_that_no_weights_fill_is_refused(
    clips: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["probe", "--data", str(clips), "--device", "cpu", "--out", str(tmp_path / "probes" / "x"), *ARGUMENTS]
    line = error_of([*argv, "--encoder", "lite0", "--model.encoder", "longformer"], capsys)
    assert "tensors of the encoder are fresh" in line


def test_several_labels_per_clip_and_clips_without_one(clips: Path, out: Path, tmp_path: Path) -> None:
    files = sorted(clips.glob("*/*.mp4"))
    rows = [(file, file.parent.name + ("|odd" if i % 2 else "")) for i, file in enumerate(files)]
    several = tmp_path / "several.csv"
    several.write_text("path,label\n" + "".join(f"{file},{label}\n" for file, label in rows), encoding="utf-8")
    options: Any = {"folds": 3, "penalties": (10.0,), "device": "cpu", "progress": False}
    fields = FIELDS | {"data.manifest.label_separator": "|"}
    found = tubelet.probe(several, "lite0", out=out.parent / "several", fields=fields, **options)
    assert found.metric == "mean_average_precision"
    assert found.difference_interval is None  # it is no mean over clips
    assert found.num_clips == len(files)
