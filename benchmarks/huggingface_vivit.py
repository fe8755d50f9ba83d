"""HuggingFace's ViViT with the weights of one of ours: the peer that the speed and the logits are compared with.

It serves the benchmark and one test; only Model 1 exists there. Names are those of transformers 5.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import VivitConfig, VivitForVideoClassification

from tubelet.models.vivit import ViViTConfig, ViViTJoint

ATTENTION = "sdpa"  # transformers' default, and the fastest of its implementations on a CPU


def huggingface_twin(model: nn.Module) -> VivitForVideoClassification:
    """A ``VivitForVideoClassification`` that computes the same function as a Model 1; its clips are [B, T, C, H, W]."""
    assert isinstance(model, ViViTJoint)
    config = model.config
    twin = VivitForVideoClassification(_huggingface_config(config))
    twin.set_attn_implementation(ATTENTION)
    twin.load_state_dict(_huggingface_state(model.state_dict(), config.depth))
    return twin.train(model.training)


def _huggingface_config(config: ViViTConfig) -> VivitConfig:
    return VivitConfig(
        image_size=config.image_size,
        num_frames=config.num_frames,
        tubelet_size=config.tubelet_size,
        num_channels=config.in_channels,
        hidden_size=config.embed_dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.num_heads,
        intermediate_size=round(config.embed_dim * config.mlp_ratio),
        layer_norm_eps=config.norm_eps,
        num_labels=config.num_classes,  # type: ignore[call-arg]  # taken by the base class
    )


def _huggingface_state(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    names = {
        "tokenizer.proj": "vivit.embeddings.patch_embeddings.projection",
        "encoder.norm": "vivit.layernorm",
        "head": "classifier",
    }
    for i in range(depth):
        ours, theirs = f"encoder.blocks.{i}", f"vivit.layers.{i}"
        names[f"{ours}.norm1"] = f"{theirs}.layernorm_before"
        names[f"{ours}.norm2"] = f"{theirs}.layernorm_after"
        names[f"{ours}.attn.proj"] = f"{theirs}.attention.o_proj"
        names[f"{ours}.mlp.fc1"] = f"{theirs}.mlp.fc1"
        names[f"{ours}.mlp.fc2"] = f"{theirs}.mlp.fc2"
    mapped = {
        "vivit.embeddings.cls_token": state["encoder.cls_token"][None, None],
        "vivit.embeddings.position_embeddings": state["encoder.pos_embed.table"][None],
    }
    for ours, theirs in names.items():
        for kind in ("weight", "bias"):
            mapped[f"{theirs}.{kind}"] = state[f"{ours}.{kind}"]
    for i in range(depth):
        for kind in ("weight", "bias"):
            stacked = state[f"encoder.blocks.{i}.attn.qkv.{kind}"]
            for letter, projection in zip("qkv", stacked.chunk(3), strict=True):
                mapped[f"vivit.layers.{i}.attention.{letter}_proj.{kind}"] = projection
    return mapped
