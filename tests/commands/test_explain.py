"""``tubelet explain``: what it writes lies on the source's pixels, and what it cannot do is one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import PROTOCOL, content_of, error_of
from tubelet import cli, load
from tubelet.data.synthetic_films import encode_at_times
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError
from tubelet.explain.clip_view import read_clip_view

FILES = {"relevance.npz", "explanation.json", "sheet.png", "overlay.mp4", "report.html"}


@pytest.fixture
def video(videos: Path) -> Path:
    return videos / "test" / "growing" / "0001.mp4"


def explain(checkpoint: Path, *arguments: str | Path) -> int:
    return cli.main(["explain", str(checkpoint), *map(str, arguments), "--device", "cpu"])


def test_numbers_and_pictures_are_written_on_the_pixels_of_the_source(
    checkpoint: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why"
    assert explain(checkpoint, video, "--out", out, "--tubelet", 2, 8, 8, "--class", "left", "--json") == 0
    assert set(content_of(out)) == FILES
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert (said["label"], said["method"], said["tubelet"]) == ("left", "occlusion", [2, 8, 8])
    arrays = np.load(out / "relevance.npz")
    with VideoReader(video) as reader:
        size = (reader.height, reader.width)
        times = [round(float(t), 6) for t in reader.timestamps]
    assert arrays["relevance"].shape == (4, *size)
    assert arrays["relevance_clip"].shape == (4, 16, 16)
    assert {round(float(t), 6) for t in arrays["seconds"]} <= set(times)
    assert len(said["top_tubes"]) == 5
    best = said["top_tubes"][0]
    assert best["relevance"] == pytest.approx(arrays["relevance_clip"].max())
    middle = arrays["relevance"][
        :, round((best["top"] + best["bottom"]) / 2), round((best["left"] + best["right"]) / 2)
    ]
    assert middle.max() == arrays["relevance_clip"].max()
    first, end = float(arrays["seconds"][0]), max(said["seconds"]) + 1e-6
    with VideoReader(out / "overlay.mp4") as film:
        assert (film.height, film.width) == size
        shown = [time for time in times if first - 1e-6 <= time]
        assert len([time for time in shown if time <= end]) <= len(film.timestamps) <= len(shown)
    assert said["display"]["video_encoder_license"] == "GPL-2.0-or-later"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"<title>Where a model looked in {video.name}</title>" in page
    assert [name in page for name in ('src="overlay.mp4"', 'src="sheet.png"', f"{best['relevance']:+.3g}")] == [
        True
    ] * 3
    assert "this clip alone" in said["display"]["quantile_over"]  # the checkpoint is of no run
    assert Image.open(out / "sheet.png").width > 1000


def test_a_map_is_laid_back_where_resize_and_crop_took_it_from() -> None:
    """A gradient over the source's rows and columns comes back to where its values are."""
    rows, columns = np.meshgrid(np.arange(40), np.arange(60), indexing="ij")
    frame = np.stack([4 * rows, 4 * columns, 0 * rows], -1).astype(np.uint8)
    view = read_clip_view(np.repeat(frame[None], 10, axis=0), PROTOCOL)
    for channel, expected in ((0, 4.0 * rows), (1, 4.0 * columns)):
        back = view.to_source(view.pixels[channel].float().numpy())[0]
        shown = ~np.isnan(back)
        assert 0.2 < shown.mean() < 0.8  # a crop of 16 from 20 x 30
        assert np.abs(back - expected)[shown].max() <= 8  # a pixel of the clip is two of the source
    top, left, bottom, right = view.box_in_source(0, 0, 16, 16)
    where = np.argwhere(shown)
    assert np.abs(where.min(0) - (top, left)).max() <= 1
    assert np.abs(where.max(0) + 1 - (bottom, right)).max() <= 1


