"""HuggingFace's TimeSformer with the weights of one of ours: the peer that speed and logits are compared with.

It serves the benchmark and one test. Names are those of the transformers that is installed.
"""

from __future__ import annotations

from torch import nn
from transformers import TimesformerConfig, TimesformerForVideoClassification

from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.huggingface import to_huggingface
from tubelet.models.timesformer.model import TimeSformerDivided


def timesformer_twin(model: nn.Module) -> TimesformerForVideoClassification:
    """The same function as a TimeSformer with divided attention; its clips are [B, T, C, H, W].

    In training only without stochastic depth, whose rate transformers 5 refuses unless it is a whole number.
    """
    assert isinstance(model, TimeSformerDivided)
    twin = TimesformerForVideoClassification(_huggingface_config(model.config))
    twin.load_state_dict(to_huggingface(model))
    return twin.train(model.training)


def _huggingface_config(config: TimeSformerConfig) -> TimesformerConfig:
    if config.image_size[0] != config.image_size[1]:
        raise ValueError(f"HuggingFace's TimeSformer has square frames, got {config.image_size}")
    return TimesformerConfig(
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_channels=config.in_channels,
        num_frames=config.num_frames,
        hidden_size=config.embed_dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.num_heads,
        intermediate_size=round(config.embed_dim * config.mlp_ratio),
        layer_norm_eps=config.norm_eps,
        num_labels=config.num_classes,  # type: ignore[call-arg]  # taken by the base class
    )
