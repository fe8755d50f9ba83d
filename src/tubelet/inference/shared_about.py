"""What the parts of several calls must have in common, so that they can be joined: model, protocol, versions."""

from __future__ import annotations

import json
from typing import Any

import torch

from tubelet import __version__
from tubelet import config as config_io
from tubelet.inference.predictor import Classifier
from tubelet.session.shards import digest_of
from tubelet.weights.mapping.digest import tensors_sha256


def about_classifier(classifier: Classifier) -> dict[str, Any]:
    """Plain values that decide the bits of a score, by what a message calls them."""
    record = classifier.record
    return {
        "model": (record.weights_sha256 or tensors_sha256(classifier.model.state_dict()))[:16],
        "protocol": digest_of([json.dumps(config_io.to_identity(record.protocol), sort_keys=True)]),
        "calibration": digest_of([json.dumps(config_io.to_dict(record.calibration), sort_keys=True)]),
        "precision": record.precision,
        "mode": classifier.mode,
        "rejection": classifier.reject,
        "device": classifier.device.type,
        **about_versions(),
    }


def about_versions() -> dict[str, str]:
    """The versions whose change may change bits."""
    return {"version of tubelet": __version__, "version of torch": torch.__version__}
