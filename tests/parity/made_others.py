"""Parity cases of the other families that are made here, in shapes that no stored case has.

Those of HuggingFace's classes come from ``transformers``, the images' numbers from PIL, what an initialization copies
from plain indexing. The rest comes from our own models under the original's names: such a case says that the harness
takes its shape, and nothing about the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

from parity import timesformer, uniformerv2, vjepa2, vtn
from parity.making import randomize, write_case
from tubelet.models.timesformer import weights as timesformer_weights
from tubelet.models.uniformerv2 import weights as uniformerv2_weights
from tubelet.models.vjepa2 import weights as vjepa2_weights
from tubelet.models.vtn import weights as vtn_weights

_LOGITS = {"logits_atol": 3e-5, "intermediates_max_abs_over_tensor_max": 3e-5}
_CLIP = {
    **{"t_size": 4, "temporal_downsample": False, "no_lmhra": True, "double_lmhra": True, "input_resolution": 16},
    **{"patch_size": 8, "width": 32, "layers": 3, "heads": 2, "n_head": 4, "dw_reduction": 1.5, "num_classes": 3},
    **{"return_list": [0, 2], "mlp_dropout": [0.0, 0.0], "cls_dropout": 0.0},
}
_UNIFORMERV2 = {"repo": "https://github.com/OpenGVLab/UniFormerV2", "class": "VisionTransformer"}
_TIMESFORMER = {"repo": "https://github.com/facebookresearch/TimeSformer", "class": "VisionTransformer"}
_DIVIDED = {
    **{
        "attention_type": "divided_space_time",
        "img_size": [16, 24],
        "patch_size": 8,
        "num_classes": 4,
        "num_frames": 3,
    },
    **{"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "qkv_bias": True, "norm_eps": 1e-6},
}


def make_vtn(folder: Path, block: str) -> Path:
    """A narrow ResNet of ``block`` on frames that are no squares."""
    arguments = {
        "num_classes": 3,
        "backbone": {"type": "resnet", "img_size": [32, 48], "block": block, "layers": [1, 2, 1, 1]},
        **{"hidden_dim": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "attention_window": [4]},
        **{"max_position_embeddings": 20, "intermediate_size": 40, "mlp_dim": 24},
        **{"layer_norm_eps_encoder": 1e-12, "layer_norm_eps_head": 1e-5},
    }
    arguments["backbone"]["channels"] = [8, 8, 16, 32] if block == "basic" else [4, 4, 8, 8]  # type: ignore[index]
    model: Any = randomize(vtn.vtn_from_official(arguments, in_channels=3))
    clip, position = torch.randn(2, 3, 5, 32, 48), torch.tensor([[0, 3, 6, 9, 30]] * 2)
    with torch.inference_mode():
        outputs = vtn.record(model, clip, position)
    config = {
        "model": "VTN",
        "source": {"repository": "bomri/SlowFast"},
        "constructor": arguments,
        "tolerance": {"atol": 2e-5, "rtol": 1e-4},
    }
    weights = vtn_weights.to_official(model)
    return write_case(folder, config, input=clip, position_ids=position, weights=weights, output=outputs)


def make_timesformer(folder: Path, attention: str) -> Path:
    """Frames that are no squares, no bias in the attention's projections."""
    arguments = {**_DIVIDED, "attention_type": attention, "qkv_bias": False}
    model: Any = randomize(timesformer.timesformer_from_official(arguments))
    clip, seen = torch.randn(2, 3, 3, 16, 24), timesformer.record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(clip)
    config = {"source": _TIMESFORMER, "constructor": arguments, "tolerance": _LOGITS}
    return write_case(folder, config, input=clip, weights=timesformer_weights.to_official(model), output=seen)


