"""What the attention of a UniFormerV2 looks at, as a recorder says it: the tokens of a frame, or queries over a clip.

The first see the class token and the patches of their frame. Learned queries see those of all frames, and with
hierarchical keys also what the block before gave.
"""

from __future__ import annotations

import torch

from tubelet.models.uniformerv2.config import UniFormerV2Config
from tubelet.nn.attention_steps import AttentionStep, clip_tokens, frame_positions, space_step
from tubelet.types import Grid


def step_of(config: UniFormerV2Config, module: str, grid: Grid) -> AttentionStep:
    """The step of an attention module; ``grid`` has the time indices behind the stem."""
    if module.startswith("trunk."):
        return space_step(grid, 1)
    block = int(module.split(".")[2])  # fusion.blocks.3.attn
    queries, keys = config.num_queries, frame_positions(grid, 1).flatten(0, 1)[None]  # 1 T*N 3
    if config.fusion == "hierarchical_q":
        queries *= block + 1
    if config.fusion == "hierarchical_kv" and block:
        keys = torch.cat([clip_tokens(1, config.num_queries), keys], dim=1)
    return AttentionStep(kind="cross", queries=clip_tokens(1, queries), keys=keys)
