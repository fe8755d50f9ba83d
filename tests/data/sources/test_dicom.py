"""DICOM cine images: pictures as meant, times of frames, and nothing of the patient in what is written."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, UltrasoundMultiFrameImageStorage

from support import checkpoint, content_of
from tubelet import cli
from tubelet.data.layouts.find_files import sources_below
from tubelet.data.sources.dicom import DicomReader
from tubelet.data.sources.open_source import open_source
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.protocol import Protocol

__all__ = ["checkpoint"]

NAME = "Mustermann^Erika"
H264 = "1.2.840.10008.1.2.4.102"


def write(path: Path, pixels: np.ndarray | bytes, kind: str = "RGB", syntax: str = "", **fields: Any) -> Path:
    """A cine image of frames T H W or T H W 3, or of a stream of 10 frames of 48x64, with a patient's name."""
    data = Dataset()
    data.PatientName, data.PatientID, data.InstitutionName = NAME, "P-4711", "Charite-Ward-9"
    data.SOPClassUID, data.SOPInstanceUID = UltrasoundMultiFrameImageStorage, pydicom.uid.generate_uid()
    count, rows, columns = (10, 48, 64) if isinstance(pixels, bytes) else pixels.shape[:3]
    bits = 8 if isinstance(pixels, bytes) else 8 * pixels.itemsize
    data.NumberOfFrames, data.Rows, data.Columns, data.PhotometricInterpretation = count, rows, columns, kind
    data.SamplesPerPixel = 1 if kind.startswith("MONO") else 3
    data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    for name, value in fields.items():
        setattr(data, name, value)
    data.PixelData = encapsulate([pixels]) if isinstance(pixels, bytes) else pixels.tobytes()
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax or ExplicitVRLittleEndian)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def region(left: int, top: int, right: int, bottom: int) -> Dataset:
    found = Dataset()
    found.RegionLocationMinX0, found.RegionLocationMinY0 = left, top
    found.RegionLocationMaxX1, found.RegionLocationMaxY1 = right, bottom
    return found


def frames(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def test_pictures_are_those_that_the_photometric_interpretation_means(tmp_path: Path) -> None:
    colors, gray = frames(4, 24, 32, 3), frames(4, 24, 32)
    with DicomReader(write(tmp_path / "a.dcm", colors)) as reader:
        assert np.array_equal(reader.frames_at([2, 0, 2]).pixels.permute(0, 2, 3, 1).numpy(), colors[[2, 0, 2]])
    for kind, expected in (("MONOCHROME2", gray), ("MONOCHROME1", 255 - gray)):
        with DicomReader(write(tmp_path / "a.dcm", gray, kind)) as reader:
            pixels = reader.frames_at(range(4)).pixels.numpy()
            assert np.array_equal(pixels, np.repeat(expected[:, None], 3, axis=1))
    deep = frames(2, 24, 32, dtype=np.uint16)
    with pytest.raises(DataError, match="holds gray values of 16 bits and states no window; say which values"):
        DicomReader(write(tmp_path / "a.dcm", deep, "MONOCHROME2"))
    with DicomReader(write(tmp_path / "a.dcm", deep, "MONOCHROME2", WindowCenter=100, WindowWidth=101)) as reader:
        assert reader.frames_at([0]).pixels[0, 0].numpy()[deep[0] >= 150].min() == 255
        assert "the file's own window" in "".join(reader.notes)
    with DicomReader(tmp_path / "a.dcm", (0.0, 255.0)) as reader:
        assert np.array_equal(reader.frames_at([1]).pixels[0, 0].numpy(), deep[1])


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"FrameTime": 40.0}, [0, 0.04, 0.08]),
        ({"FrameTimeVector": [0.0, 30.0, 50.0]}, [0, 0.03, 0.08]),
        ({"CineRate": 50}, [0, 0.02, 0.04]),
        ({"RecommendedDisplayFrameRate": 10}, [0, 0.1, 0.2]),
        ({}, [0, 1, 2]),
    ],
)
def test_frames_have_the_times_that_the_file_states(tmp_path: Path, fields: dict[str, Any], times: list[float]) -> None:
    with DicomReader(write(tmp_path / "a.dcm", frames(3, 16, 16, 3), **fields)) as reader:
        assert reader.timestamps.tolist() == pytest.approx(times)
        assert any("no times" in note for note in reader.notes) == (not fields)


