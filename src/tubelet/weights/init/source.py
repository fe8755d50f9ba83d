"""What ``--init X`` names: a model of timm, a file or folder of image weights, or a checkpoint of a video model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError
from tubelet.models import MODELS
from tubelet.models.uniformerv2.init import holds_trunk, style_fields
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.huggingface import license_of
from tubelet.models.vivit.init import COME_ALONG, InitConfig
from tubelet.models.vivit.model import ViViTAveragePool, ViViTJoint
from tubelet.models.vtn.init import backbone_fields
from tubelet.models.vtn.model import VTN, VTNConfig
from tubelet.weights.checkpoint.checkpoint import RECORD, read_record, stated_license
from tubelet.weights.convert.plain import open_plain
from tubelet.weights.hub import local_folder, parse_hub_name
from tubelet.weights.init.image_formats import image_vit
from tubelet.weights.init.image_network import ImageNetwork, network_of_tensors, network_of_timm, network_of_vit
from tubelet.weights.init.image_vit import ImageViT, NoPlainViTError, image_of_vivit
from tubelet.weights.init.open_clip import is_open_clip, network_of_open_clip
from tubelet.weights.init.video import VideoSource
from tubelet.weights.mapping.read import read_weights

_CONFIG = "config.json"
_VIDEO_MODELS = ("vivit", "timesformer")  # of transformers, read as checkpoints are
_HF_ACTIVATIONS = {"gelu": "gelu", "gelu_fast": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def resolve_source(source: str) -> str:
    """The source as a recipe keeps it: a path made absolute, a timm model with the tag of its weights."""
    if Path(source).exists():
        return str(Path(source).resolve())
    return _timm_name(source) or source


# What a model can start from: an image ViT that is taken apart, an image network that stays whole, a video model.
InitSource = ImageViT | ImageNetwork | VideoSource
# Models that hold an image network whole, under the names that its own library gives it.
_HOLD_A_NETWORK = (VTN, UniFormerV2, UniFormerV2Local)


def read_source(init: InitConfig, model_name: str | None = None) -> InitSource:
    """The model that ``init.source`` names, with its weights; a ViViT made for one frame is an image model.

    Args:
        model_name: the video model that will start from it, which decides whether an image model is taken apart or
            stays whole; none: taken apart, as ViViT does, where it is an image ViT that can be.

    Raises:
        CheckpointError: nothing of that name, nothing to be had without a network, or no model that can be read.
    """
    if model_name is not None and MODELS[model_name][0] in _HOLD_A_NETWORK:
        source = _read(init, whole=True)
        return network_of_vit(source) if isinstance(source, ImageViT) else source
    try:
        return _read(init, whole=False)
    except NoPlainViTError:
        if model_name is not None:
            raise
        network = _read(init, whole=True)
        if isinstance(network, ImageNetwork) and network.architecture is None and not holds_trunk(network):
            raise
        return network


def _read(init: InitConfig, whole: bool) -> InitSource:
    path, timm_name = Path(init.source), _timm_name(init.source)
    if path.is_file():
        weights = read_weights(path)
        if whole:
            return network_of_tensors(weights, path.name, init)
        return image_vit(weights, path.name, image_grid=init.image_grid)
    if timm_name is not None and not path.is_dir():
        return _licensed_folder(local_folder(_on_hub(timm_name)), timm_name, init, whole)
    if not path.is_dir() and parse_hub_name(init.source) is None:
        raise CheckpointError(
            f"{init.source}: no such file or folder, no model of timm (such as vit_base_patch16_224.augreg_in21k) and "
            "no owner/name on huggingface.co"
        )
    folder = local_folder(init.source)
    if (folder / RECORD).is_file() or _config_of(folder).get("model_type") in _VIDEO_MODELS:
        return _of_checkpoint(init)
    if any((folder / name / RECORD).is_file() for name in ("best", "last")):
        read_record(folder)  # says which checkpoint of the run to give
    return _licensed_folder(folder, init.source, init, whole)


def _timm_name(source: str) -> str | None:
    """``vit_base_patch16_224`` -> ``vit_base_patch16_224.augreg2_in21k_ft_in1k``; none where timm has no such model.

    Raises:
        CheckpointError: timm has the model, but no weights with that tag.
    """
    architecture, _, tag = source.partition(".")
    if not timm.is_model(architecture) or Path(source).exists():
        return None
    try:
        config = get_pretrained_cfg(source)
    except RuntimeError:
        config = None
    known = timm.list_pretrained(f"{architecture}.*")
    if config is None or not config.hf_hub_id:
        tags = ", ".join(name.partition(".")[2] for name in known)
        raise CheckpointError(f"timm has no weights '{tag}' of {architecture}; it has {tags or 'none'}")
    return f"{architecture}.{config.tag}" if config.tag else architecture


def _on_hub(name: str) -> str:
    config: Any = get_pretrained_cfg(name)
    repo: str = config.hf_hub_id
    return f"hf://{repo}{name}" if repo.endswith("/") else f"hf://{repo}"


def _of_checkpoint(init: InitConfig) -> ImageViT | VideoSource:
    model, record = open_plain(init.source)
    config: Any = model.config
    if isinstance(model, ViViTJoint | ViViTAveragePool) and config.grid[0] == config.tubelet_size[0] == 1:
        image = image_of_vivit(config, model.state_dict(), init.source)
        known = {"mean": record.protocol.mean, "std": record.protocol.std, "labels": record.labels}
        return ImageViT(**{**vars(image), **known, "license": record.license})
    return VideoSource(
        model=model,
        model_name=record.model_name,
        model_config=record.model_config,
        protocol=record.protocol,
        name=init.source,
        license=record.license,
    )


def _licensed_folder(folder: Path, name: str, init: InitConfig, whole: bool) -> ImageViT | ImageNetwork:
    """The image model of a folder, with the license that its model card names."""
    return dataclasses.replace(_image_folder(folder, name, init, whole), license=stated_license(license_of(folder)))


def _image_folder(folder: Path, name: str, init: InitConfig, whole: bool) -> ImageViT | ImageNetwork:
    """A folder as timm or transformers saves an image model; without ``config.json``, its weights alone."""
    content = _config_of(folder)
    if "architecture" not in content and is_open_clip(folder):
        if not whole:
            raise NoPlainViTError(f"{name}: a CLIP of open_clip is no plain ViT; a UniFormerV2 takes it (--model)")
        return network_of_open_clip(folder, name, init)
    if whole and "architecture" in content:
        return network_of_timm(read_weights(folder), name, content, init)
    if whole and not content:
        return network_of_tensors(read_weights(folder), name, init)
    if "architecture" in content:
        known, about = _of_timm(content, folder)
    elif content.get("model_type") in ("vit", "deit"):
        known, about = _of_huggingface(content, folder)
    elif content:
        kind = content.get("model_type", "unknown")
        raise CheckpointError(f"{folder / _CONFIG}: model_type is '{kind}'; expected an image ViT ('vit') or 'vivit'")
    else:
        known, about = {}, {}
    grid = init.image_grid or about.pop("grid", None)
    image = image_vit(read_weights(folder), name, known, grid)
    return ImageViT(**{**vars(image), **about})


def _config_of(folder: Path) -> Mapping[str, Any]:
    file = folder / _CONFIG
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error}); copy or download it again") from None
    return content if isinstance(content, dict) else {}


def _of_timm(content: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What timm's own construction of the architecture says of heads, GELU, epsilon and grid; pixels of its config."""
    options = {**content.get("model_args", {}), **{k: content[k] for k in ("global_pool",) if k in content}}
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(content["architecture"], **options)
        block = model.blocks[0]
        known = {"num_heads": block.attn.num_heads, "norm_eps": block.norm1.eps, "activation": _gelu(block.mlp.act)}
        grid = tuple(model.patch_embed.grid_size)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise NoPlainViTError(
            f"{folder / _CONFIG}: not a plain ViT of timm ({reason}); a VTN takes any network of timm (--model)"
        ) from None
    pretrained = content.get("pretrained_cfg", {})
    about = {key: tuple(pretrained[key]) for key in ("mean", "std") if key in pretrained}
    return known, {"grid": grid, **about}


