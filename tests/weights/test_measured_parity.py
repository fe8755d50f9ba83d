"""The parity in a record was measured, on the input that it names, and a model that is not the original is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support import PROTOCOL, assert_one_line, tiny_model
from tubelet.errors import CheckpointError
from tubelet.weights.convert.parity import Reference, measure_parity, read_reference
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Source
from tubelet.weights.mapping.format import Format
from tubelet.weights.mapping.rules import MappingReport


def converted() -> Converted:
    model, _ = tiny_model()
    report = MappingReport(filled=())
    return Converted(model=model, name="vivit_ti16x2_fe", protocol=PROTOCOL, provenance={}, report=report)


def source(original: Any = None) -> Source:
    def never(path: Path, options: ConvertOptions) -> Converted:
        raise AssertionError

    return Source(format=Format(about="", clip_axes="B T H W C"), convert=never, original=original)


def clip() -> Tensor:
    return torch.randn(2, 4, 16, 16, 3)  # B T H W C


def logits(model: torch.nn.Module, clip: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(clip.movedim(-1, 1))
    return result


def test_stored_logits_are_compared_in_the_originals_axes(tmp_path: Path) -> None:
    ours, x = converted(), clip()
    expected = logits(ours.model, x)
    expected[1, 3] += 3e-5
    with (tmp_path / "stored.npz").open("wb") as stream:
        np.savez(stream, input=x.numpy(), logits=expected.numpy())
    measured = measure_parity(ours, source(), tmp_path, read_reference(tmp_path / "stored.npz"), 1e-4)
    digest = hashlib.sha256((tmp_path / "stored.npz").read_bytes()).hexdigest()
    assert measured["measured"]
    assert measured["max_abs_difference"] == pytest.approx(3e-5, rel=0.05)
    assert measured["max_abs_logit"] == pytest.approx(float(expected.abs().max()))
    assert measured["input"] == f"stored.npz, sha256 {digest}"
    assert measured["against"] == "the logits stored with the input"


@pytest.mark.parametrize("change", [0.5, torch.nan])
def test_other_logits_are_refused(change: float) -> None:
    ours, x = converted(), clip()
    reference = Reference(clip=x, logits=logits(ours.model, x) + change, described="x")
    with pytest.raises(CheckpointError) as refused:
        measure_parity(ours, source(), Path(), reference, 1e-4)
    assert_one_line(refused, "is not the original: logits differ by", "tolerance 0.0001", "nothing was written")


def test_an_original_that_can_run_is_asked_on_the_stored_clip_or_on_a_seeded_one(tmp_path: Path) -> None:
    ours, asked = converted(), []

    def original(path: Path, clip: Tensor) -> tuple[Tensor, str]:
        asked.append(clip)
        return logits(ours.model, clip), "original 1.0"

    np.save(tmp_path / "clip.npy", clip().numpy())
    stored = measure_parity(ours, source(original), tmp_path, read_reference(tmp_path / "clip.npy"), 1e-4)
    first = measure_parity(ours, source(original), tmp_path, None, 1e-4)
    second = measure_parity(ours, source(original), tmp_path, None, 1e-4)
    assert stored["input"].startswith("clip.npy, sha256 ")
    assert first == second
    assert first["against"] == "original 1.0, run on this input"
    assert first["input"] == "random from -1 to 1, seed 0, 1 3 4 16 16"
    assert [tuple(x.shape) for x in asked] == [(2, 4, 16, 16, 3), (1, 4, 16, 16, 3), (1, 4, 16, 16, 3)]
    assert asked[1].equal(asked[2])


def test_what_was_not_measured_says_why() -> None:
    reference = Reference(clip=clip(), logits=None, described="x")
    for found in (
        measure_parity(converted(), source(), Path(), None, 1e-4),
        measure_parity(converted(), source(), Path(), reference, 1e-4),
        measure_parity(converted(), source(lambda path, clip: None), Path(), None, 1e-4),
    ):
        assert found["measured"] is False
        assert found["reason"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": np.ones((1, 8))}, "expected the array 'input'"),
        ({"input": np.ones((1, 2)), "other": np.ones(1)}, "found also 'other'"),
        ({"input": np.array([None])}, "cannot be read as .npy or .npz"),
    ],
)
def test_a_reference_that_is_none_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with (tmp_path / "x.npz").open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(CheckpointError) as refused:
        read_reference(tmp_path / "x.npz")
    assert_one_line(refused, message)


def test_a_clip_that_does_not_fit_is_refused_with_its_shape_and_the_axes() -> None:
    for shape in ((1, 4, 16, 16), (1, 3, 4, 16, 16)):
        reference = Reference(clip=torch.zeros(shape), logits=torch.zeros(1, 8), described="x")
        with pytest.raises(CheckpointError) as refused:
            measure_parity(converted(), source(), Path(), reference, 1e-4)
        assert_one_line(refused, str(shape), "[B T H W C]")
