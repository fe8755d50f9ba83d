"""Every video of a split counts exactly once, or is counted and named as failed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support import COUNTS, PROTOCOL, rows_of
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError, ScoresNotFinite
from tubelet.evaluation.evaluate import Evaluation, evaluate, write_evaluation
from tubelet.inference.predictor import load
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session


@pytest.fixture
def damaged(videos: Path, tmp_path: Path) -> Path:
    """The motion videos, three of the test files damaged."""
    shutil.copytree(videos, tmp_path / "videos")
    test = tmp_path / "videos" / "test"
    (test / "down" / "0000.mp4").write_bytes(b"")
    (test / "left" / "0001.mp4").write_text("not a video")
    content = (test / "up" / "0001.mp4").read_bytes()
    (test / "up" / "0001.mp4").write_bytes(content[: len(content) // 2])
    return tmp_path / "videos"


def scores(
    manifest: Manifest,
    checkpoint: Path,
    batch_size: int = 3,
    num_workers: int = 0,
    failure_budget: float = 1.0,
    out: Path | None = None,
) -> Evaluation:
    model = load(checkpoint, "cpu").model
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), batch_size, num_workers=num_workers) as loader:
        return evaluate(
            model,
            loader,
            PROTOCOL,
            Session(),
            split="test",
            failure_budget=failure_budget,
            out=out,
        )


def test_every_video_counts_exactly_once(videos: Path, checkpoint: Path) -> None:
    test = read_manifest(videos).split("test")
    result = scores(test, checkpoint)
    assert result.samples == test.samples
    assert result.metrics["num_videos"] == len(result.probs) == COUNTS["test"]
    assert sum(map(sum, result.metrics["confusion"])) == COUNTS["test"]
    assert result.failed == ()


def test_neither_batches_nor_workers_change_a_number(videos: Path, checkpoint: Path) -> None:
    test = read_manifest(videos).split("test")
    one = scores(test, checkpoint, batch_size=1)
    for batch_size, num_workers in ((5, 0), (16, 2)):
        other = scores(test, checkpoint, batch_size, num_workers)
        assert other.samples == one.samples
        torch.testing.assert_close(other.probs, one.probs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (4, 0), (4, 2)])
def test_what_cannot_be_read_is_left_out_counted_and_named(
    damaged: Path, videos: Path, checkpoint: Path, batch_size: int, num_workers: int
) -> None:
    result = scores(read_manifest(damaged).split("test"), checkpoint, batch_size, num_workers)
    whole = scores(read_manifest(videos).split("test"), checkpoint)
    bad = ["down/0000.mp4", "left/0001.mp4", "up/0001.mp4"]
    assert len(result.failed) == 3
    for name, line in zip(bad, result.failed, strict=True):
        assert str(damaged / "test" / name) in line
    assert result.metrics["num_videos"] == COUNTS["test"] - 3
    kept = {sample.path: row for sample, row in zip(result.samples, result.probs, strict=True)}
    for sample, row in zip(whole.samples, whole.probs, strict=True):
        if sample.path.removeprefix("test/") in bad:
            assert sample.path not in kept
        else:
            torch.testing.assert_close(kept[sample.path], row, atol=1e-6, rtol=0)
    assert "(13 videos, 2x3 views, fp32, 3 failed; always '" in result.summary


def test_a_split_of_which_nothing_can_be_read_is_refused(damaged: Path, checkpoint: Path) -> None:
    for file in (damaged / "test").glob("*/*.mp4"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 16 videos of split 'test' could be read: .*0000\.mp4"):
        scores(read_manifest(damaged).split("test"), checkpoint)


def test_metrics_and_scores_tell_one_story(damaged: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = scores(read_manifest(damaged).split("test"), checkpoint)
    write_evaluation(result, tmp_path / "out" / "test")
    metrics = json.loads((tmp_path / "out" / "test" / "metrics.json").read_text(encoding="utf-8"))
    rows = rows_of(tmp_path / "out" / "test" / "scores.csv")
    labels = metrics["labels"]
    assert list(rows[0]) == ["path", "start_seconds", "end_seconds", "label", "predicted", *labels]
    assert labels == list(PROTOCOL.labels["label"])
    assert (metrics["num_videos"], metrics["num_failed"], len(metrics["failed"])) == (len(rows), 3, 3)
    assert (metrics["split"], metrics["views"], metrics["averaging"]) == ("test", "2x3", "logits")

    probs = torch.tensor([[float(row[label]) for label in labels] for row in rows])
    true = torch.tensor([labels.index(row["label"]) for row in rows])
    assert [labels[i] for i in probs.argmax(1)] == [row["predicted"] for row in rows]
    assert [row["path"].split("/")[1] for row in rows] == [row["label"] for row in rows]
    assert metrics["top1"] == pytest.approx((probs.argmax(1) == true).float().mean().item())
    top5 = (probs.topk(5).indices == true[:, None]).any(1).float().mean().item()
    assert (metrics["top5"], metrics["top5_k"]) == (pytest.approx(top5), 5)
    for k, label in enumerate(labels):
        hits = probs.argmax(1)[true == k] == k
        assert metrics["class_counts"][label] == len(hits)
        assert metrics["per_class"][label] == pytest.approx(hits.float().mean().item())
    assert metrics["loss"] == pytest.approx(-probs[torch.arange(len(rows)), true].log().mean().item(), abs=1e-4)


def test_more_unreadable_videos_than_the_budget_stop_the_evaluation_and_are_listed(
    damaged: Path, checkpoint: Path, tmp_path: Path
) -> None:
    test, out = read_manifest(damaged).split("test"), tmp_path / "results"
    with pytest.raises(DataError) as stopped:
        scores(test, checkpoint, batch_size=16, failure_budget=0.15, out=out)
    said = str(stopped.value)
    assert "\n" not in said
    assert said.startswith("3 of 16 videos of split 'test' cannot be read, more than failure_budget=0.15 allows")
    assert str(out / "unreadable.csv") in said
    listed = rows_of(out / "unreadable.csv")
    assert [row["path"] for row in listed] == ["test/down/0000.mp4", "test/left/0001.mp4", "test/up/0001.mp4"]
    assert all(row["path"] in row["reason"] for row in listed)
    # The list is a quarantine list: what it names can be left out as it stands.
    rest = read_manifest(damaged, ManifestConfig(quarantine=out / "unreadable.csv")).split("test")
    assert scores(rest, checkpoint, failure_budget=0.0, out=out).metrics["num_videos"] == 13
    assert not (out / "unreadable.csv").exists()


class KnowsClassOne(nn.Module):
    """Always sure of the second class."""

    def forward(self, clip: Tensor) -> Tensor:
        return torch.eye(8)[1].expand(len(clip), 8) * 5


def test_the_majority_baseline_is_that_of_the_training_split(videos: Path) -> None:
    manifest = read_manifest(videos)
    counts = [1, 2, 9, 1, 1, 1, 1, 1]
    train = manifest.split("train")
    rows = [dataclasses.replace(train.samples[0], labels=(k,)) for k, count in enumerate(counts) for _ in range(count)]
    train = dataclasses.replace(train, samples=tuple(rows))
    with Loader(ClipDataset(manifest.split("test"), PROTOCOL, "views"), 8) as loader:
        result = evaluate(KnowsClassOne(), loader, PROTOCOL, Session(), split="test", train=train)
    names = PROTOCOL.labels["label"]
    assert (result.metrics["majority_label"], result.metrics["majority_source"]) == (names[2], "train")
    assert result.metrics["top1"] == result.metrics["majority_baseline"] == 1 / 8
    assert result.metrics["per_class"][names[1]] == 1.0


@pytest.mark.parametrize(
    "labels",
    [{"label": tuple(reversed(PROTOCOL.labels["label"]))}, {**PROTOCOL.labels, "hand": ("left", "right")}],
    ids=["another order", "another head"],
)
def test_classes_that_are_not_those_of_the_model_in_its_order_are_refused(
    videos: Path, labels: dict[str, tuple[str, ...]]
) -> None:
    protocol = dataclasses.replace(PROTOCOL, labels=labels)
    with (
        Loader(ClipDataset(read_manifest(videos).split("test"), PROTOCOL, "views"), 8) as loader,
        pytest.raises(DataError, match=r"the labels of the data, label \(8 classes\), are not those of the model"),
    ):
        evaluate(KnowsClassOne(), loader, protocol, Session(), split="test")


def test_progress_counts_every_video_read_or_not(damaged: Path, checkpoint: Path) -> None:
    class Counts(NoProgress):
        def advance(self, done: int, total: int, text: str = "") -> None:
            seen.append((done, total))

    seen: list[tuple[int, int]] = []
    dataset = ClipDataset(read_manifest(damaged).split("test"), PROTOCOL, "views")
    with Loader(dataset, 5) as loader:
        evaluate(
            load(checkpoint, "cpu").model,
            loader,
            PROTOCOL,
            Session(progress=Counts()),
            split="test",
            failure_budget=1.0,
        )
    assert seen == [(5, 16), (10, 16), (15, 16), (16, 16)]


def test_segments_of_a_file_are_rows_of_their_own(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    lines = ["path,label,split,start_seconds,end_seconds"]
    lines += [f"test/left/0000.mp4,left,test,{start},{start + 0.5}" for start in (0.0, 0.25)]
    (tmp_path / "segments.csv").write_text("\n".join([*lines, "test/left/0000.mp4,left,test,,"]))
    config = ManifestConfig(root=videos, class_names=PROTOCOL.labels)
    write_evaluation(scores(read_manifest(tmp_path / "segments.csv", config), checkpoint), tmp_path)
    rows = rows_of(tmp_path / "scores.csv")
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [("0.0", "0.5"), ("0.25", "0.75"), ("", "")]
    assert len({row["growing"] for row in rows}) == 3


def test_scores_that_are_no_numbers_are_refused_and_counted(videos: Path, checkpoint: Path) -> None:
    """A model may be ruined for some clips alone; metrics of the others would say nothing."""
    test = read_manifest(videos).split("test")

    class Ruined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = load(checkpoint, "cpu").model, 0

        def forward(self, clip: Tensor) -> Tensor:
            self.calls += 1
            logits: Tensor = self.inner(clip)
            return logits * torch.nan if self.calls == 1 else logits

    message = (
        f"of {COUNTS['test']} videos of split 'test' have scores that are not finite; the weights of the model are"
    )
    with Loader(ClipDataset(test, PROTOCOL, "views"), 3) as loader, pytest.raises(ScoresNotFinite, match=message):
        evaluate(Ruined().eval(), loader, PROTOCOL, Session(), split="test")
