"""How the V-JEPA 2 cases are checked: constructor arguments as our configs, and what the fixtures name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from parity.compare import assert_equal, compare, pair, random_source, read_arrays, read_input
from parity.data_path import check_processor
from tubelet.data.clips.frame_sampling import random_clip, view_clips
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models.vjepa2.config import VJEPA2Config, VJEPA2PredictorConfig
from tubelet.models.vjepa2.huggingface import from_huggingface, vjepa2_fields
from tubelet.models.vjepa2.huggingface_folder import to_huggingface
from tubelet.models.vjepa2.model import VJEPA2, take
from tubelet.models.vjepa2.predictor import VJEPA2Pretraining
from tubelet.models.vjepa2.preprocessor import read_protocol
from tubelet.models.vjepa2.weights import from_official, to_official
from tubelet.protocol import Protocol


def encoder_config(arguments: Mapping[str, Any], **probe: Any) -> VJEPA2Config:
    """Our config for the official constructor arguments."""
    patch = arguments["patch_size"]
    return VJEPA2Config(
        num_frames=arguments.get("num_frames", 64),
        image_size=pair(arguments["img_size"]),
        tubelet_size=(arguments["tubelet_size"], patch, patch),
        mlp_ratio=float(arguments["mlp_ratio"]),
        out_layers=tuple(arguments.get("out_layers", ())),
        **{name: arguments[name] for name in ("embed_dim", "depth", "num_heads", "norm_eps")},
        **{"num_classes": 0, **probe},
    )


def probe_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_classes": arguments["num_classes"],
        "pooler_depth": arguments["depth"],
        "pooler_num_heads": arguments["num_heads"],
        "pooler_norm_eps": arguments["norm_eps"],
    }


def predictor_config(arguments: Mapping[str, Any]) -> VJEPA2PredictorConfig:
    same = {name: arguments[name] for name in ("depth", "num_heads", "num_mask_tokens")}
    eps = arguments.get("norm_eps", 1e-6)
    width = arguments["predictor_embed_dim"]
    return VJEPA2PredictorConfig(embed_dim=width, mlp_ratio=float(arguments["mlp_ratio"]), norm_eps=eps, **same)


def config_from_huggingface(arguments: Mapping[str, Any], source: Mapping[str, Tensor]) -> VJEPA2Config:
    fields = vjepa2_fields(arguments, source, Path("config"), [])
    return VJEPA2Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def predictor_from_huggingface(arguments: Mapping[str, Any]) -> VJEPA2PredictorConfig:
    return VJEPA2PredictorConfig(
        embed_dim=arguments["pred_hidden_size"],
        depth=arguments["pred_num_hidden_layers"],
        num_heads=arguments["pred_num_attention_heads"],
        mlp_ratio=float(arguments.get("pred_mlp_ratio", 4.0)),
        num_mask_tokens=arguments["pred_num_mask_tokens"],
    )


def loaded(model: nn.Module, source: Mapping[str, Tensor], is_hf: bool = False) -> nn.Module:
    """The model with weights that map without rest, and back to the same bits under the same names."""
    state, report = (from_huggingface if is_hf else from_official)(source, model)
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state)
    assert_equal(to_huggingface(model) if is_hf else to_official(model), source)
    return model.eval()


def keep(seen: dict[str, Tensor], module: nn.Module, name: str, of_input: bool = False) -> None:
    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        value = args[0] if of_input else output[0] if isinstance(output, tuple) else output
        seen[name] = value.clone()

    module.register_forward_hook(hook)


def keep_blocks(seen: dict[str, Tensor], blocks: Any, name: str) -> None:
    for i, block in enumerate(blocks):
        keep(seen, block, f"{name}.{i}")


def check_encoder(case: Path, config: dict[str, Any]) -> None:
    """Also of another grid than constructed, which the tensor gives."""
    source = {f"encoder.{name}": tensor for name, tensor in read_arrays(case / "weights.npz").items()}
    model: Any = loaded(VJEPA2(encoder_config(config["constructor"])), source)
    seen: dict[str, Tensor] = {}
    keep(seen, model.encoder.tokenizer, "patch_embed")
    keep_blocks(seen, model.encoder.blocks, "blocks")
    with torch.inference_mode():
        seen["features"] = model.encoder(read_input(case))[0]
    compare(case, config, seen)


def check_predictor(case: Path, config: dict[str, Any]) -> None:
    """The context is encoded alone; every mask token that was recorded."""
    arguments = config["constructor"]
    model: Any = VJEPA2Pretraining(encoder_config(arguments["encoder"]), predictor_config(arguments["predictor"]))
    loaded(model, read_arrays(case / "weights.npz"))
    clip, context, target = read_input(case), *_masks(case)
    seen: dict[str, Tensor] = {}
    keep_blocks(seen, model.predictor.blocks, "predictor_blocks")
    keep(seen, model.predictor.blocks[0], "predictor_input", of_input=True)
    with torch.inference_mode():
        seen["context_features"] = model.encoder(clip, context)[0]
        seen["target_features"] = model.encoder(clip)[0]
        for name in config["outputs_shapes"]:
            if name.startswith("prediction.mask_index_"):
                number = int(name.rpartition("_")[2])
                seen[name] = model(clip, context, target, number)
        last = max(int(name.rpartition("_")[2]) for name in seen if name.startswith("prediction."))
        model(clip, context, target, last)  # the one that the blocks were recorded of
    compare(case, config, seen)


def check_probe(case: Path, config: dict[str, Any]) -> None:
    """All segments of a view are pooled at once, of one level or several; scores are averaged over the views."""
    arguments, clips = config["constructor"], read_input(case)  # S V B C T H W
    fields = {**probe_fields(arguments["classifier"]), "num_segments": len(clips)}
    model: Any = loaded(VJEPA2(encoder_config(arguments["encoder"], **fields)), read_arrays(case / "weights.npz"))
    views = rearrange(clips, "s v b c t h w -> v b c (s t) h w")
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        seen["features"] = torch.stack([model.forward_features(view) for view in views])
        seen["logits"] = torch.stack([model(view) for view in views])
        keep_blocks(seen, model.pooler.blocks, "view0.pooler.blocks")
        keep(seen, model.pooler, "view0.pooled")
        model(views[0])
    seen["view0.pooled"] = seen["view0.pooled"][:, None]
    seen["probs"] = seen["logits"].softmax(-1).mean(0)
    compare(case, config, seen)


def check_model(case: Path, config: dict[str, Any]) -> None:
    """transformers' model, which encodes all tokens and picks the context behind the encoder."""
    source, arguments = read_arrays(case / "weights.npz"), config["hf_config"]
    predictor = predictor_from_huggingface(arguments)
    model: Any = loaded(VJEPA2Pretraining(config_from_huggingface(arguments, source), predictor), source, is_hf=True)
    clip, context, target = read_input(case).transpose(1, 2), *_masks(case)
    seen: dict[str, Tensor] = {}
    keep(seen, model.encoder.tokenizer, "embed")
    keep_blocks(seen, model.encoder.blocks, "layers")
    with torch.inference_mode():
        tokens, grid = model.encoder(clip)
        seen["last_hidden_state"] = tokens
        seen["masked_hidden_state"], seen["target_hidden_state"] = take(tokens, context), take(tokens, target)
        seen["predictor_last_hidden_state"] = model.predictor(take(tokens, context), context, target, grid)
        every = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
        seen["default_masks.predictor_last_hidden_state"] = model.predictor(tokens, every, every, grid)
    compare(case, config, seen)


