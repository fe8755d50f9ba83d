"""How the cases of HuggingFace's ViViT are checked: logits, preprocessing, and real-size checkpoints by name."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.compare import compare, random_source, read_arrays
from parity.vivit import record_intermediates
from tubelet.data.clips.transforms import normalize
from tubelet.data.loading.dataset import read_views
from tubelet.models import create_model
from tubelet.models.vivit.huggingface import from_huggingface, to_huggingface, vivit_fields
from tubelet.models.vivit.model import ViViTJoint
from tubelet.models.vivit.preprocessor import read_protocol

# The processor's arguments behind each variant's words in config.json.
_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "hub_like": {"do_normalize": False},
    "plain_0_1": {"rescale_factor": 1 / 255, "offset": False, "do_normalize": False},
    "crop_only": {"do_resize": False, "do_normalize": False},
}


def check_model(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array, under the names of transformers 4 and under those of transformers 5."""
    weights = read_arrays(case / "weights.npz")
    clip = torch.from_numpy(np.load(case / "input.npy", allow_pickle=False)).transpose(1, 2)  # B C T H W
    new_names = json.loads((case / "key_map_transformers5.json").read_text(encoding="utf-8"))
    for source in (weights, {new_names[name]: tensor for name, tensor in weights.items()}):
        model = _model(config["constructor"])
        state, report = from_huggingface(source, model)
        assert not report.dropped
        assert not report.fresh
        model.load_state_dict(state)
        seen = record_intermediates(model)
        with torch.inference_mode():
            seen["logits"] = model(clip)
        # The last of transformers' hidden states, recorded as the last block's output, is behind the final LayerNorm.
        seen[f"block_{model.config.depth - 1}"] = seen["encoder_output"]
        compare(case, config, seen)
        back = to_huggingface(model, source)
        assert back.keys() == source.keys()
        assert all(back[name].equal(tensor) for name, tensor in source.items())


def check_preprocess(case: Path, config: dict[str, Any]) -> None:
    """The folder's own numbers, read into a protocol, give the processor's pixels.

    Deviation: frames are resized by torchvision on uint8, not by PIL; a tenth of the pixels differ, by two of the 255
    levels at most. Without a resize the pixels are the same.
    """
    frames = np.load(case / "input.npy", allow_pickle=False)  # T H W C
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert set(reference.files) == set(_VARIANTS)
        for name in reference.files:
            content = {**config["constructor"], **_VARIANTS[name]}
            if not content.get("do_resize", True):
                content |= {"do_resize": True, "size": {"shortest_edge": int(min(frames.shape[1:3]))}}
            expected = torch.from_numpy(reference[name])[0].transpose(0, 1)  # T C H W -> C T H W
            pixels, level = _pixels(frames, content)
            difference, exact = (pixels - expected).abs(), config["tolerance"]["atol"]
            if name == "crop_only":
                assert float(difference.max()) <= exact
            else:
                assert float(difference.max()) <= 2 * level + exact, name
                assert float((difference <= exact).float().mean()) > 0.9, name


def check_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly, and back to the same bits under the same names but for the pooler."""
    source = random_source(content)
    num_classes = source["classifier.weight"].shape[0] if "classifier.weight" in source else 5
    with torch.device("meta"):
        model = _model({"num_labels": num_classes})
    state, report = from_huggingface(source, model)
    assert set(report.dropped) == {name for name in source if "pooler" in name}
    assert all("pooler" in reason for reason in report.dropped.values())
    assert set(report.fresh) == (set() if "classifier.weight" in source else {"head.weight", "head.bias"})
    made = sum(t.numel() for name, t in state.items() if name not in report.fresh)
    assert made == content["total_parameters"] - sum(source[name].numel() for name in report.dropped)
    model.load_state_dict({n: torch.zeros(t.shape) if n in report.fresh else t for n, t in state.items()}, assign=True)
    back = to_huggingface(model, source)
    kept = source.keys() - report.dropped.keys()
    assert {name for name in back if not name.startswith("classifier.")} == {n for n in kept if "classifier" not in n}
    assert all(back[name].equal(source[name]) for name in kept)


def _model(constructor: Mapping[str, Any]) -> ViViTJoint:
    """Our model for HuggingFace's constructor arguments."""
    fields = vivit_fields(constructor, Path("config"))
    model = create_model("vivit_b16x2_joint", **fields, num_classes=constructor["num_labels"])
    assert isinstance(model, ViViTJoint)
    return model.eval()


def _pixels(frames: np.ndarray, content: Mapping[str, Any]) -> tuple[Tensor, float]:
    """What our data path makes of the frames ``[C T H W]``, and how much one level of 8 bits is in it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(_as_saved(content)), encoding="utf-8")
        protocol, _ = read_protocol(Path(folder), len(frames), (32, 32), 3)
    protocol = dataclasses.replace(protocol, frame_stride=1, num_temporal_views=1, num_spatial_crops=1)
    view = read_views(frames, protocol).pixels[0]
    return normalize(view, protocol), 1 / (255 * min(protocol.std))


def _as_saved(content: Mapping[str, Any]) -> dict[str, Any]:
    """The processor stores a crop given as a pair by its sides."""
    height, width = content["crop_size"]
    return {**content, "crop_size": {"height": height, "width": width}}