def make_timesformer_init(folder: Path, attention: str) -> Path:
    """From an image ViT of 3 x 2 places and another number of classes to 2 x 3 places of the same rows."""
    arguments = {**_DIVIDED, "attention_type": attention, "img_size": 32, "num_frames": 5}
    model: Any = randomize(timesformer.timesformer_from_official(arguments))
    after = timesformer_weights.to_official(model)
    fresh = [name for name in after if "time_embed" in name or "temporal_fc" in name]
    after |= {name: torch.zeros_like(after[name]) for name in fresh}
    image = {name: tensor for name, tensor in after.items() if "temp" not in name and "time" not in name}
    image |= {"head.weight": torch.randn(9, 32), "head.bias": torch.randn(9)}
    image["pos_embed"] = torch.randn(1, 1 + 9, 32)
    rows = torch.tensor([i * 9 // 16 for i in range(16)])
    after["pos_embed"] = torch.cat([image["pos_embed"][:, :1], image["pos_embed"][:, 1 + rows]], dim=1)
    for name in [n for n in after if ".temporal_norm1" in n or ".temporal_attn" in n]:
        after[name] = after[name.replace("temporal_", "")]
    over_grid = [(row * 3 // 4) * 3 + column * 3 // 4 for row in range(4) for column in range(4)]
    apart = (image["pos_embed"][:, 1 + torch.tensor(over_grid)] - after["pos_embed"][:, 1:]).abs().max()
    model.load_state_dict(timesformer_weights.from_official(after, model)[0])
    clip = torch.randn(1, 3, 5, 32, 32)
    config = {
        **{"source": _TIMESFORMER, "constructor": arguments, "image_vit": {"grid": 3, "classes": 9}},
        **{"left_at_init": fresh, "pos_embed_difference_from_a_2d_nearest_resize": float(apart)},
        "tolerance": _LOGITS,
    }
    with torch.inference_mode():
        outputs = {"logits": model(clip)}
    return write_case(folder, config, input=clip, image_vit_state_dict=image, weights=after, output=outputs)


def make_uniformerv2(folder: Path, local: bool) -> Path:
    arguments = {**_CLIP, "no_lmhra": not local, "temporal_downsample": local, "mlp_dropout": [0.5, 0.1]}
    model: Any = randomize(uniformerv2.uniformerv2_from_official(arguments))
    clip, seen = torch.randn(2, 3, 4, 16, 16), uniformerv2.record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(clip)
    seen.pop("fused")  # a case need not record all that there is
    config = {"source": _UNIFORMERV2, "constructor": arguments, "tolerance": _LOGITS}
    return write_case(folder, config, input=clip, weights=uniformerv2_weights.to_official(model), output=seen)


def make_uniformerv2_init(folder: Path, downsample: bool) -> Path:
    """From a whole CLIP, whose text tower has the same names without ``visual.``."""
    arguments = {**_CLIP, "temporal_downsample": downsample, "kernel_size": 3}
    model: Any = randomize(uniformerv2.uniformerv2_from_official(arguments))
    after = uniformerv2_weights.to_official(model)
    trunk = ("class_embedding", "positional_embedding", "conv1", "ln_pre", "transformer.resblocks")
    taken = [name for name in after if name.startswith(trunk)]
    clip_weights = {f"visual.{name}": after[name] for name in taken}
    kernel = after["conv1.weight"]
    middle = kernel.shape[2] // 2
    clip_weights["visual.conv1.weight"] = kernel[:, :, middle].clone()
    after["conv1.weight"] = torch.zeros_like(kernel)
    after["conv1.weight"][:, :, middle] = kernel[:, :, middle]
    clip_weights |= {"visual.proj": torch.randn(32, 8), "positional_embedding": torch.randn(7, 12)}
    model.load_state_dict(uniformerv2_weights.from_official(after, model)[0])
    clip = torch.randn(2, 3, 4, 16, 16)
    config = {
        **{"source": _UNIFORMERV2, "constructor": arguments, "keys_changed_by_loading": taken},
        **{"keys_left_at_init": [name for name in after if name not in taken], "tolerance": _LOGITS},
    }
    with torch.inference_mode():
        outputs = {"logits": model(clip)}
    return write_case(folder, config, input=clip, clip_state_dict=clip_weights, weights=after, output=outputs)


def make_train_step(folder: Path, wiring: str) -> Path:
    """A step of another batch and wiring: without BatchNorm, with it, or with an image ViT that does not learn."""
    arguments = {**_CLIP, "no_lmhra": wiring != "local", "frozen": wiring == "frozen"}
    model: Any = randomize(uniformerv2.uniformerv2_from_official(arguments))
    weights = {name: tensor.clone() for name, tensor in uniformerv2_weights.to_official(model).items()}
    clip, labels = torch.randn(3, 3, 4, 16, 16), torch.tensor([2, 0, 1])
    logits = model.train()(clip)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    outputs = {"labels": labels, "logits": logits, "loss": loss[None]}
    after = uniformerv2_weights.to_official(model)
    outputs |= {f"buffer_after/{name}": tensor for name, tensor in after.items() if uniformerv2.is_buffer(name)}
    outputs |= {f"grad/{name}": tensor for name, tensor in uniformerv2.gradients(model).items()}
    config = {
        **{"source": _UNIFORMERV2, "constructor": arguments, "mode": "train"},
        "tolerance": {"logits_atol": 2e-5, "grad_atol": 2e-5, "buffer_atol": 1e-5},
    }
    return write_case(folder, config, input=clip, weights=weights, output=outputs)


def make_hf_vivit(folder: Path, activation: str) -> Path:
    """``transformers``' ViViT under the names of transformers 5, on frames of another size and number."""
    constructor = {
        **{"image_size": 24, "num_frames": 6, "tubelet_size": [3, 8, 8], "hidden_size": 32, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 48, "num_labels": 3, "hidden_act": activation},
    }
    model: Any = randomize(VivitForVideoClassification(VivitConfig(**constructor, attn_implementation="eager")))
    clip = torch.randn(2, 6, 3, 24, 24)
    with torch.inference_mode():
        answer = model(clip, output_hidden_states=True)
    outputs = {"logits": answer.logits, "encoder_input": answer.hidden_states[0]}
    config = {
        **{"package": "transformers", "class": "VivitForVideoClassification", "constructor": constructor},
        "tolerance": {"tol": 1e-5},
    }
    return write_case(folder, config, input=clip, weights=model.state_dict(), output=outputs)


def make_hf_timesformer(folder: Path, attention: str) -> Path:
    """``transformers``' TimeSformer with another number of classes, on frames wider than it was made for."""
    content = {
        **{"image_size": 16, "patch_size": 8, "num_frames": 3, "hidden_size": 32, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 48, "attention_type": attention},
    }
    settings = TimesformerConfig(**content, num_labels=5, attn_implementation="eager")
    model: Any = randomize(TimesformerForVideoClassification(settings))
    clip = torch.randn(2, 3, 3, 16, 24)
    with torch.inference_mode():
        answer = model(clip, output_hidden_states=True)
    outputs: dict[str, Tensor] = {"logits": answer.logits, "hidden_states.0": answer.hidden_states[0]}
    config = {
        "source": {"package": "transformers", "class": "TimesformerForVideoClassification"},
        **{"hf_config": content, "num_labels": 5, "tolerance": _LOGITS},
    }
    return write_case(folder, config, input=clip, weights=model.state_dict(), output=outputs)


_HF_VJEPA2 = {
    **{"patch_size": 8, "crop_size": 16, "frames_per_clip": 4, "tubelet_size": 2, "hidden_size": 36},
    **{"num_attention_heads": 2, "num_hidden_layers": 2, "mlp_ratio": 2.0, "num_pooler_layers": 1},
    **{"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "pred_num_mask_tokens": 2},
}


def make_hf_vjepa2_classifier(folder: Path) -> Path:
    """``transformers``' V-JEPA 2 with a probe, of a video and of an image."""
    model: Any = randomize(VJEPA2ForVideoClassification(VJEPA2Config(**_HF_VJEPA2, num_labels=3)))
    clip, image = torch.randn(2, 4, 3, 16, 16), torch.randn(2, 1, 3, 16, 16)
    with torch.inference_mode():
        outputs = {"logits": model(clip).logits, "image.logits": model(image).logits}
    weights = {name: t for name, t in model.state_dict().items() if "predictor" not in name}
    config = {"family": "vjepa2", "kind": "vjepa2_classifier", "hf_config": _HF_VJEPA2, "tolerance": {"tol": 2e-5}}
    config |= {"pooler": {"num_heads": 2}}
    return write_case(folder, config, input=clip, image=image, weights=weights, output=outputs)


def make_hf_vjepa2_model(folder: Path) -> Path:
    """``transformers``' V-JEPA 2 with its predictor, of some tokens and of all."""
    model: Any = randomize(VJEPA2Model(VJEPA2Config(**_HF_VJEPA2)))
    clip, context, target = (
        torch.randn(2, 4, 3, 16, 16),
        torch.tensor([[0, 2, 5]] * 2),
        torch.tensor([[1, 3, 7, 4]] * 2),
    )
    with torch.inference_mode():
        some, every = model(clip, context_mask=[context], target_mask=[target]), model(clip)
    outputs = {
        "last_hidden_state": some.last_hidden_state,
        "predictor_last_hidden_state": some.predictor_output.last_hidden_state,
        "default_masks.predictor_last_hidden_state": every.predictor_output.last_hidden_state,
    }
    config = {"family": "vjepa2", "kind": "vjepa2_model", "hf_config": _HF_VJEPA2, "tolerance": {"tol": 2e-5}}
    masks = {"context_mask": context, "target_mask": target}
    return write_case(folder, config, input=clip, weights=model.state_dict(), output=outputs, **masks)


def make_vjepa2_predictor(folder: Path) -> Path:
    """Our own encoder and predictor under the official names."""
    encoder = {"img_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2, "embed_dim": 24, "depth": 1}
    encoder |= {"num_heads": 2, "mlp_ratio": 2.0, "norm_eps": 1e-6}
    predictor = {"predictor_embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2.0, "num_mask_tokens": 2}
    config = vjepa2.encoder_config(encoder)
    model: Any = randomize(vjepa2.VJEPA2Pretraining(config, vjepa2.predictor_config(predictor)))
    clip, context, target = torch.randn(2, 3, 4, 16, 16), torch.tensor([[0, 2, 5]] * 2), torch.tensor([[1, 7, 4]] * 2)
    with torch.inference_mode():
        predicted = model(clip, context, target, 3)
    content = {"family": "vjepa2", "kind": "vjepa2_predictor", "tolerance": {"tol": 1e-5}}
    content |= {"constructor": {"encoder": encoder, "predictor": predictor}}
    content |= {"outputs_shapes": {"prediction.mask_index_3": list(predicted.shape)}}
    masks, weights = {"context_mask": context, "target_mask": target}, vjepa2_weights.to_official(model)
    output = {"prediction.mask_index_3": predicted}
    return write_case(folder, content, input=clip, weights=weights, output=output, **masks)


def make_hf_preprocess(folder: Path, short: int) -> Path:
    """Resized by PIL, cropped and scaled here: other sizes, variants and names of variants."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    size = (70 * short // 50, short)
    resized = np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BILINEAR)) for f in frames])
    outputs = {
        "all": _cropped(resized) / 127.5 * 2 - 3,
        "unit": _cropped(resized) / 255,
        "whole": _cropped(frames) / 127.5 - 1,
    }
    words = {
        "all": "all defaults, so the range is [-3,1]",
        "unit": "rescale 1/255, offset False, do_normalize False",
        "whole": "no resize, range [-1,1]",
    }
    config = {
        **{"package": "transformers", "class": "VivitImageProcessor"},
        "constructor": {"size": {"shortest_edge": short}, "crop_size": {"height": 20, "width": 28}},
        **{"variants": words, "tolerance": {"atol": 1e-6}},
    }
    arrays = {name: torch.from_numpy(a).permute(0, 3, 1, 2)[None].float() for name, a in outputs.items()}
    return write_case(folder, config, input=torch.from_numpy(frames), output=arrays)


def _cropped(frames: np.ndarray) -> np.ndarray:
    """The middle 20 x 28 pixels."""
    top, left = (frames.shape[1] - 20) // 2, (frames.shape[2] - 28) // 2
    return frames[:, top : top + 20, left : left + 28].astype(np.float64)
