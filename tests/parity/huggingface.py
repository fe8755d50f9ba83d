"""How the cases of HuggingFace's ViViT are checked: logits, preprocessing, and real-size checkpoints by name."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from parity.compare import assert_equal, compare, pair, random_source, read_arrays, read_input
from parity.vivit import record_intermediates
from tubelet import config as config_io
from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.models.vivit.huggingface import from_huggingface, to_huggingface, vivit_fields
from tubelet.models.vivit.model import ViViTConfig, ViViTJoint
from tubelet.models.vivit.preprocessor import read_protocol
from tubelet.weights.mapping.huggingface import pixel_range


def check_model(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array, under the names of the case and, where it maps them, under those of transformers 5."""
    weights, clip = read_arrays(case / "weights.npz"), read_input(case).transpose(1, 2)  # B C T H W
    sources = [weights]
    if (case / "key_map_transformers5.json").is_file():
        new_names = json.loads((case / "key_map_transformers5.json").read_text(encoding="utf-8"))
        sources.append({new_names[name]: tensor for name, tensor in weights.items()})
    for source in sources:
        model = _model(config["constructor"], num_classes=len(weights["classifier.weight"]))
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
        assert_equal(to_huggingface(model, source), source)


def check_preprocess(case: Path, config: dict[str, Any]) -> None:
    """The folder's own numbers, read into a protocol, give the processor's pixels.

    Deviation: frames are resized by torchvision on uint8, not by PIL; pixels differ by two of the 255 levels at most.
    Of frames that PIL has resized, or that nothing resizes, the pixels are the same.
    Deviation: an odd number of pixels around a crop puts ours one pixel further, since the center is rounded up as in
    scenic; then what both crops hold is compared.
    """
    frames = np.load(case / "input.npy", allow_pickle=False)  # T H W C
    atol = config["tolerance"]["atol"]
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert reference.files, "nothing was recorded"
        assert set(reference.files) <= set(config["variants"])
        for name in reference.files:
            content = {**config["constructor"], **variant_arguments(config["variants"][name], config["constructor"])}
            resizes = content.pop("do_resize", True)
            expected = torch.from_numpy(reference[name])[0].transpose(0, 1)  # T C H W -> C T H W
            same = _resized_by_pil(frames, content["size"]["shortest_edge"]) if resizes else frames
            y, x = ((a - b) % 2 for a, b in zip(same.shape[1:3], expected.shape[2:], strict=True))
            for given, levels in ((same, 0), (frames, 2)) if resizes else ((same, 0),):
                short = content["size"]["shortest_edge"] if levels else min(same.shape[1:3])
                pixels, level = _pixels(given, {**content, "size": {"shortest_edge": short}})
                assert pixels.shape == expected.shape, name
                _, _, h, w = pixels.shape
                difference = pixels[:, :, : h - y, : w - x] - expected[:, :, y:, x:]
                assert float(difference.abs().max()) <= levels * level + atol, name


def variant_arguments(variant: str | Mapping[str, Any], constructor: Mapping[str, Any]) -> dict[str, Any]:
    """The processor's arguments that a variant names: ``do_normalize=False``, ``rescale 1/255``, ``no resize``; of a
    variant that names nothing but another range of pixels, the normalization is left out."""
    if not isinstance(variant, str):
        return dict(variant)
    flags = re.findall(r"\b(do_\w+|offset)[ =](True|False)\b", variant)
    found: dict[str, Any] = {name: value == "True" for name, value in flags}
    if scale := re.search(r"\brescale (\d+)/([\d.]+)", variant):
        found["rescale_factor"] = int(scale[1]) / float(scale[2])
    if "no resize" in variant:
        found["do_resize"] = False
    if stated := re.search(r"range (?:is )?\[(-?[\d.]+), ?(-?[\d.]+)\]", variant):
        wanted = [float(stated[1]), float(stated[2])]
        found |= {} if _range({**constructor, **found}) == wanted else {"do_normalize": False}
        assert _range({**constructor, **found}) == wanted, f"no arguments give {variant!r}"
    return found


def check_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly, and back to the same bits under the same names but for the pooler."""
    source = random_source(content)
    num_classes = len(source["classifier.weight"]) if "classifier.weight" in source else 1
    with torch.device("meta"):
        model = _model(_keywords(content["constructor"]), num_classes)
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


def _keywords(call: str) -> dict[str, Any]:
    """The arguments of a constructor that is written as code: ``VivitConfig(num_labels=400)``."""
    expression = ast.parse(call, mode="eval").body
    assert isinstance(expression, ast.Call), call
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}


def _model(constructor: Mapping[str, Any], num_classes: int) -> ViViTJoint:
    """Our model for HuggingFace's constructor arguments."""
    fields = {**vivit_fields(constructor, Path("config")), "num_classes": num_classes}
    return ViViTJoint(config_io.from_dict(ViViTConfig, fields, where="constructor")).eval()


def _resized_by_pil(frames: np.ndarray, shortest: int) -> np.ndarray:
    """The frames ``[T H W C]`` as PIL resizes them: bilinear with antialiasing, the longer side rounded down."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    size = (int(width * shortest / short), int(height * shortest / short))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames])


def _pixels(frames: np.ndarray, content: Mapping[str, Any]) -> tuple[Tensor, float]:
    """What our data path makes of the frames ``[C T H W]``, and how much one level of 8 bits is in it."""
    content = _as_saved(content)
    crop = (content["crop_size"]["height"], content["crop_size"]["width"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
        protocol, _ = read_protocol(Path(folder), len(frames), crop, frames.shape[-1])
    protocol = dataclasses.replace(protocol, frame_stride=1, num_temporal_views=1, num_spatial_crops=1)
    view = read_views(frames, protocol).pixels[0]
    return normalize(view, protocol), 1 / (255 * min(protocol.std))


def _as_saved(content: Mapping[str, Any]) -> dict[str, Any]:
    """The processor stores a crop given as one number or a pair by its sides."""
    crop = content["crop_size"]
    height, width = (crop["height"], crop["width"]) if isinstance(crop, Mapping) else pair(crop)
    return {**content, "crop_size": {"height": height, "width": width}}


def _range(content: Mapping[str, Any]) -> list[float]:
    """Lowest and highest value that the processor's arguments give, to three digits."""
    (mean,), (std,) = pixel_range(content, 1)
    return [round(-mean / std, 3), round((1 - mean) / std, 3)]
