"""What the attention of a UniFormerV2 looks at, as a recorder says it: the tokens of a frame, or queries over a clip.

The first see the class token and the patches of their frame. Learned queries see those of all frames, and with
hierarchical keys also what the block before gave. Where blocks have queries of their own (``parallel`` and
``hierarchical_kv``), a query cannot be followed by its position, so the layer of its keys is left open.
"""

from __future__ import annotations

import torch

from tubelet.models.uniformerv2.config import UniFormerV2Config
from tubelet.nn.attention_steps import AttentionStep, clip_tokens, frame_positions, space_step
from tubelet.types import Grid


def step_of(config: UniFormerV2Config, module: str, grid: Grid) -> AttentionStep:
    """The step of an attention module; ``grid`` has the time indices behind the stem."""
    layers, block = config.layers_with_global_block(), int(module.split(".")[2])  # {trunk,fusion}.blocks.3.attn
    if module.startswith("trunk."):
        return space_step(grid, 1, block if block in layers else None)
    queries, keys = config.num_queries, frame_positions(grid, 1).flatten(0, 1)[None]  # 1 T*N 3
    if config.fusion == "hierarchical_q":
        queries *= block + 1
    if config.fusion == "hierarchical_kv" and block:
        keys = torch.cat([clip_tokens(1, config.num_queries), keys], dim=1)
    layer = layers[block] if config.fusion in ("sequential", "hierarchical_q") else None
    return AttentionStep(kind="cross", queries=clip_tokens(1, queries), keys=keys, layer=layer)
