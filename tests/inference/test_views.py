"""The scores of a video's views become one, whatever the size of the chunks they are computed in."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch
from torch import Tensor

from support import PROTOCOL, tiny_model
from tubelet.data.clips.normalize import normalize
from tubelet.inference import view_averaging as views
from tubelet.inference.view_averaging import average_views, predict_views
from tubelet.protocol import Calibration, Protocol
from tubelet.tasks.choose import task_of

CPU = torch.device("cpu")
TWO = task_of(Protocol(labels={"label": ("a", "b")}))


def pixels(videos: int, num_views: int) -> Tensor:
    return torch.randint(0, 256, (videos, num_views, 3, 4, 16, 16), dtype=torch.uint8)


def test_logits_are_averaged_before_the_softmax() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]])  # two views; mean (1, 2)
    e = torch.e
    expected = torch.tensor([[1 / (1 + e), e / (1 + e)]])
    torch.testing.assert_close(average_views(logits, "logits", TWO), expected)


def test_probs_are_averaged_after_the_softmax() -> None:
    log = torch.log
    logits = torch.stack([log(torch.tensor([0.9, 0.1])), log(torch.tensor([0.2, 0.8]))])[None]
    torch.testing.assert_close(average_views(logits, "probs", TWO), torch.tensor([[0.55, 0.45]]))
    assert not torch.allclose(average_views(logits, "logits", TWO), torch.tensor([[0.55, 0.45]]), atol=0.01)


@pytest.mark.parametrize("averaging", ["logits", "probs"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_temperature_acts_on_the_average_of_the_views(
    averaging: Literal["logits", "probs"], multi_label: bool
) -> None:
    model, _ = tiny_model()
    protocol, clips = dataclasses.replace(PROTOCOL, averaging=averaging, multi_label=multi_label), pixels(3, 4)
    plain = predict_views(model, clips, protocol, device=CPU)
    cold = predict_views(model, clips, protocol, device=CPU, calibration=Calibration(temperatures=(0.5,)))
    odds = plain.probs.double() ** 2  # of the average, whatever was averaged
    expected = odds / (odds + (1 - plain.probs.double()) ** 2) if multi_label else odds / odds.sum(1, keepdim=True)
    torch.testing.assert_close(cold.probs.double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(cold.uncalibrated, plain.probs)
    assert torch.equal(cold.logits, plain.logits)


def test_a_temperature_of_1_changes_no_bit() -> None:
    model, _ = tiny_model()
    clips, one = pixels(3, 4), Calibration(temperatures=(1.0,))
    for averaging in ("logits", "probs"):
        protocol = dataclasses.replace(PROTOCOL, averaging=averaging)
        plain = predict_views(model, clips, protocol, device=CPU)
        assert torch.equal(predict_views(model, clips, protocol, device=CPU, calibration=one).probs, plain.probs)


@pytest.mark.parametrize("averaging", ["logits", "probs"])
def test_predictions_are_those_of_separate_forward_passes(averaging: Literal["logits", "probs"]) -> None:
    model, _ = tiny_model()
    protocol = dataclasses.replace(PROTOCOL, averaging=averaging)
    clips = pixels(3, 6)
    probs = predict_views(model, clips, protocol, device=CPU).probs
    for video, row in zip(clips, probs, strict=True):
        logits = torch.stack([model(normalize(view[None], protocol))[0] for view in video])
        alone = logits.mean(0).softmax(0) if averaging == "logits" else logits.softmax(1).mean(0)
        torch.testing.assert_close(row, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_clips", [0, 1, 5, 100])
def test_chunks_do_not_change_the_result(num_clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = tiny_model()
    clips = pixels(3, 4)
    whole = predict_views(model, clips, PROTOCOL, device=CPU).probs
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(views, "CHUNK_VALUES", num_clips * clips[0, 0].numel())
    torch.testing.assert_close(predict_views(model, clips, PROTOCOL, device=CPU).probs, whole, atol=1e-6, rtol=0)
    assert max(sizes) == min(max(num_clips, 1), 12)
    assert sum(sizes) == 12


def test_rows_are_probabilities_in_fp32_on_the_cpu_even_where_bf16_computed_them() -> None:
    model, _ = tiny_model()
    clips = pixels(2, 2)
    exact = predict_views(model, clips, PROTOCOL, device=CPU).probs
    rough = predict_views(model, clips, PROTOCOL, device=CPU, precision="bf16").probs
    assert (rough.dtype, rough.device) == (torch.float32, CPU)
    torch.testing.assert_close(rough.sum(1), torch.ones(2))
    assert not rough.equal(exact)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0)


def test_nothing_is_kept_for_gradients() -> None:
    model, _ = tiny_model()
    assert not predict_views(model, pixels(1, 1), PROTOCOL, device=CPU).probs.requires_grad
