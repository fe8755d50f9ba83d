"""How the VideoPrism cases are checked: constructor arguments of the original and of transformers as our configs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.transforms.v2.functional import InterpolationMode, resize

from parity.compare import assert_equal, compare, random_source, read_arrays, read_input
from tubelet.config import from_dict
from tubelet.data.clips.frame_sampling import view_clips
from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models.videoprism.config import VideoPrismConfig, VideoTowerConfig
from tubelet.models.videoprism.huggingface import (
    from_huggingface,
    huggingface_rules,
    to_huggingface,
    videoprism_fields,
)
from tubelet.models.videoprism.model import VideoPrism, VideoPrismTower, unit_length
from tubelet.models.videoprism.preprocessor import read_protocol
from tubelet.models.videoprism.recognize import protocol_of
from tubelet.models.videoprism.weights import from_official, official_rules, stacked_layers
from tubelet.weights.mapping.rules import map_back

_TOWER_CLASSES = ("FactorizedVideoCLIP", "VideoPrismVideoModel", "lvt_public")


def videoprism(content: Mapping[str, Any], kind: str) -> VideoPrism:
    """Our model for the arguments of a case or a manifest."""
    model_class = VideoPrismTower if kind == "videoprism_video_clip" else VideoPrism
    if "package" in content["source"]:
        arguments = content.get("hf_config") or content["constructor"]
        fields = videoprism_fields(arguments, Path("config"), model_class)
        classes = content.get("num_labels") or arguments.get("num_labels", 3)
    else:
        arguments = content["constructor"]
        fields = _fields(arguments.get("encoder_params", arguments))
        classes = arguments.get("num_classes", 3)
        if model_class is VideoPrismTower:
            fields["auxiliary_depth"] = arguments["num_auxiliary_layers"]
    config = from_dict(
        VideoTowerConfig if model_class is VideoPrismTower else VideoPrismConfig,
        {**fields, "num_classes": classes},
        where="constructor",
    )
    return model_class(config)


def _fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    n_t, n_h, n_w = arguments["pos_emb_shape"]
    patch, width = arguments["patch_size"], arguments["model_dim"]
    assert arguments.get("norm_policy", "pre") == "pre"
    return {
        "num_frames": n_t,
        "image_size": [n_h * patch, n_w * patch],
        "patch_size": patch,
        "embed_dim": width,
        "depth": arguments["num_spatial_layers"],
        "temporal_depth": arguments["num_temporal_layers"],
        "num_heads": arguments["num_heads"],
        "mlp_ratio": arguments["mlp_dim"] / width,
        "soft_cap": arguments["atten_logit_cap"],
    }


def check(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array within its bound; the weights map back to the same bits under the same names."""
    model, source = videoprism(config, config["kind"]).eval(), read_arrays(case / "weights.npz")
    of_transformers = "package" in config["source"]
    state, report = (from_huggingface if of_transformers else from_official)(source, model)
    assert not report.dropped
    assert {name.partition(".")[0] for name in report.fresh} == set(FRESH[config["kind"]])
    model.load_state_dict(state)
    clip = read_input(case)
    clip = rearrange(clip, "b t c h w -> b c t h w" if of_transformers else "b t h w c -> b c t h w")
    with torch.inference_mode():
        compare(case, config, recorded(model, clip))
    assert_equal(back(model, source, report.fresh), source)


FRESH = {
    "videoprism_encoder": ("pool", "head"),
    "videoprism_classifier": (),
    "videoprism_video_clip": ("head",),
}