@pytest.mark.parametrize("method", ["integrated_gradients", "attention_rollout", "gradient_attention"])
def test_every_method_is_offered_in_python_and_gives_a_map_of_the_clip(
    checkpoint: Path, video: Path, method: str
) -> None:
    found = load(checkpoint, "cpu").explain(video, method=method)
    assert found.relevance.shape == (4, 16, 16)
    assert np.isfinite(found.relevance).all()
    assert (found.completeness_gap is not None) == (method == "integrated_gradients")
    assert found.label == load(checkpoint, "cpu").with_protocol(PROTOCOL).explain(video, method=method).label


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--class", "lefft"], ["no class 'lefft'", "did you mean 'left'"]),
        (["--head", "verb"], ["no head 'verb'"]),
        (["--tubelet", "9", "4", "4"], ["tubelet of 9 x 4 x 4", "4 x 16 x 16"]),
        (["--num-steps", "4", "--method", "occlusion"], ["num_steps belongs to integrated_gradients"]),
        (["--num-steps", "4", "--tubelet", "2", "8", "8"], ["tubelet belongs to occlusion", "leave one out"]),
        (["--window", "clip"], ["--window compares the windows", "--class"]),
        (["--hop", "1s"], ["--hop is the distance of windows", "--window"]),
        (["--window", "1s", "--class", "left", "--end-seconds", "1"], ["--window explains a whole film"]),
        (["--scale-clips", "-1"], ["--scale-clips must be 0 or more"]),
    ],
)
def test_what_cannot_be_explained_is_one_line_and_nothing_is_written(
    arguments: list[str], parts: list[str], checkpoint: Path, video: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = error_of(["explain", str(checkpoint), str(video), "--out", str(tmp_path / "why"), *arguments], capsys)
    assert all(part in line for part in parts), line
    assert not (tmp_path / "why").exists()


def test_a_file_that_cannot_be_read_is_one_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.mp4").write_bytes(b"not a video")
    line = error_of(["explain", str(checkpoint), str(tmp_path / "no.mp4"), "--out", str(tmp_path / "why")], capsys)
    assert "no.mp4" in line
    assert not (tmp_path / "why").exists()


def test_a_folder_of_other_files_is_refused_and_an_earlier_explanation_is_replaced(
    checkpoint: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[str | Path] = [video, "--out", tmp_path, "--class", "left", "--method", "attention_rollout"]
    film = tmp_path / "overlay.mp4"
    film.write_bytes(b"a film of mine")
    line = error_of(["explain", str(checkpoint), *map(str, words)], capsys)
    assert "not empty and no folder of an explanation; give " in line
    assert content_of(tmp_path) == {"overlay.mp4": b"a film of mine"}
    film.unlink()
    assert explain(checkpoint, *words) == 0
    assert explain(checkpoint, *words) == 0
    assert set(content_of(tmp_path)) == FILES


def spans(checkpoint: Path, times: list[float], tubelet: tuple[int, int, int], path: Path) -> list[tuple[float, float]]:
    """When the tubes of a clip of 4 frames begin and end, in their order."""
    frames = np.random.default_rng(0).integers(0, 255, (len(times), 16, 16, 3)).astype(np.uint8)
    path.write_bytes(encode_at_times(frames, tuple(round(1000 * time) for time in times)))
    classifier = load(checkpoint, "cpu").with_protocol(dataclasses.replace(PROTOCOL, short_video="loop"))
    found = classifier.explain(path, class_name="left", tubelet=tubelet).top_tubes(100)
    return sorted({(round(tube.start_seconds, 3), round(tube.end_seconds, 3)) for tube in found})


def test_a_tube_ends_when_the_next_frame_of_its_clip_is_shown(checkpoint: Path, tmp_path: Path) -> None:
    """At a variable rate that is not a frame's length behind its start."""
    assert PROTOCOL.frame_stride == 2
    times = [0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.2, 1.3]
    assert spans(checkpoint, times, (1, 16, 16), tmp_path / "a.mp4") == [(0.0, 0.2), (0.2, 0.9), (0.9, 1.2), (1.2, 1.3)]


def test_a_tube_of_a_clip_that_loops_does_not_end_before_it_starts(checkpoint: Path, tmp_path: Path) -> None:
    """Five frames at a stride of two give frames 0, 2, 4 and 1."""
    times = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert spans(checkpoint, times, (2, 16, 16), tmp_path / "a.mp4") == [(0.0, 0.4), (0.1, 0.5)]


def test_options_of_reading_are_named_where_they_belong(checkpoint: Path, video: Path) -> None:
    with pytest.raises(ConfigError, match=r"start_seconds belong to reading; give reading=\{'start_seconds': 1\.0\}"):
        load(checkpoint, "cpu").explain(video, class_name="left", start_seconds=1.0)