def check_classifier(case: Path, config: dict[str, Any]) -> None:
    """transformers' classifier of a video, and of an image that it repeats."""
    source = read_arrays(case / "weights.npz")
    model: Any = loaded(VJEPA2(config_from_huggingface(config["hf_config"], source)), source, is_hf=True)
    assert model.config.pooler_num_heads == config["pooler"]["num_heads"]
    image = torch.from_numpy(np.load(case / "image.npy", allow_pickle=False)).transpose(1, 2)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        seen["image.features"], seen["image.logits"] = model.forward_features(image), model(image)
        keep_blocks(seen, model.pooler.blocks, "pooler.self_attention_layers")
        keep(seen, model.pooler, "pooled")
        clip = read_input(case).transpose(1, 2)
        seen["features"], seen["logits"] = model.forward_features(clip), model(clip)
    compare(case, config, seen)


def check_manifest(content: Mapping[str, Any]) -> None:
    """Encoder and predictor, or a probe, at real size: names, shapes, parameters and the encoder's multiply-adds."""
    arguments = content["constructor"]
    source = {name.replace("/", ".", 1): tensor for name, tensor in random_source(content).items()}
    with torch.device("meta"):
        if "encoder" in arguments:
            config = encoder_config(arguments["encoder"])
            model: Any = VJEPA2Pretraining(config, predictor_config(arguments["predictor"]))
        else:
            config = VJEPA2Config(embed_dim=arguments["embed_dim"], depth=1, **probe_fields(arguments))
            model = nn.ModuleDict({"pooler": (whole := VJEPA2(config)).pooler, "head": whole.head})
            source = {f"classifier.{name}": tensor for name, tensor in source.items()}
    state, report = from_official(source, model)
    assert not report.dropped
    assert not report.fresh
    assert count_parameters(model) == content["total_parameters"]
    for what, flops in content["flops"].items():
        if what.startswith("encoder_"):
            macs = count_macs(_tokens_of(model), tuple(flops["input_shape"][1:]))
            assert macs == pytest.approx(flops["total"] / 2, rel=1e-3)
    model.load_state_dict(state, assign=True)
    assert_equal(to_official(model), source)


