"""What Python code gives ``predict``: every order of axes and kind of frames gives one answer, or one clear line."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from support import PROTOCOL, assert_one_line, write_checkpoint
from tubelet import Classifier, load
from tubelet.data.sources.python_input import frames_in_memory
from tubelet.errors import DataError

GRAY = dataclasses.replace(PROTOCOL, num_channels=1, mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(write_checkpoint(tmp_path_factory.mktemp("python") / "best"), "cpu")


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """[T, H, W, C], the values of a picture and not noise alone, so that sizes and axes count."""
    return np.random.default_rng(0).integers(0, 256, (8, 20, 24, 3), dtype=np.uint8)


SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "array_tchw_turned": lambda x: np.moveaxis(np.moveaxis(x, -1, 1), 1, -1),
    "array_cthw": lambda x: np.moveaxis(x, -1, 0),
    "tensor_thwc": torch.from_numpy,
    "tensor_cthw": lambda x: torch.from_numpy(x).permute(3, 0, 1, 2),
    "read_only": lambda x: np.broadcast_to(x, x.shape),
    "pictures": lambda x: [Image.fromarray(frame) for frame in x],
    "tuple_of_pictures": lambda x: tuple(Image.fromarray(frame) for frame in x),
    "list_of_arrays": list,
    "list_of_tensors": lambda x: list(torch.from_numpy(x)),
}
SAME_IN_RANGE: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": lambda x: (x / 255).astype(np.float32),
    "float64_cthw": lambda x: np.moveaxis(x / 255, -1, 0),
    "tensor": lambda x: torch.from_numpy(x).float() / 255,
    "tensor_with_gradient": lambda x: (torch.from_numpy(x).double() / 255).requires_grad_(),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_a_clip_gives_the_same_answer(classifier: Classifier, clip: np.ndarray, form: str) -> None:
    expected, given = classifier.predict(clip), classifier.predict(SAME[form](clip))
    assert (given.labels, given.probs) == (expected.labels, expected.probs)


@pytest.mark.parametrize("form", SAME_IN_RANGE)
def test_floats_are_read_in_the_range_that_is_stated(classifier: Classifier, clip: np.ndarray, form: str) -> None:
    given = classifier.predict(SAME_IN_RANGE[form](clip), value_range=(0.0, 1.0))
    assert given.probs == classifier.predict(clip).probs
    symmetric = classifier.predict(clip / 127.5 - 1, value_range=(-1.0, 1.0))
    assert symmetric.probs == given.probs


def test_half_precision_is_read_too(clip: np.ndarray) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        frames = frames_in_memory((torch.from_numpy(clip) / 255).to(dtype), PROTOCOL, (0.0, 1.0))
        assert int((frames.int() - torch.from_numpy(clip).permute(0, 3, 1, 2).int()).abs().max()) <= 1


def test_one_channel_is_a_clip_in_either_order_and_a_volume_without_it(clip: np.ndarray) -> None:
    gray = clip[..., 0]
    for source in (gray, gray[..., None], gray[None], torch.from_numpy(gray)):
        assert frames_in_memory(source, GRAY)[:, 0].numpy().tolist() == gray.tolist()
        assert frames_in_memory(source, PROTOCOL)[:, 2].numpy().tolist() == gray.tolist()


def test_gray_and_transparent_pictures_become_rgb() -> None:
    gray, clear = Image.new("L", (24, 20), 9), Image.new("RGBA", (24, 20), (1, 2, 3, 0))
    assert frames_in_memory([gray, clear], PROTOCOL)[:, :, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]


def test_paths_of_any_kind_and_lists_of_them(classifier: Classifier, clip: np.ndarray, tmp_path: Path) -> None:
    class PathLike:
        def __fspath__(self) -> str:
            return str(tmp_path / "clip.npy")

    np.save(tmp_path / "clip.npy", clip)
    expected = classifier.predict(clip)
    for source in (tmp_path / "clip.npy", str(tmp_path / "clip.npy"), PathLike()):
        prediction = classifier.predict(source)
        assert (prediction.probs, prediction.source) == (expected.probs, str(tmp_path / "clip.npy"))
    both = classifier.predict([tmp_path / "clip.npy", tmp_path / "clip.npy"], top_k=2)
    assert [p.probs for p in both] == [expected.probs[:2]] * 2
    with pytest.raises(DataError, match=r"missing\.npy"):
        classifier.predict([tmp_path / "clip.npy", tmp_path / "missing.npy"])


def test_a_folder_of_frames_is_a_video(classifier: Classifier, clip: np.ndarray, tmp_path: Path) -> None:
    for i, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / f"img_{i:05d}.png")
    assert classifier.predict(tmp_path).probs == classifier.predict(clip).probs
    assert classifier.predict([tmp_path])[0].source == str(tmp_path)


X = np.zeros((8, 20, 24, 3), dtype=np.uint8)
REFUSED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "image": (X[0], ("[20, 24, 3]", "single image", "image[None]")),
    "image_rgba": (np.zeros((256, 256, 4), dtype=np.uint8), ("single image",)),
    "image_chw": (torch.zeros(3, 20, 24, dtype=torch.uint8), ("single image",)),
    "picture": (Image.new("RGB", (24, 20)), ("a single image of 24x20 pixels", "[image]")),
    "tchw": (np.moveaxis(X, -1, 1), ("[8, 3, 20, 24]", "T C H W", ".permute(0, 2, 3, 1)")),
    "tchw_of_three": (np.moveaxis(X, -1, 1)[:3], ("T C H W",)),
    "tchw_of_one": (torch.zeros(1, 3, 20, 24, dtype=torch.uint8), ("T C H W",)),
    "batch": (X[None], ("[1, 8, 20, 24, 3]", "one by one")),
    "hwct": (X.transpose(1, 2, 3, 0), ("[20, 24, 3, 8]", "expected a clip [T, H, W, C]")),
    "rgba": (np.zeros((8, 20, 24, 4), dtype=np.uint8), ("[8, 20, 24, 4]", "C = 1 or 3")),
    "empty": (X[:0], ("[0, 20, 24, 3]",)),
    "vector": (np.zeros(8, dtype=np.uint8), ("[8]",)),
    "bytes": (b"\x00" * 10, ("10 bytes", "give its path")),
    "bytearray": (bytearray(10), ("10 bytes",)),
    "stream": (io.BytesIO(b"abc"), ("a BytesIO", "expected a path")),
    "none": (None, ("a NoneType", "expected a path")),
    "dict": ({"video": "a.mp4"}, ("a dict",)),
    "url": ("https://example.org/a.mp4", ("is an address (https)", "download it", "tubelet stream")),
    "rtsp": ("rtsp://camera/live", ("is an address (rtsp)",)),
    "objects": (np.array([X[0], None], dtype=object), ("Python objects", "np.stack")),
    "texts": (np.array(["a.mp4", "b.mp4"]), ("give paths as a list",)),
    "no_frames": ([], ("the list is empty",)),
    "mixed": (["a.mp4", X[0]], ("paths beside other things",)),
    "sizes": ([X[0], X[0, :10]], ("frame 1 of the list: shape [10, 24, 3], the first has [20, 24, 3]",)),
    "list_of_clips": ([X, X], ("frame 0 of the list: shape [8, 20, 24, 3]", "expected PIL images")),
    "list_of_numbers": ([1, 2], ("frame 0 of the list: int",)),
    "floats": (X / 255, ("holds float64", "value_range=(0, 1)")),
    "integers": (X.astype(np.int64), ("holds int64", "expected uint8")),
    "bfloat16": (torch.zeros(8, 20, 24, 3).bfloat16(), ("say which values are black and white",)),
}


@pytest.mark.parametrize("form", REFUSED)
def test_everything_else_is_one_line_that_says_what_came_and_what_to_give(classifier: Classifier, form: str) -> None:
    source, parts = REFUSED[form]
    with pytest.raises(DataError) as refused:
        classifier.predict(source)
    assert_one_line(refused, *parts)


@pytest.mark.parametrize(
    ("value_range", "values", "parts"),
    [
        (
            (0.0, 1.0),
            np.linspace(-2.1, 2.6, X.size),
            ("values from -2.1 to 2.6, but value_range=0 to 1", "normalization"),
        ),
        ((0.0, 1.0), np.linspace(0, 255, X.size), ("values from 0 to 255",)),
        ((1.0, 0.0), np.zeros(X.size), ("the first less than the second",)),
        ((0.0, 1.0), np.full(X.size, np.nan), ("not finite",)),
    ],
)
def test_values_of_another_range_than_stated_are_not_cut_off_silently(
    classifier: Classifier, value_range: tuple[float, float], values: np.ndarray, parts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as refused:
        classifier.predict(values.reshape(X.shape), value_range=value_range)
    assert_one_line(refused, *parts)


def test_a_range_belongs_to_arrays(classifier: Classifier, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", X)
    with pytest.raises(DataError, match="value_range is for arrays"):
        classifier.predict(tmp_path / "clip.npy", value_range=(0.0, 1.0))


def test_the_source_is_left_as_it_was(classifier: Classifier, clip: np.ndarray) -> None:
    before, tensor = clip.copy(), torch.from_numpy(clip.copy())
    classifier.predict(clip)
    classifier.predict(tensor)
    assert (clip == before).all()
    assert isinstance(tensor, Tensor)
    assert (tensor.numpy() == before).all()
