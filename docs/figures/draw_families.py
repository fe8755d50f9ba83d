"""Draws what a token of each family looks at, as the attention recorder finds it in a tiny model of the family.

python docs/figures/draw_families.py

A row per kind of attention step, in the order of the forward pass. Filled places are keys with a probability above 0
for one query, which is framed: nothing is drawn by hand, so a figure shows what the code does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tubelet.models import create_model
from tubelet.nn.attention_recorder import AttentionRecord, record_attention

FOLDER = Path(__file__).parent
INK, PALE, KEY, QUERY = "#1f2933", "#cbd2d9", "#56b4e9", "#d55e00"
VIT: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2, "image_size": [32, 32], "num_classes": 3}
# Four time indices of 4 x 4 places each; VTN has eight frames, so that its window shows.
MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vivit_joint": ("vivit_b16x2_joint", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8}, 8),
    "vivit_fe": ("vivit_b16x2_fe", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8, "temporal_depth": 1}, 8),
    "vivit_fsa": ("vivit_b16x2_fsa", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8}, 8),
    "vivit_fdp": ("vivit_b16x2_fdp", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8}, 8),
    "timesformer": ("timesformer_b16_divided", {**VIT, "patch_size": 8, "num_frames": 4}, 4),
    "vtn": (
        "vtn_vit_b16",
        {
            "num_classes": 3,
            "num_frames": 8,
            "image_size": [64, 64],
            "backbone": "vit_tiny_patch16_224",
            "depth": 2,
            "num_heads": 3,
            "hidden_dim": 32,
            "head_dim": 16,
            "attention_window": [4],
        },
        8,
    ),
    "uniformerv2": ("uniformerv2_b16", {**VIT, "patch_size": 8, "num_frames": 4, "global_layers": 1}, 4),
    "videomae": ("videomae_b16", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8}, 8),
    "vjepa2": ("vjepa2_l16_256", {**VIT, "tubelet_size": [2, 8, 8], "num_frames": 8}, 8),
    "videoprism": ("videoprism_b18", {**VIT, "patch_size": 8, "num_frames": 4, "temporal_depth": 1}, 4),
}
TITLES = {
    "joint": "all tokens of the clip",
    "space": "tokens of one time index",
    "time": "one place, over time",
    "window": "frames nearby",
    "cross": "learned queries over the clip",
    "pool": "a class token, or one learned query, over all tokens",
}


def steps_of(name: str) -> list[AttentionRecord]:
    """The different attention steps of a forward pass, each once, in their order."""
    model_name, fields, num_frames = MODELS[name]
    torch.manual_seed(0)
    model = create_model(model_name, **fields).eval()
    with torch.inference_mode(), record_attention(model, heads="mean") as records:
        model(torch.randn(1, 3, num_frames, *fields["image_size"]))
    found: dict[tuple[Any, ...], AttentionRecord] = {}
    for record in records:
        found.setdefault((record.kind, None if record.keys is None else tuple(record.keys.shape)), record)
    return list(found.values())


def looked_at(record: AttentionRecord) -> tuple[tuple[int, ...], set[tuple[int, ...]]]:
    """A query in the middle of the clip, and the keys that it gives a probability, as (t, h, w)."""
    assert record.queries is not None
    assert record.keys is not None
    queries = [(g, q, *place) for g, group in enumerate(record.queries.tolist()) for q, place in enumerate(group)]
    inside = [row for row in queries if row[2] >= 0] or queries
    middle = inside[len(inside) // 2]
    whole = [row for row in inside if row[3:] == (1, 1)]  # a place within the frames, where there are places
    group, query, *place = whole[len(whole) // 2] if whole else middle
    given = record.probs[0, group, 0, query] > 0
    return tuple(place), {
        tuple(key) for key, is_given in zip(record.keys[group].tolist(), given, strict=True) if is_given
    }


def draw_step(axes: Axes, record: AttentionRecord) -> None:
    """Frames side by side; keys filled, the query framed."""
    query, keys = looked_at(record)
    assert record.grid is not None
    num_times, height, width = record.grid
    for t in range(num_times):
        left = t * (width + 1)
        of_frame = (t, -1, -1) in keys  # one vector for the frame
        for h in range(height):
            for w in range(width):
                color = KEY if of_frame or (t, h, w) in keys else "white"
                axes.add_patch(Rectangle((left + w, h), 1, 1, facecolor=color, edgecolor=PALE, linewidth=0.6))
        if query[0] == t:
            place = (left, 0, width, height) if query[1] < 0 else (left + query[2], query[1], 1, 1)
            axes.add_patch(Rectangle(place[:2], *place[2:], fill=False, edgecolor=QUERY, linewidth=2, zorder=3))
    title = "the vectors of all frames" if record.kind == "time" and query[1] < 0 else TITLES[str(record.kind)]
    axes.set_title(f"{record.module.split('.')[0]}: {title}", fontsize=8, color=INK, loc="left")
    axes.set_xlim(-0.2, num_times * (width + 1))
    axes.set_ylim(height + 0.2, -0.2)
    axes.set_aspect("equal")
    axes.axis("off")


def main() -> None:
    for name in MODELS:
        steps = [step for step in steps_of(name) if step.keys is not None and step.kind is not None]
        figure = Figure(figsize=(5, 1.35 * len(steps)), dpi=130, layout="constrained")
        for axes, step in zip(figure.subplots(len(steps), 1, squeeze=False)[:, 0], steps, strict=True):
            draw_step(axes, step)
        figure.savefig(FOLDER / f"family_{name}.png")
        print(f"{name}: {', '.join(str(step.kind) for step in steps)}")


if __name__ == "__main__":
    main()
