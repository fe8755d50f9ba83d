"""A feature store holds the per-frame stage's output for every frame, whole or not at all, and goes on where it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from support import assert_one_line, motion_videos
from tubelet.data.clips.normalize import normalize
from tubelet.data.features.store import FeatureFile
from tubelet.data.loading.frame_chunks import FRAMES_PER_CHUNK
from tubelet.data.loading.read_views import read_views
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.synthetic import write_motion_set
from tubelet.errors import DataError
from tubelet.inference.feature_extraction import Extracted, ExtractOptions, extract, open_store
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.session.session import Session
from tubelet.weights.checkpoint.checkpoint import Record
from vtn_recipe import RECIPE

CPU = torch.device("cpu")
PROTOCOL = Protocol(
    num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16), num_temporal_views=1, num_spatial_crops=1
)
FIELDS = {k: v for k, v in RECIPE["model"].items() if k != "name"} | {"num_classes": 8, "image_size": [16, 16]}
NAME = RECIPE["model"]["name"]


def model() -> nn.Module:
    torch.manual_seed(0)
    return create_model(NAME, **FIELDS).eval()


def write(manifest: Manifest, out: Path, **options: object) -> Extracted:
    judge = model()
    record = Record(model_name=NAME, model_config=vars(model_config(NAME, FIELDS)), protocol=PROTOCOL)
    store = open_store(out, judge, record, manifest, "data")
    asked = ExtractOptions(**{"splits": manifest.splits, **options})  # type: ignore[arg-type]
    return extract(judge, store, manifest, out, asked, Session())


def files(out: Path) -> list[Path]:
    return sorted(out.rglob("*.safetensors"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_vector_is_what_the_model_gives_for_its_frame(tmp_path: Path, num_workers: int) -> None:
    length = FRAMES_PER_CHUNK + 9  # more than one chunk
    write_motion_set(tmp_path / "v", {"train": 8}, size_pixels=32, num_frames=length, fps=10)
    manifest = read_manifest(tmp_path / "v", is_checked=False)
    few = dataclasses.replace(manifest, samples=manifest.samples[:2])
    done = write(few, tmp_path / "s", num_workers=num_workers)
    assert (done.written, done.num_frames) == (2, 2 * length)
    protocol = dataclasses.replace(PROTOCOL, num_frames=length, frame_stride=1)
    for sample, row in zip(few.samples, read_manifest(tmp_path / "s", is_checked=False).samples, strict=True):
        clip = normalize(read_views(few.path_of(sample), protocol).pixels, protocol)
        with torch.inference_mode():
            expected = model().encode_frames(clip).vectors[0]  # type: ignore[operator]
        with FeatureFile(tmp_path / "s" / row.path) as file:
            assert torch.equal(file.vectors_of(np.arange(length)), expected)
            assert file.timestamps == pytest.approx(np.arange(length) / 10)


def test_what_is_missing_or_damaged_is_written_and_the_rest_stays(tmp_path: Path) -> None:
    manifest = read_manifest(motion_videos(tmp_path / "v"))
    write(manifest, tmp_path / "s")
    found = files(tmp_path / "s")
    whole = {file: file.read_bytes() for file in found}
    before = {file: file.stat().st_mtime_ns for file in found}
    found[0].unlink()
    found[1].write_bytes(whole[found[1]][:-8])
    done = write(manifest, tmp_path / "s")
    assert (done.written, done.kept) == (2, len(found) - 2)
    assert {file: file.read_bytes() for file in found} == whole
    assert {file for file in found if file.stat().st_mtime_ns != before[file]} == set(found[:2])


def test_a_video_that_cannot_be_read_keeps_its_row_and_is_tried_again(tmp_path: Path) -> None:
    manifest = read_manifest(motion_videos(tmp_path / "v"))
    broken = manifest.path_of(manifest.samples[3])
    good = broken.read_bytes()
    broken.write_bytes(b"x" * len(good))  # of the same size: the same fingerprint
    done = write(manifest, tmp_path / "s")
    assert len(done.failed) == 1
    assert str(broken) in done.failed[0]
    assert str(broken.relative_to(tmp_path / "v")) in (tmp_path / "s" / "unreadable.csv").read_text()
    stored = read_manifest(tmp_path / "s")
    assert len(stored) == len(manifest)
    with FeatureFile(stored.path_of(stored.samples[3])) as file:
        assert file.failure == done.failed[0]
    broken.write_bytes(good)
    again = write(manifest, tmp_path / "s")
    assert (again.written, again.failed) == (1, ())
    assert not (tmp_path / "s" / "unreadable.csv").exists()


def test_more_failures_than_the_budget_end_it_and_what_was_written_stays(tmp_path: Path) -> None:
    manifest = read_manifest(motion_videos(tmp_path / "v"))
    for sample in manifest.samples[5:8]:
        manifest.path_of(sample).write_bytes(b"no video")
    manifest = read_manifest(tmp_path / "v")
    with pytest.raises(DataError) as caught:
        write(manifest, tmp_path / "s", failure_budget=0.01)
    assert_one_line(caught, "failure_budget")
    assert len(files(tmp_path / "s")) >= 5
    with pytest.raises(DataError, match="not finished"):
        read_manifest(tmp_path / "s")


def test_segments_of_one_video_share_a_file_with_their_frames_alone(tmp_path: Path) -> None:
    write_motion_set(tmp_path / "v", {"train": 8}, size_pixels=32, num_frames=40, fps=10)
    path = next((tmp_path / "v").rglob("*.mp4")).relative_to(tmp_path / "v").as_posix()
    samples = tuple(
        Sample(path=path, labels=(i,), split="train", start_seconds=start, end_seconds=end)
        for i, (start, end) in enumerate([(0.5, 1.5), (1.0, 2.0), (3.0, None)])
    )
    manifest = Manifest(root=tmp_path / "v", samples=samples, class_names={"label": ("a", "b", "c")}, layout="csv")
    done = write(manifest, tmp_path / "s")
    assert (done.written, done.num_frames) == (1, 25)
    (file,) = files(tmp_path / "s")
    with FeatureFile(file) as features:
        assert features.frame_numbers.tolist() == [*range(5, 20), *range(30, 40)]
    rows = read_manifest(tmp_path / "s").samples
    assert [(row.start_seconds, row.end_seconds) for row in rows] == [(0.5, 1.5), (1.0, 2.0), (3.0, None)]


def test_a_store_is_not_mixed_with_other_data(tmp_path: Path) -> None:
    manifest = read_manifest(motion_videos(tmp_path / "v"))
    write(manifest, tmp_path / "s")
    fewer = dataclasses.replace(manifest, samples=manifest.samples[1:])
    with pytest.raises(DataError) as caught:
        write(fewer, tmp_path / "s")
    assert_one_line(caught, "data_fingerprint")
