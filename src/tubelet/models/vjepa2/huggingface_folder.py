"""A tubelet V-JEPA 2 as a folder that ``transformers`` loads: classifiers, and encoders without a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.models.vjepa2.huggingface import MODEL_TYPE, huggingface_rules
from tubelet.models.vjepa2.model import VJEPA2
from tubelet.models.vjepa2.preprocessor import write_preprocessor
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import HuggingFaceFolder
from tubelet.weights.mapping.rules import map_back

_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def to_huggingface(model: nn.Module) -> dict[str, Tensor]:
    """HuggingFace's tensors from a tubelet V-JEPA 2 or its pre-training model."""
    has_classes = "head.weight" in model.state_dict()
    return map_back(model.state_dict(), huggingface_rules(model, "vjepa2." if has_classes else ""))


def huggingface_folder(model: nn.Module, protocol: Protocol) -> HuggingFaceFolder:
    """The files of a VJEPA2ForVideoClassification, or of a VJEPA2Model where there are no classes.

    Raises:
        CheckpointError: HuggingFace has no such model, or no such protocol.
    """
    assert isinstance(model, VJEPA2)
    if type(model) is not VJEPA2:
        raise CheckpointError(f"HuggingFace has V-JEPA 2, no {type(model).__name__}")
    config, labels = model.config, [name for names in protocol.labels.values() for name in names]
    notes = [
        "the predictor, which a checkpoint does not hold, starts at random in transformers: classes do not need it, "
        "and of a VJEPA2Model ask with skip_predictor=True"
    ]
    if config.num_classes and config.pooler_norm_eps != config.norm_eps:
        notes.append(
            f"HuggingFace's probe has the encoder's epsilon {config.norm_eps:g}, this one's is "
            f"{config.pooler_norm_eps:g}: logits of weak features differ"
        )
    if config.drop_rate:
        notes.append(f"drop_rate {config.drop_rate:g} stays behind: HuggingFace has no such field")
    return HuggingFaceFolder(
        config=huggingface_config(config, labels),
        preprocessor=write_preprocessor(protocol),
        tensors=to_huggingface(model),
        notes=notes,
    )


def huggingface_config(config: VJEPA2Config, labels: Sequence[str]) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: HuggingFace has no model with these fields.
    """
    _check(config)
    return {
        "architectures": ["VJEPA2ForVideoClassification" if config.num_classes else "VJEPA2Model"],
        "model_type": MODEL_TYPE,
        "in_chans": config.in_channels,
        "frames_per_clip": config.num_frames,
        "crop_size": config.image_size[0],
        "patch_size": config.tubelet_size[1],
        "tubelet_size": config.tubelet_size[0],
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "hidden_act": _ACTIVATION_NAMES[config.activation],
        "qkv_bias": config.qkv_bias,
        "layer_norm_eps": config.norm_eps,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "drop_path_rate": config.drop_path_rate,
        "num_pooler_layers": config.pooler_depth - 1,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def _check(config: VJEPA2Config) -> None:
    refused = []
    if config.num_classes and config.pooler_num_heads != config.num_heads:
        refused.append(
            f"probe of {config.pooler_num_heads} heads on an encoder of {config.num_heads}: it would compute with "
            f"{config.num_heads} and give other logits"
        )
    if config.out_layers:
        refused.append(f"probe that reads the levels {', '.join(map(str, config.out_layers))}: it reads the last")
    if config.num_segments > 1:
        refused.append(
            f"probe that pools {config.num_segments} segments at once (one that pools each alone: --model.num_segments "
            "1, where it is converted)"
        )
    for name in ("image_size", "tubelet_size"):
        height, width = getattr(config, name)[-2:]
        if height != width:
            refused.append(f"{name} of {height}x{width}: its pictures and patches are square")
    if refused:
        raise CheckpointError(f"HuggingFace's V-JEPA 2 has no {'; no '.join(refused)}")
