"""Film strips of the clips that a run gets wrong or is unsure of."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import fabricate
import torch
from PIL import Image

from support import PROTOCOL, Notes, videos  # noqa: F401
from tubelet.data.manifest.read import read_manifest
from tubelet.evaluation.evaluate import Evaluation
from tubelet.inference.view_averaging import VideoScores
from tubelet.protocol import UNCALIBRATED
from tubelet.report.film_strip import link_to
from tubelet.report.hard_clips import MAX_CLIPS, choose_clips, hard_clips
from tubelet.report.run_report import write_run_report
from tubelet.tasks.choose import task_of
from tubelet.tasks.judgment import Judgment


def judgment(label: str, predicted: str, loss: float, margin: float) -> Judgment:
    return Judgment(label=label, predicted=predicted, loss=loss, margin=margin)


def test_the_most_confident_mistakes_come_first_then_the_closest_decisions() -> None:
    judged = [
        judgment("a", "a", 0.1, 0.8),
        judgment("b", "a", 1.0, 0.3),
        judgment("b", "a", 3.0, 0.9),
        None,
        judgment("b", "a", 2.0, 0.6),
        judgment("b", "b", 0.7, 0.01),
        judgment("a", "a", 0.3, 0.2),
    ]
    shown = [(group, kind, row) for group, kind, (row, _) in choose_clips(judged)]
    assert shown == [
        *(("b: 3 of 4 wrong", kind, row) for kind, row in (("wrong", 2), ("wrong", 4), ("close", 5), ("close", 1))),
        *(("a: 0 of 2 wrong", "close", row) for row in (6, 0)),
    ]


def test_of_many_classes_the_worst_are_shown_within_the_limit() -> None:
    judged = [judgment(f"{c:03}", "x" if i < c % 7 else f"{c:03}", 1.0 + i, 0.5) for c in range(400) for i in range(7)]
    shown = list(choose_clips(judged))
    assert len(shown) <= MAX_CLIPS
    assert all("6 of 7 wrong" in group for group, _, _ in shown)
    assert len({group for group, _, _ in shown}) == MAX_CLIPS // 2


def test_no_judged_clip_gives_no_strip() -> None:
    assert list(choose_clips([None, None])) == []


def wrong_on_all(folder: Path) -> tuple[Evaluation, list]:  # type: ignore[type-arg]
    manifest = read_manifest(folder)
    test, task = manifest.split("test"), task_of(PROTOCOL)
    labels = torch.tensor([sample.labels[0] for sample in test.samples])
    probs = torch.full((len(test), 8), 0.05)
    probs[torch.arange(len(test)), (labels + 1) % 8] = 0.65
    evaluation = Evaluation(
        task=task,
        metrics=task.measure(probs, labels),
        samples=test.samples,
        scores=VideoScores(probs=probs, uncalibrated=probs, logits=probs.log()),
        labels=labels,
        calibration=UNCALIBRATED,
        failed=(),
        views="2x3",
        averaging="logits",
        precision="fp32",
        split="test",
        data_fingerprint="",
    )
    return evaluation, hard_clips(evaluation, manifest, PROTOCOL, Notes())


def test_the_page_shows_frames_label_prediction_scores_and_a_link_that_leads_to_the_clip(
    videos: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, strips = wrong_on_all(videos)
    assert len(strips) == 16  # two of each class, all wrong
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    page = write_run_report(tmp_path / "run/report.html", [run], title="T", examples=strips, command="c").read_text()
    section = page.split("Clips to look at")[1].split("</section>")[0]
    links = re.findall(r'<a href="([^"]*)">([^<]*)</a>', section)
    assert len(links) == 16
    for address, name in links:
        assert (tmp_path / "run" / address).resolve() == (videos / name).resolve()
    assert "clockwise: 2 of 2 wrong" in section
    assert 'class="verdict wrong"' in section
    assert section.count('<li class="bar"') == 3 * 16
    assert "65.0" in section
    for data in re.findall(r'src="data:image/jpeg;base64,([^"]*)"', section):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)
    assert section.count("<img") == 4 * 16


def test_a_clip_that_is_gone_is_left_out_with_a_note(videos: Path, tmp_path: Path) -> None:  # noqa: F811
    import shutil

    data = shutil.copytree(videos, tmp_path / "videos")
    manifest = read_manifest(data)
    evaluation, _ = wrong_on_all(data)
    (data / manifest.split("test").samples[0].path).unlink()
    notes = Notes()
    assert len(hard_clips(evaluation, manifest, PROTOCOL, notes)) == 15
    assert len(notes.notes) == 1


def test_a_link_is_relative_quoted_and_leads_into_the_segment(tmp_path: Path) -> None:
    page = tmp_path / "runs/a/report.html"
    assert link_to(tmp_path / "my clips/#1.mp4", page, None, None) == "../../my%20clips/%231.mp4"
    assert link_to(tmp_path / "film.mp4", page, 1.5, 4.0) == "../../film.mp4#t=1.5,4"
    assert link_to(tmp_path / "film.mp4", page, None, 4.0) == "../../film.mp4#t=0,4"
    assert link_to(tmp_path / "film.mp4", page, 2.0, None) == "../../film.mp4#t=2"
