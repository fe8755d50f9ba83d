"""Clips whose cause is known, and small models of every family that learn them: what ``explain_truth.py`` measures on.

Every clip shows a red or a blue square, which is the label, and a green one beside it; both move in a random direction
and are there for the same number of frames at times of their own. Models are trained from scratch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import Geometry
from tubelet.explain.clip_view import ClipView
from tubelet.explain.tested import design_of
from tubelet.models import create_model
from tubelet.protocol import Protocol

T, SIDE, OBJECT, SHOWN = 8, 32, 8, 4  # frames, pixels, pixels, frames that an object is there
COLORS = ((200, 60, 60), (60, 60, 200))  # of the cause, by class
OTHER = (60, 180, 60)
TESTABLE = 0.95  # accuracy on fresh clips, below which a model's explanations are not tested
PROTOCOL = Protocol(
    num_frames=T, frame_stride=1, resize_short_side=SIDE, crop_size=(SIDE, SIDE), labels={"label": ("red", "blue")}
)
_SHAPE: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 4, "image_size": (32, 32)}
_TUBELETS = {**_SHAPE, "tubelet_size": (2, 8, 8)}
_SAMPLED = {**_SHAPE, "tubelet_size": (1, 8, 8), "num_sampled_frames": 4}
_PATCHES = {**_SHAPE, "patch_size": 8}
_STILL = {"drop_path_rate": 0.0}
_QUERIES = {**_PATCHES, "drop_rate": 0.0, "global_drop_rate": 0.0}
_VTN: dict[str, Any] = {
    "image_size": (32, 32),
    "frame_step": 1,
    "hidden_dim": 96,
    "depth": 2,
    "head_dim": 48,
    "attention_window": (4,),
    "num_heads": 4,
    "drop_rate": 0.0,
    "attn_drop_rate": 0.0,
    "head_drop_rate": 0.0,
}
_VIT = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
_RESNET = {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 48)}
_JEPA = {**_TUBELETS, "pooler_num_heads": 4, "pooler_depth": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vivit_joint": ("vivit_b16x2_joint", _TUBELETS),
    "vivit_fe": ("vivit_b16x2_fe", {**_TUBELETS, "temporal_depth": 2}),
    "vivit_fsa": ("vivit_b16x2_fsa", _TUBELETS),
    "vivit_fdp": ("vivit_b16x2_fdp", _TUBELETS),
    "vivit_avgpool": ("vivit_b16x2_avgpool", _TUBELETS),
    "timesformer_divided": ("timesformer_b16_divided", {**_PATCHES, **_STILL}),
    "videomae": ("videomae_b16", {**_TUBELETS, **_STILL}),
    "vtn_vit": ("vtn_deit_ti16", {**_VTN, "backbone_fields": _VIT}),
    "vtn_resnet": ("vtn_r50", {**_VTN, "backbone": "resnet10t", "backbone_fields": _RESNET}),
    "uniformerv2": ("uniformerv2_b16", {**_QUERIES, "global_layers": 2}),
    "uniformerv2_local": (
        "uniformerv2_b16_ssv2",
        {**_QUERIES, **_STILL, "global_layers": 2, "global_drop_path_rate": 0.0},
    ),
    "vjepa2": ("vjepa2_l16_256", _JEPA),
    "videoprism": ("videoprism_b18", {**_PATCHES, "temporal_depth": 2}),
    "timesformer_joint": ("timesformer_b16_joint", {**_PATCHES, **_STILL}),
    "timesformer_space": ("timesformer_b16_space", {**_PATCHES, **_STILL}),
    "vjepa2_frozen": ("vjepa2_l16_256", _JEPA),  # the probe alone is trained
    "vivit_joint_sampled": ("vivit_b16x2_joint", _SAMPLED),
    "vivit_fe_sampled": ("vivit_b16x2_fe", {**_SAMPLED, "temporal_depth": 2}),
    "vivit_fsa_sampled": ("vivit_b16x2_fsa", _SAMPLED),
    "vivit_fdp_sampled": ("vivit_b16x2_fdp", _SAMPLED),
    "vivit_avgpool_sampled": ("vivit_b16x2_avgpool", _SAMPLED),
    "torchvision": ("torchvision/r3d_18", {"image_size": (32, 32)}),
}
TRAINED_PARTS = {"vjepa2_frozen": ("pooler", "head")}  # where not all is trained: what names of parameters begin with


def draw_clip(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip "T H W C" uint8 and where its cause is, "T H W"."""
    pixels = np.full((T, SIDE, SIDE, 3), 60.0) + rng.normal(0, 12, (T, SIDE, SIDE, 3))
    tube = np.zeros((T, SIDE, SIDE), dtype=bool)
    for color, is_cause in ((OTHER, False), (COLORS[label], True)):
        first, speed = int(rng.integers(0, T - SHOWN + 1)), rng.integers(-3, 4, 2)
        start = [
            int(rng.integers(max(0, -v * (SHOWN - 1)), SIDE - OBJECT - max(0, v * (SHOWN - 1)) + 1)) for v in speed
        ]
        for i in range(SHOWN):
            y, x = (a + int(v) * i for a, v in zip(start, speed, strict=True))
            box = (first + i, slice(y, y + OBJECT), slice(x, x + OBJECT))
            pixels[box] = color
            if is_cause:
                tube[box] = True
    return pixels.clip(0, 255).astype(np.uint8), tube