def _gelu(act: nn.Module) -> str:
    kind = type(act).__name__
    if kind == "GELU":
        return "gelu_tanh" if getattr(act, "approximate", "none") == "tanh" else "gelu"
    if kind == "GELUTanh":
        return "gelu_tanh"
    raise ValueError(f"its activation is {kind}, a ViViT has GELU")


def _of_huggingface(content: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    act = content.get("hidden_act", "gelu")
    if act not in _HF_ACTIVATIONS:
        raise CheckpointError(
            f"{folder / _CONFIG}: hidden_act is '{act}'; expected one of {', '.join(_HF_ACTIVATIONS)}"
        )
    known = {
        "num_heads": content.get("num_attention_heads", 12),
        "norm_eps": content.get("layer_norm_eps", 1e-12),
        "activation": _HF_ACTIVATIONS[act],
    }
    about: dict[str, Any] = {}
    size, patch = content.get("image_size", 224), content.get("patch_size", 16)
    if isinstance(size, list) and isinstance(patch, int):
        about["grid"] = (size[0] // patch, size[1] // patch)
    file = folder / "preprocessor_config.json"
    if file.is_file():
        pixels = json.loads(file.read_text(encoding="utf-8"))
        if pixels.get("do_normalize", True):
            about |= {
                key: tuple(pixels[name])
                for key, name in (("mean", "image_mean"), ("std", "image_std"))
                if isinstance(pixels.get(name), list)
            }
    return known, about


def model_fields(source: InitSource, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the video model's config that come with the weights, where ``given`` (with its name) does not set
    them: what the weights mean (GELU, epsilon, bias; the style of a trunk; which backbone it is), and from a
    checkpoint of the same name all but its grid."""
    config_class: Any = MODELS[given["name"]][1]
    if isinstance(source, ImageNetwork):
        return backbone_fields(source, given) if config_class is VTNConfig else style_fields(source, given)
    if isinstance(source, ImageViT):
        along = config_io.to_dict(source.config)
        known = {field.name for field in dataclasses.fields(config_class)}
        return {field: along[field] for field in COME_ALONG if field in known and field not in given}
    fields = dict(source.model_config)
    if given.get("name") != source.model_name:
        fields = {field: value for field, value in fields.items() if field in COME_ALONG}
    decided = {"num_classes", "in_channels"}
    if isinstance(source.model.config, ViViTConfig):  # its tables are resized to the clip of the protocol
        decided |= {"num_frames", "image_size"}
    return {field: value for field, value in fields.items() if field not in decided | set(given)}
