"""How wrong and how sure an answer about one video is, in every task."""

from __future__ import annotations

import math

import pytest
import torch

from tubelet.tasks.multi_head import MultiHead
from tubelet.tasks.multi_label import MultiLabel
from tubelet.tasks.single_label import SingleLabel


def test_one_class_per_video() -> None:
    task = SingleLabel(labels={"label": ("a", "b", "c")})
    right, wrong, unknown = task.judge([(0,), (2,), (-1,)], torch.tensor([[0.7, 0.2, 0.1]] * 3))
    assert unknown is None
    assert right is not None
    assert wrong is not None
    assert (right.label, right.predicted, right.is_wrong) == ("a", "a", False)
    assert (wrong.label, wrong.predicted, wrong.is_wrong) == ("c", "a", True)
    assert right.margin == wrong.margin == pytest.approx(0.5)
    assert (right.loss, wrong.loss) == pytest.approx((-math.log(0.7), -math.log(0.1)))


def test_an_action_is_wrong_where_one_head_is_and_as_unsure_as_its_least_sure_head() -> None:
    task = MultiHead(labels={"noun": ("door", "cup"), "verb": ("open", "close", "take")})
    judged = task.judge([(0, 1), (0, -1)], torch.tensor([[0.9, 0.1, 0.5, 0.4, 0.1]] * 2))
    assert judged[1] is None
    assert judged[0] is not None
    assert (judged[0].label, judged[0].predicted) == ("door + close", "door + open")
    assert judged[0].margin == pytest.approx(0.1)
    assert judged[0].loss == pytest.approx(-math.log(0.9 * 0.4))


def test_several_labels_are_those_above_one_half() -> None:
    task = MultiLabel(labels={"label": ("a", "b", "c")})
    some, none = task.judge([(2, 0), ()], torch.tensor([[0.9, 0.4, 0.8], [0.1, 0.2, 0.55]]))
    assert some is not None
    assert none is not None
    assert (some.label, some.predicted, some.is_wrong) == ("a, c", "a, c", False)
    assert (none.label, none.predicted) == ("no label", "c")
    assert (some.margin, none.margin) == pytest.approx((0.2, 0.1))
    assert none.loss == pytest.approx(-math.log(0.9 * 0.8 * 0.45) / 3)


def test_a_probability_that_underflowed_has_a_finite_loss() -> None:
    for task in (SingleLabel(labels={"label": ("a", "b")}), MultiLabel(labels={"label": ("a", "b")})):
        (judged,) = task.judge([(1,)], torch.tensor([[1.0, 0.0]]))
        assert judged is not None
        assert math.isfinite(judged.loss)
