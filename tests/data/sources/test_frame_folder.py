"""A folder of pictures is a video: the right frames at the right times, or one line that says why not."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from support import assert_one_line
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.open_source import open_source
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError, VideoError
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=4, frame_stride=2, resize_short_side=24, crop_size=(16, 16), num_temporal_views=2, num_spatial_crops=1
)


def folder_of(path: Path, names: list[str]) -> Path:
    """One plain picture per name; its gray value is ten times its place."""
    path.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.new("RGB", (30, 24), (10 * place,) * 3).save(path / name)
    return path


def test_frames_come_in_the_order_of_their_numbers_with_their_times(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["9.jpg", "10.jpg", "11.png", "100.jpeg"])
    with FrameFolderReader(folder, fps=10.0) as reader:
        assert reader.timestamps.tolist() == pytest.approx([0, 0.1, 0.2, 9.1])  # a gap is a frame that stays
        assert reader.duration_seconds == pytest.approx(9.2)
        assert (reader.height, reader.width, reader.fps) == (24, 30, 10)
        frames = reader.frames_at([3, 0, 3, 1])
    assert frames.pixels.shape == (4, 3, 24, 30)
    assert frames.pixels[:, :, 0, 0].tolist() == [[30] * 3, [0] * 3, [30] * 3, [10] * 3]
    assert frames.seconds == pytest.approx((9.1, 0, 9.1, 0.1))


def test_without_a_rate_frame_numbers_stand_for_seconds(tmp_path: Path) -> None:
    reader = FrameFolderReader(folder_of(tmp_path, ["a_1.jpg", "a_2.jpg"]))
    assert reader.timestamps.tolist() == [0, 1]


def test_optical_flow_beside_the_pictures_is_not_the_video(tmp_path: Path) -> None:
    names = ["img_00001.jpg", "img_00002.jpg", "flow_x_00001.jpg", "flow_y_00001.jpg"]
    assert len(FrameFolderReader(folder_of(tmp_path, names)).timestamps) == 2


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ([], ["no pictures"]),
        (["a_1.jpg", "b_1.jpg"], ["one series", "a_*, b_*"]),
        (["first.jpg"], ["first.jpg", "no number"]),
        (["a_1.jpg", "a_01.jpg"], ["two pictures have the number"]),
    ],
)
def test_folders_that_are_no_video_are_refused_in_one_line(tmp_path: Path, names: list[str], parts: list[str]) -> None:
    with pytest.raises(VideoError) as caught:
        FrameFolderReader(folder_of(tmp_path, names))
    assert_one_line(caught, str(tmp_path), *parts)


def test_a_damaged_picture_or_one_of_another_size_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ["a_1.jpg", "a_2.jpg", "a_3.jpg"])
    (folder / "a_2.jpg").write_bytes(b"\xff\xd8 no picture")
    Image.new("L", (30, 30)).save(folder / "a_3.jpg")
    reader = FrameFolderReader(folder)
    assert len(reader.frames_at([0]).pixels) == 1
    for index, part in ((1, "cannot be decoded"), (2, "30x30")):
        with pytest.raises(VideoError) as caught:
            reader.frames_at([0, index])
        assert_one_line(caught, f"a_{index + 1}.jpg", part)
    with pytest.raises(VideoError):
        reader.frames_at([3])


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_size(tmp_path: Path) -> None:
    """A file of 12 KB that says it has 100 million pixels, which Pillow alone would only warn of."""
    folder = folder_of(tmp_path, ["a_1.png", "a_2.png"])
    Image.new("1", (10000, 10000)).save(folder / "a_2.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoError) as caught:
            FrameFolderReader(folder).frames_at([0, 1])
    assert_one_line(caught, "a_2.png", "100000000 pixels", "exceeds limit", "replace the file")


def test_a_list_that_promises_more_frames_than_folders_have_is_noted(tmp_path: Path) -> None:
    for name, count in (("whole", 12), ("half", 6), ("gap", 12)):
        folder_of(tmp_path / name, [f"img_{number:05d}.jpg" for number in range(1, count + 1)])
    (tmp_path / "gap" / "img_00005.jpg").unlink()
    (tmp_path / "train.txt").write_text("whole 12 0\nhalf 12 1\nwhole 2 6 0\nhalf 3 9 1\ngap 12 1\n")
    for fps in (None, 25.0):
        config = ManifestConfig(layout="list", frame_fps=fps, val_fraction=0.0, test_fraction=0.0)
        (note,) = (note for note in read_manifest(tmp_path / "train.txt", config).notes if "promise" in note)
        assert note.startswith("3 of 5 rows promise more frames than their folders have, 20 of 33 frames are there: ")
        assert "half (6 of 12), half (3 of 9), gap (11 of 12)" in note
    (tmp_path / "train.txt").write_text("whole 12 0\nwhole 2 6 0\nhalf 6 1\n")
    assert not any("promise" in note for note in read_manifest(tmp_path / "train.txt", config).notes)


def test_the_pictures_of_a_video_give_the_clips_of_the_video(tmp_path: Path, write_video) -> None:  # type: ignore[no-untyped-def]
    video = write_video(tmp_path / "v.mp4", num_frames=12, size=(24, 30), fps=10)
    (tmp_path / "v").mkdir()
    with VideoReader(video) as reader:
        for index, frame in enumerate(reader.frames_at(range(12)).pixels):
            Image.fromarray(np.asarray(frame.permute(1, 2, 0))).save(tmp_path / f"v/frame_{index + 1:010d}.png")
    times = {"start_seconds": 0.2, "end_seconds": 1.1}
    samples = (
        Sample(path="v.mp4", labels=(0,), split="train", **times),  # type: ignore[arg-type]
        Sample(path="v", labels=(0,), split="train", fps=10.0, **times),  # type: ignore[arg-type]
    )
    manifest = Manifest(root=tmp_path, samples=samples, class_names={"label": ("a", "b")}, layout="files")
    dataset = ClipDataset(manifest, PROTOCOL, "views")
    video_item, folder_item = dataset.read(0), dataset.read(1)
    assert torch.equal(video_item.pixels, folder_item.pixels)
    assert folder_item.seconds_covered == pytest.approx(video_item.seconds_covered, abs=1e-3)


def test_a_protocol_in_frames_per_second_needs_the_rate(tmp_path: Path, write_video) -> None:  # type: ignore[no-untyped-def]
    folder = folder_of(tmp_path / "clip", ["1.jpg", "2.jpg"])
    protocol = Protocol(num_frames=2, frame_stride=None, target_fps=5.0)
    with pytest.raises(DataError) as caught:
        open_source(folder, None, protocol)
    assert_one_line(caught, "5 frames per second", "frame_fps")
    assert open_source(folder, None, protocol, 10.0).fps == 10
    with pytest.raises(DataError) as caught:
        open_source(write_video(tmp_path / "v.mp4"), None, protocol, 10.0)
    assert_one_line(caught, "a video carries its own times")


def write_deep(file: Path, values: np.ndarray, pixel_format: str) -> None:
    """A PNG or TIFF file with 16 bits a sample."""
    encoder = av.CodecContext.create("png" if file.suffix == ".png" else "tiff", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *values.shape[:2], pixel_format
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(values, format=pixel_format)
    file.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


RAMP = np.linspace(0, 65535, 24 * 30).reshape(24, 30).astype(np.uint16)
DEEP = {
    "gray16be": RAMP,
    "rgb48be": np.stack([RAMP, RAMP[::-1], RAMP // 2], axis=2),
    "rgba64be": np.stack([RAMP, RAMP[::-1], RAMP // 2, np.full_like(RAMP, 65535)], axis=2),
    "gray16le": RAMP,  # of TIFF, which FFmpeg writes in this order
    "rgb48le": np.stack([RAMP, RAMP[::-1], RAMP // 2], axis=2),
}


@pytest.mark.parametrize("pixel_format", DEEP)
@pytest.mark.parametrize("window", [(0.0, 65535.0), (1000.0, 5000.0)])
def test_pictures_with_16_bits_are_scaled_by_the_window_of_the_protocol(
    tmp_path: Path, pixel_format: str, window: tuple[float, float]
) -> None:
    values = DEEP[pixel_format]
    for number in (1, 2):
        write_deep(tmp_path / f"{number}.{'png' if pixel_format.endswith('be') else 'tif'}", values, pixel_format)
    protocol = Protocol(picture_window=window)
    with open_source(tmp_path, None, protocol, fps=10.0) as reader:
        pixels = reader.frames_at([1]).pixels[0].permute(1, 2, 0).numpy()
        assert reader.notes == (
            f"16-bit pictures, {window[0]:g} to {window[1]:g} become 0 to 255 (protocol.picture_window)",
        )
    values = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values[..., :3]
    scaled = (values.astype(float) - window[0]) / (window[1] - window[0])
    np.testing.assert_array_equal(pixels, np.rint(255 * scaled.clip(0, 1)))


def test_tiff_pictures_with_8_bits_are_frames(tmp_path: Path) -> None:
    for number in (1, 2):
        Image.new("RGB", (30, 24), (10 * number, 0, 200)).save(tmp_path / f"img_{number}.TIFF", compression="tiff_lzw")
    reader = FrameFolderReader(tmp_path, fps=10.0)
    assert reader.frames_at([0, 1]).pixels[:, :, 5, 7].tolist() == [[10, 0, 200], [20, 0, 200]]
    assert reader.notes == ()


def test_tiff_files_of_other_values_or_of_several_pictures_are_refused_in_one_line(tmp_path: Path) -> None:
    ramp = Image.fromarray(RAMP.astype(np.float32))
    ramp.save(tmp_path / "1.tif")
    page = Image.new("L", (30, 24))
    page.save(tmp_path / "2.tif", save_all=True, append_images=[page])
    for index, part in ((1, "floating-point values of 32 bits"), (2, "2 pictures")):
        folder = tmp_path / str(index)
        folder.mkdir()
        (tmp_path / f"{index}.tif").rename(folder / "1.tif")
        with pytest.raises(VideoError) as caught:
            FrameFolderReader(folder).frames_at([0])
        assert_one_line(caught, "1.tif", part)


def test_pictures_with_16_bits_that_come_out_nearly_black_are_noted(tmp_path: Path) -> None:
    write_deep(tmp_path / "1.png", RAMP // 40, "gray16be")
    reader = FrameFolderReader(tmp_path, fps=10.0)
    reader.frames_at([0])
    assert reader.notes[1] == (
        "16-bit pictures, the highest value of one is 1638: nearly black; set protocol.picture_window"
    )


def test_earlier_versions_clipped_gray_pictures_with_16_bits(tmp_path: Path) -> None:
    write_deep(tmp_path / "1.png", RAMP, "gray16be")
    with open_source(tmp_path, None, Protocol(picture_window=None), fps=10.0) as reader:
        np.testing.assert_array_equal(reader.frames_at([0]).pixels[0, 0].numpy(), RAMP.clip(0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_with_16_bits_are_turned_as_their_exif_tag_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RAMP).save(tmp_path / "1.png", exif=exif)
    Image.fromarray((RAMP // 257).astype(np.uint8)).save(tmp_path / "2.png", exif=exif)
    deep, plain = FrameFolderReader(tmp_path, fps=10.0).frames_at([0, 1]).pixels
    assert (deep.int() - plain.int()).abs().max() <= 1


def test_a_cut_picture_with_16_bits_is_one_line(tmp_path: Path) -> None:
    write_deep(tmp_path / "1.png", RAMP, "gray16be")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    with pytest.raises(VideoError) as caught:
        FrameFolderReader(tmp_path, fps=10.0).frames_at([0])
    assert_one_line(caught)