def back(model: VideoPrism, source: Mapping[str, Tensor], fresh: Mapping[str, str]) -> dict[str, Tensor]:
    """Their tensors from ours, of those that the source had, and under its names."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in fresh}
    if any(name.startswith("params/") for name in source):
        has_pool = any("pooling_attention" in name for name in source)
        return stacked_layers(map_back(state, official_rules(model, has_pool)))
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in source) else ""
    return map_back(state, huggingface_rules(prefix))


def recorded(model: VideoPrism, clip: Tensor) -> dict[str, Tensor]:
    """What the cases name, in the originals' layouts, from one pass with hooks."""
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, name: str, layout: str, of_input: bool = False) -> None:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            seen[name] = rearrange((args[0] if of_input else output), layout).clone()

        module.register_forward_hook(hook)

    for kind, stage in (("spatial", model.spatial_encoder), ("temporal", model.temporal_encoder)):
        keep(stage.blocks[0], f"{kind}_embeddings", "b a n d -> (b a) n d", of_input=True)
        for i, block in enumerate(stage.blocks):
            keep(block, f"{kind}_layers.{i}", "b a n d -> (b a) n d")
    keep(model.spatial_encoder, "layernorm1", "b t p d -> (b t) p d")
    keep(model.spatial_encoder, "spatial_features", "b t p d -> b (t p) d")
    keep(model.temporal_encoder, "spatiotemporal_features", "b p t d -> b (t p) d")
    keep(model.pool, "global_embeddings", "b d -> b d")
    seen["logits"] = model(clip)
    if isinstance(model, VideoPrismTower):
        seen["video_embeddings"] = unit_length(seen["global_embeddings"])
        torch.testing.assert_close(model.video_embedding(clip), seen["video_embeddings"])
        seen["frame_embeddings"] = model.frame_embeddings(clip)
    for name in ("embeddings", "last_hidden_state", "features"):
        seen[name] = seen["spatiotemporal_features"]
    assert model.tokens(clip).flatten(1, 3).equal(seen["features"])
    seen["pooled"] = seen["global_embeddings"]
    return seen


def check_frame_sampling(case: Path, config: dict[str, Any]) -> None:
    """The frames of the original's demonstrations; transformers' sampling is the same, or refuses a short video."""
    for row in (*config["rows"], *config["transformers_rows"]):
        protocol, _ = protocol_of(VideoPrismConfig(num_frames=row["samples"]))
        (plan,) = view_clips(np.arange(row["num_frames"]) / 25, protocol)
        if "error" in row:
            assert row["samples"] > row["num_frames"]
            assert plan.notes
        else:
            assert list(plan.indices) == row["frames"]


def check_preprocess(case: Path, config: dict[str, Any]) -> None:
    """Without a resize the same values. Where theirs squeezes the frames, bicubic, ours says that it crops."""
    (height, width), frames = config["constructor"]["size"].values(), np.load(case / "input.npy", allow_pickle=False)
    corner = frames[:, :, :height, :width].transpose(0, 2, 3, 1)
    sizes = VideoPrismConfig(num_frames=len(frames), image_size=(height, width), patch_size=1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "video_preprocessor_config.json").write_text(
            json.dumps(config["constructor"]), encoding="utf-8"
        )
        protocol, notes = read_protocol(Path(folder), sizes)
    assert any("squeezes frames" in note for note in notes)
    ours = normalize(read_views(corner, protocol).pixels[0], protocol).transpose(0, 1)  # T C H W
    outputs, atol = read_arrays(case / "output.npz"), config["tolerance"]["atol"]
    torch.testing.assert_close(ours[None], outputs["no_resize_needed"], rtol=0, atol=atol)
    squeezed = resize(torch.from_numpy(frames), [height, width], InterpolationMode.BICUBIC, antialias=True) / 255
    torch.testing.assert_close(squeezed[None], outputs["as_converted"], rtol=0, atol=atol)


def check_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly and back to the same bits; parameters and multiply-adds are as there."""
    named = content["source"].get("class", "")
    kind = "videoprism_video_clip" if any(name in named for name in _TOWER_CLASSES) else "videoprism_encoder"
    with torch.device("meta"):
        model = videoprism(content, kind)
    source = random_source(content)
    of_transformers = "package" in content["source"]
    state, report = (from_huggingface if of_transformers else from_official)(source, model)
    assert all(name.startswith("params/text_encoder/") or name.startswith("text_encoder/") for name in report.dropped)
    made = sum(t.numel() for name, t in state.items() if name not in report.fresh)
    text = sum(t.numel() for name, t in source.items() if "text_encoder/" in name)
    assert made + text == content["total_parameters"]
    assert made == count_parameters(model) - sum(model.get_parameter(name).numel() for name in report.fresh)
    model.load_state_dict({n: torch.zeros(t.shape) if t.is_meta else t for n, t in state.items()}, assign=True)
    kept = {name: tensor for name, tensor in source.items() if "text_encoder/" not in name}
    assert_equal(back(model, kept, report.fresh), kept)
    if content["flops"] is not None and "pool.query" not in report.fresh:
        n, t, c, h, w = content["flops"]["input_shape"]
        assert n == 1
        assert count_macs(model, (c, t, h, w)) == pytest.approx(content["flops"]["total"] / 2, rel=1e-3)
    if "classifier.weight" in source:
        assert_equal(to_huggingface(model), source)
