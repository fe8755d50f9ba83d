"""An exported file in place of its checkpoint: the same scores through the same interface, with or without torch."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import LABELS, difference, export, opened, tiny, traced_before, unchecked_shapes
from torch import nn

import tubelet
from support import PROTOCOL, content_of, error_of, motion_videos, tiny_model, write_csv
from tubelet import cli
from tubelet.errors import CheckpointError, ConfigError, ExportError, TubeletError
from tubelet.export.export import check_target
from tubelet.inference.predictor import Classifier
from tubelet.protocol import Calibration
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "best"
    save_checkpoint(folder, *tiny("vivit"))
    return folder


def test_a_file_carries_labels_license_calibration_and_provenance(onnx_file: Path) -> None:
    _, record = tiny("vivit")
    classifier = tubelet.load(onnx_file)
    assert classifier.labels == LABELS
    assert classifier.record.protocol == record.protocol
    assert classifier.record.provenance == record.provenance
    assert classifier.record.calibration == record.calibration
    exported = opened(onnx_file).exported
    assert (exported.license, exported.precision) == ("cc-by-4.0", "fp32")
    assert {(case.num_frames, case.batch) for case in exported.proof.cases} == {
        (frames, batch) for frames in (2, 4, 6, 8, 10) for batch in (1, 3)
    }


def test_predict_windows_and_stream_give_the_scores_of_the_checkpoint(
    onnx_file: Path, checkpoint: Path, videos: Path
) -> None:
    clip = next(videos.glob("test/*/*.mp4"))
    ours, exported = tubelet.load(checkpoint), tubelet.load(onnx_file)
    for views in (None, "2x3"):
        expected, found = ours.predict(clip, views=views), exported.predict(clip, views=views)
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.probs, expected.probs, atol=1e-5)
    windows = {"window": "clip", "sample_fps": 10.0}
    segments = [list(each.stream(str(clip), **windows)) for each in (ours, exported)]
    assert segments[0]
    assert [s.labels for s in segments[0]] == [s.labels for s in segments[1]]
    for expected_segment, segment in zip(*segments, strict=True):
        np.testing.assert_allclose(segment.probs, expected_segment.probs, atol=1e-5)


def test_the_command_line_takes_a_file_in_place_of_a_checkpoint(
    onnx_file: Path, checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "labels.csv"
    rows = zip(sorted(videos.glob("test/*/*.mp4")), LABELS, strict=False)
    write_csv(data, [("path", "label"), *rows])
    clip = str(next(videos.glob("test/*/*.mp4")))
    printed = []
    for source in (checkpoint, onnx_file):
        assert cli.main(["predict", str(source), clip, "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out)["predictions"][0])
    np.testing.assert_allclose(printed[0].pop("probs"), printed[1].pop("probs"), atol=1e-5)
    assert printed[0] == printed[1]
    metrics = []
    for source in (checkpoint, onnx_file):
        out = str(tmp_path / source.name)
        assert cli.main(["evaluate", str(source), "--data", str(data), "--split", "all", "--out", out, "--json"]) == 0
        metrics.append(json.loads(capsys.readouterr().out))
    assert metrics[0]["num_videos"] == metrics[1]["num_videos"] == 5
    assert metrics[0]["loss"] == pytest.approx(metrics[1]["loss"], abs=1e-5)
    assert cli.main(["inspect", str(onnx_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"label": list(LABELS)}


def test_a_script_without_torch_gives_the_same_logits_and_labels(onnx_file: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    forbidden = "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
    command = f"{forbidden} runpy.run_path(sys.argv[0], run_name='__main__')"
    script, clip = EXAMPLES / "classify_without_torch.py", tmp_path / "frames.npy"
    done = subprocess.run(
        [sys.executable, "-c", command, str(script), str(onnx_file), str(clip)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    model, record = tiny("vivit")
    scores = Classifier(model, record, "cpu").score_clips(
        torch.from_numpy(frames).permute(3, 0, 1, 2)[None, None].contiguous()
    )
    np.testing.assert_allclose(found["logits"], scores.logits[0], atol=1e-4)
    assert next(iter(found["heads"]["label"])) == LABELS[int(scores.logits[0].argmax())]


def test_a_script_without_torch_reads_a_video(onnx_file: Path, videos: Path) -> None:
    clip = next(videos.glob("test/*/*.mp4"))
    script = EXAMPLES / "classify_without_torch.py"
    done = subprocess.run(
        [sys.executable, str(script), str(onnx_file), str(clip)], capture_output=True, text=True, check=True
    )
    assert sum(json.loads(done.stdout)["heads"]["label"].values()) == pytest.approx(1, abs=1e-4)


def test_a_file_refuses_clips_that_it_was_not_made_for_in_one_line(onnx_file: Path) -> None:
    file = opened(onnx_file)
    for shape, words in (
        ((1, 3, 3, 16, 16), "multiples of 2 frames from 2 on, got 3"),
        ((1, 3, 4, 32, 32), "exported for 16x16, 24x32 pixels, got 32x32"),
        ((1, 1, 4, 16, 16), "3 channels, got 1"),
    ):
        with pytest.raises(TubeletError, match=words):
            file(torch.zeros(shape))
    with pytest.raises(ConfigError, match="computes in fp32, which was chosen when it was exported"):
        tubelet.load(onnx_file, precision="bf16")
    with pytest.raises(ConfigError, match="computes on the CPU, not on cuda"):
        tubelet.load(onnx_file, "cuda")
    with pytest.raises(CheckpointError, match="gives logits alone"):
        Classifier(file, file.exported.record, "cpu").embed(np.zeros((4, 16, 16, 3), np.uint8))


def test_a_missing_runtime_says_what_to_install(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'tubelet[export]'" in error_of(["predict", str(onnx_file), str(onnx_file)], capsys)


def test_several_heads_go_through_a_file_with_the_calibration(tmp_path: Path) -> None:
    model, config = tiny_model(5)
    protocol = dataclasses.replace(PROTOCOL, labels={"verb": ("open", "shut"), "noun": ("a", "b", "c")})
    calibration = Calibration(temperatures=(2.0, 0.5), num_videos=9)
    record = Record(model_name="vivit_ti16x2_fe", model_config=config, protocol=protocol, calibration=calibration)
    with unchecked_shapes():
        exported = Classifier(model, record, "cpu").export(tmp_path / "model.onnx", num_frames=4)
    assert exported.record.record.calibration == calibration
    assert [row[:3] for row in exported.table.rows] == [(4, "16x16", 1), (4, "16x16", 3)]
    clips = torch.randint(0, 256, (2, 6, 3, 4, 16, 16), dtype=torch.uint8)
    ours, file = Classifier(model, record, "cpu"), tubelet.load(tmp_path / "model.onnx", "cpu")
    torch.testing.assert_close(file.predict_clips(clips), ours.predict_clips(clips), atol=1e-5, rtol=0)
    with pytest.raises(TubeletError, match="exported for 4 frames alone, got 6"):
        file.model(torch.zeros(1, 3, 6, 16, 16))


def test_a_file_whose_proof_fails_is_not_written(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    model, record = tiny("vivit")
    nn.init.normal_(model.get_parameter("head.weight"))  # other than in the graph
    with pytest.raises(ExportError, match=r"not written: in onnxruntime .* 1 clips of 2x16x16 differ from torch's by"):
        export(model, record, tmp_path / "model.onnx", sizes=((16, 16), (24, 32)))
    assert content_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.txt"], "a file of onnx ends in .onnx; name it m.onnx"),
        (["m.onnx", "--opset", "99"], "opset must be one of 18 to 23, got 99"),
        (["m.onnx", "--precision", "int8"], "int8 is proven on real videos: give some with --clips"),
        (["m.onnx", "--precision", "bf16"], "onnx is written in fp32, fp16, int8; got precision bf16"),
        (["m.onnx", "--frames", "some"], "expected dynamic, or a number of frames"),
        (["m.onnx", "--frames", "3"], "takes no clips of 3x16x16"),
        (["m.onnx", "--size", "20x20"], "takes no clips of 4x20x20"),
        (["m.onnx", "--size", "big"], "expected HEIGHTxWIDTH in pixels"),
        (["taken.onnx"], "is already there"),
        (["file/m.onnx"], "is a file, expected a folder"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_writes_nothing(
    words: list[str],
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken.onnx").write_text("here")
    (tmp_path / "file").write_text("here")
    before = content_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert message in error_of(["export", str(checkpoint), *words], capsys)
    assert content_of(tmp_path) == before


def test_a_per_frame_head_is_not_dropped_without_a_word(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "best")
    (tmp_path / "best" / "per_frame.json").write_text("{}")
    line = error_of(["export", str(tmp_path / "best"), str(tmp_path / "model.onnx")], capsys)
    assert "answers by a per-frame head, which is not exported yet" in line


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"num_frames": 8, "sizes": ((16, 16), (24, 32))}, {"num_frames": 8}),
        ({"sizes": ((24, 32),)}, {"crop_size": (24, 32), "resize_short_side": 32}),
    ],
)
def test_a_file_for_other_clips_has_the_protocol_that_makes_them(
    asked: dict[str, Any],
    change: dict[str, Any],
    onnx_file: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    model, record = tiny("vivit")
    with caplog.at_level("INFO", "tubelet"):
        export(model, record, tmp_path / "model.onnx", **asked)
    assert "its scores are" in caplog.text
    protocol = dataclasses.replace(record.protocol, **change)
    file, clip = tubelet.load(tmp_path / "model.onnx"), next(videos.glob("test/*/*.mp4"))
    assert file.protocol == protocol
    expected = Classifier(model, record, "cpu").with_protocol(protocol).predict(clip)
    np.testing.assert_allclose(file.predict(clip).probs, expected.probs, atol=1e-5)


def test_a_network_with_one_number_of_frames_asks_for_it(tmp_path: Path) -> None:
    _, record = tiny("vivit")
    protocol = dataclasses.replace(record.protocol, num_frames=16, crop_size=(224, 224), resize_short_side=224)
    with torch.device("meta"):
        network = tubelet.create_model("torchvision/mvit_v2_s", num_classes=5).eval()
    with pytest.raises(ExportError, match="no file of it can follow T; give --frames 16"):
        export(
            network,
            dataclasses.replace(record, model_name="torchvision/mvit_v2_s", protocol=protocol),
            tmp_path / "model.onnx",
        )


def test_weights_too_large_for_one_file_lie_beside_it(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    monkeypatch.setattr("tubelet.export.onnx_writer.EXTERNAL_BYTES", 1000)
    model, record = tiny("vivit")
    exported = export(model, record, tmp_path / "model.onnx", sizes=((16, 16), (24, 32)))
    assert exported.files == ("model.onnx", "model.onnx.data")
    assert sorted(content_of(tmp_path)) == ["model.onnx", "model.onnx.data"]
    assert difference(model, opened(tmp_path / "model.onnx"), 2, 4, (16, 16)) < 1e-5
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(CheckpointError, match=r"its weights model.onnx.data are missing; keep both files"):
        opened(tmp_path / "model.onnx")


@pytest.mark.parametrize("folder", ["/proc", "/proc/none/below", "/sys/kernel"])
def test_a_place_that_takes_no_files_is_refused_by_the_name_that_was_asked_for(
    folder: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path(folder).parents[-1].joinpath(Path(folder).parts[1]).is_dir():
        pytest.skip("no such file system here")
    path = f"{folder}/model.onnx"
    assert error_of(["export", str(checkpoint), path], capsys).startswith(f"{path}: cannot be written (")


def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    check_target(tmp_path / "new" / "deep" / "model.onnx", "onnx")
    assert (tmp_path / "new" / "deep").is_dir()


def test_a_file_is_occluded_as_its_model_is_and_shows_nothing_else(onnx_file: Path, checkpoint: Path) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3)).astype(np.uint8)
    how: dict[str, Any] = {"class_name": LABELS[0], "tubelet": (2, 8, 8)}
    found, expected = (tubelet.load(place, "cpu").explain(clip, **how) for place in (onnx_file, checkpoint))
    assert found.method == "occlusion"
    np.testing.assert_allclose(found.relevance, expected.relevance, atol=1e-5)
    with pytest.raises(ConfigError, match=r"integrated_gradients looks inside the model, .* use occlusion"):
        tubelet.load(onnx_file).explain(clip, method="integrated_gradients")
