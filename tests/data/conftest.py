"""Small real files and manifests for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.manifest.manifest import Manifest, Sample

WriteVideo = Callable[..., Path]


@pytest.fixture
def write_video() -> WriteVideo:
    """Writes an MP4 (H.264) of ``num_frames`` frames of noise that brightens, the same for the same seed."""

    def write(path: Path, num_frames: int = 12, size: tuple[int, int] = (32, 40), fps: int = 10, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 128, size=(*size, 3))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            for index in range(num_frames):
                pixels = (noise + 120 * index // num_frames).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Nine volumes of noise."""
    rng = np.random.default_rng(0)
    for i in range(9):
        np.save(tmp_path / f"{i}.npy", rng.integers(0, 256, size=(12, 20, 26), dtype=np.uint8))
    samples = tuple(Sample(path=f"{i}.npy", labels=(i % 2,), split="train") for i in range(9))
    return Manifest(root=tmp_path, samples=samples, class_names={"label": ("a", "b")}, layout="files")