def check_huggingface_manifest(content: Mapping[str, Any]) -> None:
    """A folder at real size; a checkpoint of ours has no predictor, whose names are dropped and counted."""
    source = random_source(content)
    with torch.device("meta"):
        config = config_from_huggingface(content["constructor"], source)
        model: Any = VJEPA2(config)
        trained = VJEPA2Pretraining(config, predictor_from_huggingface(content["constructor"]))
    state, report = from_huggingface(source, model)
    assert set(report.dropped) == {name for name in source if "predictor" in name}
    assert not report.fresh
    size = sum(tensor.numel() for name, tensor in source.items() if name in report.dropped)
    assert count_parameters(model) + size == content["total_parameters"]
    model.load_state_dict(state, assign=True)
    assert_equal(to_huggingface(model), {n: t for n, t in source.items() if n not in report.dropped})
    assert count_parameters(trained.predictor) == size


def check_preprocess(case: Path, config: dict[str, Any]) -> None:
    size = config["constructor"]["crop_size"]
    sizes = VJEPA2Config(num_classes=0, num_frames=2, image_size=(size, size), tubelet_size=(2, size, size))
    check_processor(case, config, lambda folder: read_protocol(folder, sizes), {})


def check_frame_sampling(case: Path, config: dict[str, Any]) -> None:
    """The original's windows, exactly: in evaluation without a draw or with one, and in pre-training."""
    rows = [row for row in config["evaluation"]["rows"] if "clips" in row]
    pretraining = [row for row in config["pretraining_fps"]["rows"] if "clips" in row]
    assert len({row["draw"] for row in rows}) > 1
    assert pretraining
    for row in rows:
        assert _windows(row, row["num_clips"], row["frame_step"]) == row["clips"], row
    for row in pretraining:
        assert _windows(row, 1, int(np.ceil(row["video_fps"])) // 4) == row["clips"], row


def _windows(row: Mapping[str, Any], num_segments: int, stride: int) -> list[list[int]]:
    count, frames, draw = row["num_frames"], row["fpc"], row.get("draw")
    protocol = Protocol(
        num_frames=num_segments * frames, sampling="windows", num_segments=num_segments, frame_stride=stride
    )
    times = np.arange(count) / 30.0
    if draw is None:
        (plan,) = view_clips(times, protocol, 1)
    else:
        rng: Any = SimpleNamespace(integers=lambda places: int((places - 1) * draw))
        plan = random_clip(times, protocol, rng)
    return np.array(plan.indices).reshape(num_segments, frames).tolist()


def _masks(case: Path) -> tuple[Tensor, Tensor]:
    context, target = (np.load(case / f"{name}_mask.npy", allow_pickle=False) for name in ("context", "target"))
    return torch.from_numpy(context), torch.from_numpy(target)


class _Tokens(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clip: Tensor) -> Tensor:
        tokens: Tensor = self.encoder(clip)[0]
        return tokens


def _tokens_of(model: Any) -> nn.Module:
    return _Tokens(model.encoder)