def explained_clips(seed: int, num: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Clips to explain, their tubes and labels: both classes in turn. The same whatever model and method."""
    rng = np.random.default_rng(seed + 2)
    return [(*draw_clip(rng, i % 2), i % 2) for i in range(num)]


def make_model(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    factory, fields = MODELS[name]
    return create_model(factory, num_classes=2, num_frames=T, **fields)


def trained(name: str, seed: int, max_steps: int, file: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A model from ``file``, or trained and saved there; its accuracy on fresh clips and its number of steps."""
    model, steps = make_model(name, seed), file.with_suffix(".txt")
    if steps.exists():
        load_model(model, file)
        num = int(steps.read_text())
    else:
        num = _train(model, TRAINED_PARTS.get(name), seed, max_steps)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, str(file))
        steps.write_text(str(num))
    clips, labels = _batch(np.random.default_rng(seed + 1), 256)
    with torch.no_grad():
        found = torch.cat([model.eval()(part) for part in clips.split(32)])
    accuracy = float((found.argmax(1) == labels).double().mean())
    return model, {"class": design_of(model), "accuracy": accuracy, "steps": num, "testable": accuracy >= TESTABLE}


def view_of(clip: np.ndarray) -> ClipView:
    return ClipView(
        pixels=torch.from_numpy(clip).permute(3, 0, 1, 2).contiguous(),
        indices=tuple(range(T)),
        seconds=tuple(i / 25 for i in range(T)),
        until=tuple((i + 1) / 25 for i in range(T)),
        frame_numbers=torch.arange(T),
        geometry=Geometry(box=(0, 0, SIDE, SIDE), resized=(SIDE, SIDE), crops=((0, 0),), crop_size=(SIDE, SIDE)),
        crop=0,
        notes=(),
    )


def _train(model: nn.Module, parts: tuple[str, ...] | None, seed: int, max_steps: int) -> int:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parts is None or name.startswith(parts))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    rng, losses = np.random.default_rng(seed), list[float]()
    while len(losses) < max_steps and not _has_learned(model, losses, rng):
        clips, labels = _batch(rng, 32)
        loss = F.cross_entropy(model.train()(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return len(losses)


def _has_learned(model: nn.Module, losses: list[float], rng: np.random.Generator) -> bool:
    """Whether losses are low and the model is right in evaluation, where batch norms use what they gathered."""
    if len(losses) < 40 or len(losses) % 10 or np.mean(losses[-20:]) > 0.02:
        return False
    clips, labels = _batch(rng, 64)
    with torch.no_grad():
        return bool((model.eval()(clips).argmax(1) == labels).double().mean() >= 0.98)


def _batch(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    labels = rng.integers(0, 2, size)
    clips = np.stack([draw_clip(rng, int(label))[0] for label in labels])
    return normalize(torch.from_numpy(clips).permute(0, 4, 1, 2, 3), PROTOCOL), torch.from_numpy(labels)
