"""The report of runs: complete, self-contained, safe against hostile names, honest about what is missing."""

from __future__ import annotations

import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import fabricate
import matplotlib as mpl
import numpy as np
import pytest

from tubelet.errors import TubeletError
from tubelet.report.numbers import wilson_interval
from tubelet.report.run_report import Example, write_run_report

EIGHT = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "growing", "shrinking")
HOSTILE = '<script>alert("x")</script>&\'{{ 7*7 }}'


class Page(HTMLParser):
    """Elements, attributes and text of a page as a browser reads them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += " " + data.replace("\u00a0", " ")

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for t, a, value in self.attributes if (t, a) == (tag, attribute)]


def report(out: Path, *runs: Path, **options) -> Page:
    return Page(write_run_report(out, runs, title="A title", command="tubelet report RUN", **options))


def an_example(name: str = "clip.mp4", num_frames: int = 20, size: int = 24) -> Example:
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, size, size, 3), dtype=np.uint8)
    return Example(title=name, true_label="left", predictions=[("left", 0.75), ("right", 0.25)], frames=frames)


@pytest.fixture(scope="module")
def eight(tmp_path_factory) -> Path:
    return fabricate.make_run(tmp_path_factory.mktemp("runs") / "model2", EIGHT)


def test_page_loads_nothing_from_outside(tmp_path, eight):
    page = report(tmp_path / "report.html", eight, examples=[an_example()])
    assert not re.search(r"(?:https?:)?//\w", re.sub(r"base64,[\w+/=]+", "", page.source))
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert all(source.startswith("data:image/") for source in page.values("img", "src"))
    addresses = [value for tag, name, value in page.attributes if name in ("href", "xlink:href")]
    assert addresses
    assert all(value.startswith("#") for value in addresses)
    assert "@import" not in page.source
    assert all(match.startswith("#") for match in re.findall(r"url\(([^)]*)", page.source))


def test_every_number_of_the_metrics_is_there(tmp_path, eight):
    page = report(tmp_path / "report.html", eight)
    metrics = json.loads((eight / "evaluation/test/metrics.json").read_text())
    for key in ("top1", "top5", "mean_class", "auroc", "calibration_error", "loss", "majority_baseline"):
        assert str(metrics[key]) in page.text, key
    for key in ("top1", "mean_class", "majority_baseline"):
        assert f"{100 * metrics[key]:.1f} %" in page.text, key
    for label, share in metrics["per_class"].items():
        assert f"{100 * share:.1f} %" in page.text, label
        low, high = (100 * bound for bound in wilson_interval(share, metrics["class_counts"][label]))
        assert f"{low:.1f} to {high:.1f} %" in page.text, label
    assert f"of {metrics['num_videos']} videos" in page.text
    titles = page.values("td", "title")
    for i, row in enumerate(metrics["confusion"]):
        for j, count in enumerate(row):
            assert any(
                t.startswith(f"true {EIGHT[i]}, predicted {EIGHT[j]}: {count} of {sum(row)} ") for t in titles
            ), (i, j)


def test_headline_states_views_failures_parameters_and_time(tmp_path, eight):
    text = report(tmp_path / "report.html", eight).text
    for part in ("4x3", "test split, logits averaged", "vivit_ti16x2_fe", "1.2 M", "3 min 0 s", "200 steps, 12.5 %"):
        assert part in text, part
    assert "None: every file was read." in text


def test_provenance_and_recipe_are_printed(tmp_path, eight):
    text = report(tmp_path / "report.html", eight).text
    for part in ("tubelet report RUN", "5e1f0c", "versions.torch", "2.15.0", "lr: 0.001"):
        assert part in text, part


def test_hostile_names_are_shown_as_text(tmp_path):
    run = fabricate.make_run(tmp_path / "<b>bold", ("plain", HOSTILE))
    fabricate.edit_metrics(run, num_failed=1, failed=[f"{HOSTILE}.mp4: damaged"])
    example = Example(
        title=HOSTILE, true_label=HOSTILE, predictions=[(HOSTILE, 1.0)], frames=np.zeros((3, 8, 8, 3), np.uint8)
    )
    out = write_run_report(tmp_path / "report.html", [run], title=HOSTILE, examples=[example], command=HOSTILE)
    page = Page(out)
    assert not {"script", "b"} & set(page.tags)
    assert "49" not in re.findall(r"alert.{30}", page.text)[0]
    assert page.text.count(HOSTILE) >= 6
    assert html.escape(HOSTILE, quote=False)[:20] in page.source


def test_several_runs_share_one_table_and_one_set_of_panels(tmp_path, eight):
    other = fabricate.make_run(tmp_path / "avgpool", EIGHT, skill=1.0, seed=1)
    page = report(tmp_path / "report.html", eight, other)
    assert page.tags.count("svg") == 3  # loss, accuracy, learning rate: overlaid
    assert page.source.count("var(--series-1)") > page.source.count("--key: var(--series-1)") > 0
    metrics = [json.loads((run / "evaluation/test/metrics.json").read_text()) for run in (eight, other)]
    for m in metrics:
        assert f"{100 * m['top1']:.1f} %" in page.text
    descriptions = page.values("div", "aria-label")
    assert all("model2, training" in d and "avgpool, training" in d for d in descriptions if "training steps" in d)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    runs = [fabricate.make_run(tmp_path / seed / "vivit", ("a", "b"), num_steps=16) for seed in ("seed0", "seed1")]
    text = report(tmp_path / "report.html", *runs).text
    assert "seed0/vivit" in text
    assert "seed1/vivit" in text


def test_runs_that_cannot_be_compared_are_called_so(tmp_path, eight):
    other = fabricate.make_run(tmp_path / "other", EIGHT, videos=100)
    text = report(tmp_path / "report.html", eight, other).text
    assert "These runs differ in their number of videos: model2 256, other 100." in text
    assert "differ in their views" not in text


def test_a_model_below_the_majority_baseline_is_called_so(tmp_path, eight):
    blind = fabricate.make_run(tmp_path / "blind", EIGHT, skill=-3.0)
    assert "blind: top-1" in (text := report(tmp_path / "report.html", eight, blind).text)
    assert "model2: top-1" not in text


def test_failed_files_are_counted_and_listed(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    fabricate.edit_metrics(run, num_failed=2, failed=["x.mp4: zero bytes", "y.mp4: no video stream"])
    text = report(tmp_path / "report.html", run).text
    assert "run: 2 files failed" in text
    assert "x.mp4: zero bytes" in text
    assert "y.mp4: no video stream" in text


def test_training_videos_that_could_not_be_read_are_named(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    (run / "unreadable.csv").write_text("path,reason\na/1.mp4,a/1.mp4: zero bytes\n", encoding="utf-8")
    text = report(tmp_path / "report.html", run).text
    assert "run: trained without 1 video that could not be read" in text
    assert "in training: a/1.mp4: zero bytes" in text


@pytest.mark.parametrize("missing", ["recipe.yaml", "log.csv", "validation.csv", "best", "evaluation"])
def test_a_missing_part_is_stated(tmp_path, missing):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    (run / missing).rename(tmp_path / "away")
    text = report(tmp_path / "report.html", run).text
    assert f"run: No {missing}" in text


def test_undefined_metrics_are_a_dash_with_the_reason(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    fabricate.edit_metrics(run, auroc=None, per_class={"a": 1.0, "b": None})
    text = report(tmp_path / "report.html", run).text
    assert "not defined: all videos are of one class" in text
    assert not re.search(r"\bnan\b", text)


def test_another_split_is_reported_by_its_name(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    (run / "evaluation/test").rename(run / "evaluation/holdout")
    file = run / "evaluation/holdout/metrics.json"
    file.write_text(file.read_text().replace('"split": "test"', '"split": "holdout"'))
    assert "holdout split" in report(tmp_path / "report.html", run).text


def test_training_accuracy_is_no_headline(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    top1 = json.loads((run / "evaluation/test/metrics.json").read_text())["top1"]
    fabricate.edit_metrics(run, split="train")
    (run / "evaluation/test").rename(run / "evaluation/train")
    page = report(tmp_path / "report.html", run)
    tiles = re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", page.source)
    assert tiles[0] == ("Top-1", "not measured")
    assert ("Top-1 on training clips", f"{100 * top1:.1f}\u00a0%") in tiles
    assert "no clip was held out; for cross-validation add --folds 5" in page.text
    assert "95 % interval" not in page.text
    assert "run: no clip was held out. Every figure" in page.text


def test_many_classes_are_listed_instead_of_drawn(tmp_path):
    labels = [f"class {i}" for i in range(61)]
    run = fabricate.make_run(tmp_path / "run", labels, skill=2.0)
    page = report(tmp_path / "report.html", run)
    assert "61 classes are too many to draw" in page.text
    assert "Most frequent of" in page.text
    assert all(label in page.text for label in labels)


@pytest.mark.parametrize(("name", "content"), [("notes.txt", "hello"), (None, None)])
def test_a_folder_that_is_no_run_is_refused(tmp_path, name, content):
    folder = tmp_path / "holiday"
    if name:
        folder.mkdir()
        (folder / name).write_text(content)
    with pytest.raises(TubeletError, match="not a run folder"):
        report(tmp_path / "report.html", folder)
    assert not (tmp_path / "report.html").exists()


def test_no_run_at_all_is_refused(tmp_path):
    with pytest.raises(TubeletError, match="at least one run"):
        report(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluation/test/metrics.json", "{", "cannot be read as JSON"),
        ("evaluation/test/metrics.json", "{}", "expected the key 'split'"),
        ("evaluation/test/metrics.json", "[1]", "expected a JSON object"),
        ("log.csv", "step,loss\n1,2\n", "expected a column 'lr'"),
        ("validation.csv", "step,loss,top1\n1,high,0.5\n", "expected a number, got 'high'"),
        ("validation.csv", "step,loss,top1\n1,2\n2,1,0.5\n", "line 2 has 2 cells"),
        ("recipe.yaml", "- a list", "expected keys and values"),
        ("best/model.safetensors", "text", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, file, content, message):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    (run / file).write_text(content)
    with pytest.raises(TubeletError, match=message) as raised:
        report(tmp_path / "report.html", run)
    assert Path(file).name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_half_written_last_row_is_left_out_and_stated(tmp_path):
    run = fabricate.make_run(tmp_path / "run", ("a", "b"))
    with (run / "log.csv").open("a") as file:
        file.write("201,4,0.0")
    assert "The last row of log.csv is incomplete" in report(tmp_path / "report.html", run).text


def test_frames_are_few_small_and_described(tmp_path, eight):
    page = report(tmp_path / "report.html", eight, examples=[an_example("a.mp4", 20), an_example("b.mp4", 3, 600)])
    texts = page.values("img", "alt")
    assert len(texts) == 8 + 3
    assert texts[0] == "a.mp4, frame 1 of 20"
    assert texts[-1] == "b.mp4, frame 3 of 3"
    assert max(len(source) for source in page.values("img", "src")) < 60_000


def test_the_callers_matplotlib_is_left_as_it_is(tmp_path, eight):
    loaded = "matplotlib.pyplot" in sys.modules
    before = {key: dict.__getitem__(mpl.rcParams, key) for key in mpl.rcParams}
    first = report(tmp_path / "first.html", eight).source
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red"}):
        second = report(tmp_path / "second.html", eight).source
    after = {key: dict.__getitem__(mpl.rcParams, key) for key in mpl.rcParams}
    assert before == after
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert first.split("<h2>", 1)[1] == second.split("<h2>", 1)[1]
