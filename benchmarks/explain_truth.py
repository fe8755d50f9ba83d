"""Whether explanations find a cause that is known: share of relevance inside the true tube over its share of volume.

python benchmarks/explain_truth.py           minutes on one core; --write puts the result into docs/results
python benchmarks/explain_truth.py --quick   one model, few clips, writes nothing

Every clip shows a red or a blue square, which is the label, and a green one beside it; both move in a random direction
and are there for the same number of frames at times of their own. Small models are trained from scratch. A model below
95 % on fresh clips is not testable. For each method: the mean over clips of the concentration (1 means that it knows
nothing) with a 95 % interval of the mean, and the share of the pixels with the largest value that lie in the tube
(pointing). Fewer clips and models than a conclusion about a family needs: it says what these methods do on these
models.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from results import write_result
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import Geometry
from tubelet.errors import TubeletError
from tubelet.explain.clip_view import ClipView
from tubelet.explain.config import METHODS, ExplainConfig, Method
from tubelet.explain.explain import explain_view
from tubelet.models import create_model
from tubelet.protocol import Protocol

T, SIDE, OBJECT, SHOWN = 8, 32, 8, 4  # frames, pixels, pixels, frames that an object is there
COLORS = ((200, 60, 60), (60, 60, 200))  # of the cause, by class
OTHER = (60, 180, 60)
PROTOCOL = Protocol(
    num_frames=T, frame_stride=1, resize_short_side=SIDE, crop_size=(SIDE, SIDE), labels={"label": ("red", "blue")}
)
_VIVIT: dict[str, Any] = {
    "tubelet_size": (2, 8, 8),
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 4,
    "image_size": (32, 32),
}
_TIMESFORMER: dict[str, Any] = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "image_size": (32, 32)}
_VIDEOMAE = {**_VIVIT, "drop_path_rate": 0.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vivit_joint": ("vivit_b16x2_joint", _VIVIT),
    "vivit_fe": ("vivit_b16x2_fe", {**_VIVIT, "temporal_depth": 2}),
    "vivit_fsa": ("vivit_b16x2_fsa", _VIVIT),
    "vivit_fdp": ("vivit_b16x2_fdp", _VIVIT),
    "timesformer_divided": ("timesformer_b16_divided", _TIMESFORMER),
    "videomae": ("videomae_b16", _VIDEOMAE),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    models: tuple[str, ...] = tuple(MODELS)  # which
    num_clips: int = 32  # explained, per model and method
    max_steps: int = 600  # of training, at most
    seed: int = 0  # of weights, training and clips
    quick: bool = False  # one model and four clips
    write: bool = False  # put the result into docs/results


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


def batch(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    labels = rng.integers(0, 2, size)
    clips = np.stack([draw_clip(rng, int(label))[0] for label in labels])
    return normalize(torch.from_numpy(clips).permute(0, 4, 1, 2, 3), PROTOCOL), torch.from_numpy(labels)


def trained(name: str, options: Options) -> tuple[nn.Module, float, int]:
    """A model, its accuracy on fresh clips, and after how many steps it stopped."""
    torch.manual_seed(options.seed)
    factory, fields = MODELS[name]
    model = create_model(factory, num_classes=2, num_frames=T, **fields)
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=1e-3), np.random.default_rng(options.seed)
    losses: list[float] = []
    while len(losses) < options.max_steps and (len(losses) < 40 or np.mean(losses[-20:]) > 0.02):
        clips, labels = batch(rng, 32)
        loss = F.cross_entropy(model.train()(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    clips, labels = batch(np.random.default_rng(options.seed + 1), 256)
    with torch.no_grad():
        right = (model.eval()(clips).argmax(1) == labels).double().mean()
    return model, float(right), len(losses)


def view_of(clip: np.ndarray) -> ClipView:
    return ClipView(
        pixels=torch.from_numpy(clip).permute(3, 0, 1, 2).contiguous(),
        seconds=tuple(i / 25 for i in range(T)),
        until=tuple((i + 1) / 25 for i in range(T)),
        frame_numbers=torch.arange(T),
        geometry=Geometry(box=(0, 0, SIDE, SIDE), resized=(SIDE, SIDE), crops=((0, 0),), crop_size=(SIDE, SIDE)),
        crop=0,
        notes=(),
    )


def measured(model: nn.Module, method: Method, options: Options) -> dict[str, Any]:
    """Concentration and pointing of one method, or why it has none."""
    rng = np.random.default_rng(options.seed + 2)
    config = ExplainConfig(method=method, tubelet=(2, 8, 8) if method == "occlusion" else None)
    concentrations, hits, gaps = [], [], []
    for i in range(options.num_clips):
        clip, tube = draw_clip(rng, i % 2)
        name = PROTOCOL.labels["label"][i % 2]
        try:
            found = explain_view(model, view_of(clip), PROTOCOL, config, source="clip", class_name=name)
        except TubeletError as error:
            return {"refused": str(error)}
        positive = found.relevance.clip(min=0)
        total = positive.sum()
        concentrations.append(float(positive[tube].sum() / total / tube.mean()) if total else 1.0)
        hits.append(float(tube[positive == positive.max()].mean()))  # all pixels of the best token, or tubelet
        if found.completeness_gap is not None and found.logit_difference:
            gaps.append(abs(found.completeness_gap / found.logit_difference))
    half = 1.96 * float(np.std(concentrations, ddof=1)) / math.sqrt(len(concentrations))
    mean = float(np.mean(concentrations))
    result = {"concentration": mean, "interval": [mean - half, mean + half], "pointing": float(np.mean(hits))}
    return result | ({"median_gap": float(np.median(gaps))} if gaps else {})


def main(options: Options) -> None:
    if options.quick:
        options = dataclasses.replace(options, models=("vivit_fsa",), num_clips=4)
    result: dict[str, Any] = {"num_clips": options.num_clips, "seed": options.seed, "models": {}}
    for name in options.models:
        began = time.monotonic()
        model, accuracy, steps = trained(name, options)
        row: dict[str, Any] = {"accuracy": accuracy, "steps": steps, "testable": accuracy >= 0.95}
        if row["testable"]:
            row["methods"] = {method: measured(model, method, options) for method in METHODS}
        result["models"][name] = row
        print(f"{name}: accuracy {accuracy:.3f} after {steps} steps, {time.monotonic() - began:.0f} s", flush=True)
        for method, found in row.get("methods", {}).items():
            print(f"  {method}: {found}", flush=True)
    if not options.quick:
        write_result("explain_truth", result, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options))
