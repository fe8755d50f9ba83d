"""``tubelet.predict``: a checkpoint and a video in, labels and probabilities out."""

from __future__ import annotations

import os
from typing import Any

from tubelet.inference.predictor import load
from tubelet.types import Device, Prediction


def predict(
    checkpoint: str | os.PathLike[str], source: Any, *, device: Device = "auto", **options: Any
) -> Prediction | list[Prediction]:
    """Labels and probabilities of one video, or of each of a list.

    The checkpoint is read anew by every call: to predict again, keep the classifier of ``tubelet.load``.

    Args:
        checkpoint: as ``tubelet.load`` takes it.
        source: one video or a list of paths, as ``Classifier.predict`` takes it.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        options: of ``Classifier.predict``, such as ``top_k=5`` or ``views="4x3"``.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        DataError: the source cannot be read as the protocol asks.
    """
    classifier = load(os.fspath(checkpoint), device)
    found: Prediction | list[Prediction] = classifier.predict(source, **options)
    return found
