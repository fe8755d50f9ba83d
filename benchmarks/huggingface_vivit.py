"""HuggingFace's ViViT with the weights of one of ours: the peer that the speed and the logits are compared with.

It serves the benchmark and one test; only Model 1 exists there. Names are those of the transformers that is
installed.
"""

from __future__ import annotations

from torch import nn
from transformers import VivitConfig, VivitForVideoClassification

from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.huggingface import to_huggingface
from tubelet.models.vivit.model import ViViTJoint

ATTENTION = "sdpa"  # transformers' default, and the fastest of its implementations on a CPU


def huggingface_twin(model: nn.Module) -> VivitForVideoClassification:
    """A ``VivitForVideoClassification`` that computes the same function as a Model 1; its clips are [B, T, C, H, W]."""
    assert isinstance(model, ViViTJoint)
    config = model.config
    twin = VivitForVideoClassification(_huggingface_config(config))
    twin.set_attn_implementation(ATTENTION)
    twin.load_state_dict(to_huggingface(model, twin.state_dict()))
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