def test_what_lies_outside_of_the_regions_is_not_read(tmp_path: Path) -> None:
    pixels = np.full((2, 40, 60, 3), 200, dtype=np.uint8)  # a name is burnt in everywhere but in the regions
    pixels[:, 10:30, 5:25] = 90
    pixels[:, 15:35, 35:55] = 60
    regions = [region(5, 10, 24, 29), region(35, 15, 54, 34)]
    with DicomReader(write(tmp_path / "a.dcm", pixels, SequenceOfUltrasoundRegions=regions)) as reader:
        shown = reader.frames_at([0, 1]).pixels.numpy()
    assert shown.shape == (2, 3, 25, 50)
    assert set(np.unique(shown)) == {0, 60, 90}
    with DicomReader(write(tmp_path / "a.dcm", pixels, BurnedInAnnotation="YES")) as reader:
        assert "text is burnt into its pictures" in "".join(reader.notes)


def test_a_real_cine_in_jpeg_has_its_frames_and_times() -> None:
    with DicomReader(Path(pydicom.examples.get_path("ybr_color"))) as reader:
        assert len(reader.timestamps) == 30
        assert reader.frames_at([0, 29]).pixels.shape[1] == 3
        assert reader.duration_seconds < 30


def test_a_stream_of_h264_is_read_by_the_reader_of_videos(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in frames(10, 48, 64, 3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "a.h264").write_bytes(buffer.getvalue())
    file = write(tmp_path / "a.dcm", buffer.getvalue(), "YBR_PARTIAL_420", H264, FrameTime=50.0)
    with DicomReader(file) as reader, VideoReader(tmp_path / "a.h264") as video:
        assert len(reader.timestamps) == 10
        assert reader.timestamps[-1] == pytest.approx(0.45)
        assert (reader.frames_at([7, 3]).pixels == video.frames_at([7, 3]).pixels).all()


def test_what_cannot_be_read_is_refused_in_one_line_without_the_patient(tmp_path: Path) -> None:
    def says(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            open_source(path, None, Protocol())
        line = str(caught.value)
        assert "\n" not in line
        assert NAME not in line
        return line

    (tmp_path / "no.dcm").write_bytes(b"no DICOM at all")
    assert "not a DICOM file" in says(tmp_path / "no.dcm")
    whole = write(tmp_path / "a.dcm", frames(4, 24, 32, 3)).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-3000])
    assert "cut.dcm: " in says(tmp_path / "cut.dcm")
    lossless = write(tmp_path / "ls.dcm", b"\xff\xd8 nothing", "MONOCHROME2", JPEGLSLossless)
    line = says(lossless)
    assert "for which a plug-in is missing: " in line
    assert "pyjpegls" in line
    with pytest.raises(DataError, match="there is no such file"):
        DicomReader(tmp_path / "gone.dcm")
    plan = pydicom.dcmread(tmp_path / "a.dcm")
    del plan.PixelData
    plan.save_as(tmp_path / "plan.dcm")
    assert "a DICOM file without pictures" in says(tmp_path / "plan.dcm")


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"install it with: pip install 'tubelet\[dicom\]'"):
        DicomReader(Path("a.dcm"))


def test_nothing_of_the_patient_is_in_what_commands_write(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for split in ("train", "val", "test"):
        for label in ("left", "right"):
            (data / split / label).mkdir(parents=True)
            write(data / split / label / "cine.dcm", frames(12, 24, 32, 3), FrameTime=100.0)
    assert len(sources_below(data)) == 6
    out = tmp_path / "out"
    assert cli.main(["data", "scan", str(data), "--out", str(out / "scan")]) == 1  # the same content everywhere
    words = ["predict", str(checkpoint), "--device", "cpu"]
    assert cli.main([*words, str(data), "--num-workers", "0", "--csv", str(out / "p.csv"), "--json"]) == 0
    shutil.copy(data / "test/left/cine.dcm", tmp_path / "film.dcm")
    assert cli.main([*words, str(tmp_path / "film.dcm"), "--window", "clip"]) == 0
    written = content_of(out)
    assert set(written) >= {"scan/report.json", "p.csv"}
    said = "".join(capsys.readouterr()).encode() + b"".join(written.values())
    assert not [secret for secret in ("Mustermann", "P-4711", "Charite") if secret.encode() in said]
