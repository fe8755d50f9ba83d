"""The temperature makes probabilities as often right as they say, on any task and with any number of videos."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tubelet.tasks.multi_head import MultiHead
from tubelet.tasks.multi_label import MultiLabel
from tubelet.tasks.single_label import SingleLabel

FIVE = ("a", "b", "c", "d", "e")


def answers(num_videos: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels that are drawn by their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_videos, 5, generator=generator)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_on_the_logits(factor: float) -> None:
    logits, labels = answers(4000)
    task = SingleLabel(labels={"label": FIVE})
    (found,) = task.temperatures(task.probs(factor * logits), labels)
    assert found == pytest.approx(factor, rel=0.06)


def test_calibration_error_and_loss_fall() -> None:
    logits, labels = answers(4000)
    task = SingleLabel(labels={"label": FIVE})
    before = task.probs(3 * logits[:2000])
    temperatures = task.temperatures(before, labels[:2000])
    new = 3 * logits[2000:]
    plain, calibrated = (
        task.measure(task.probs(some), labels[2000:]) for some in (new, task.tempered(new, temperatures))
    )
    assert calibrated["calibration_error"] < plain["calibration_error"] / 3
    assert calibrated["loss"] < plain["loss"]
    assert calibrated["top1"] == plain["top1"]


@pytest.mark.parametrize("num_videos", [20, 200])
def test_right_answers_alone_make_no_certainty(num_videos: int) -> None:
    task, labels = SingleLabel(labels={"label": FIVE}), torch.arange(num_videos) % 5
    logits = 30.0 * torch.nn.functional.one_hot(labels, 5).float()
    (found,) = task.temperatures(task.probs(logits), labels)
    confidence = task.probs(task.tempered(logits, (found,))).amax(1).mean()
    assert float(confidence) == pytest.approx((num_videos + 1) / (num_videos + 2), abs=0.01)


def test_each_head_has_its_own_from_the_videos_that_have_its_label() -> None:
    logits, labels = answers(4000)
    task = MultiHead(labels={"noun": FIVE, "verb": FIVE})
    targets = torch.stack([labels, labels.where(torch.arange(4000) % 2 > 0, -1)], dim=1)
    found = task.temperatures(task.probs(torch.cat([2 * logits, 0.5 * logits], dim=1)), targets)
    assert found == pytest.approx((2.0, 0.5), rel=0.08)
    tempered = task.tempered(torch.ones(1, 10), (2.0, 0.5))
    assert tempered[0].tolist() == [0.5] * 5 + [2.0] * 5


def test_several_labels_share_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2000, 5, generator=generator)
    targets = torch.bernoulli(logits.sigmoid(), generator=generator).long()
    task = MultiLabel(labels={"label": FIVE})
    assert task.temperatures(task.probs(2.5 * logits), targets) == pytest.approx((2.5,), rel=0.06)
