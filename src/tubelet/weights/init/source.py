"""What ``--init X`` names: a model of timm, a file or folder of image weights, a checkpoint of a video model, or lite0,
the image weights that come by package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import FAMILIES, MODELS, family_of, family_of_model
from tubelet.weights.checkpoint.checkpoint import RECORD, read_record
from tubelet.weights.config import InitConfig
from tubelet.weights.convert.plain import open_plain
from tubelet.weights.hub import local_folder, parse_hub_name
from tubelet.weights.init.canonical import canonical
from tubelet.weights.init.image_folder import config_of, read_image_folder
from tubelet.weights.init.lite0 import LITE0, read_lite0
from tubelet.weights.init.video import VideoSource
from tubelet.weights.mapping.image_model import FUNCTION_FIELDS, ImageFacts, ImageModel
from tubelet.weights.mapping.read import read_weights

InitSource = ImageModel | VideoSource  # what a model can start from


def resolve_source(source: str) -> str:
    """The source as a recipe keeps it: a path made absolute, a timm model with the tag of its weights.

    A run whose best checkpoint has no classes, as after pre-training, stands for that checkpoint.
    """
    if Path(source).exists():
        return str(_encoder_of_run(Path(source)).resolve())
    return _timm_name(source) or source


def fetch_source(source: str) -> None:
    """Fetch a source that is on the hub into the local cache; of another nothing is asked.

    Raises:
        CheckpointError: it cannot be fetched.
    """
    if Path(source).exists() or source == LITE0:
        return
    timm_name = _timm_name(source)
    if timm_name is not None:
        local_folder(_on_hub(timm_name))
    elif parse_hub_name(source) is not None:
        local_folder(source)


def _encoder_of_run(path: Path) -> Path:
    best = path / "best"
    if (path / RECORD).is_file() or not (best / RECORD).is_file():
        return path
    return best if read_record(best).model_config.get("num_classes") == 0 else path


def read_source(init: InitConfig, model_name: str | None = None, *, prefers_copy: bool = False) -> InitSource:
    """The model that ``init.source`` names, with its weights; a video model made for one frame is an image model.

    Args:
        model_name: the video model that will start from it, whose family prepares an image model for itself; None
            means that this is not decided yet (see ``suggested_recipe``).
        prefers_copy: of a source on the hub, take the copy that is here.

    Raises:
        CheckpointError: nothing of that name, nothing to be had without a network, or no model that can be read.
        ConfigError: an image model, where the models of the family start from none.
    """
    source = _read(init, prefers_copy)
    if model_name is None or isinstance(source, VideoSource):
        return source
    start = family_of(model_name).weights().image_start
    if start is None:
        family = family_of(model_name)
        formats = next(iter(family.formats), None)
        hint = f"; `tubelet convert {formats} FILE CHECKPOINT` makes one of a released file" if formats else ""
        takers = ", ".join(family.title for family in FAMILIES if family.weights().image_start is not None)
        raise ConfigError(
            f"{source.name} is an image model, which starts models of {takers}; {MODELS[model_name][0]().__name__} "
            f"starts from a checkpoint of its own kind{hint}"
        )
    return start.prepare(source)


def model_fields(source: InitSource, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the video model's config that come with the weights, where ``given`` (with its name) does not set
    them: what the weights mean (GELU, epsilon, bias; the style of a trunk; which backbone it is), and from a
    checkpoint of the same name all but its grid."""
    if isinstance(source, ImageModel):
        start = family_of(given["name"]).weights().image_start
        return {} if start is None else start.fields(source, given)
    fields = dict(source.model_config)
    if given["name"] != source.model_name:
        fields = {field: value for field, value in fields.items() if field in FUNCTION_FIELDS}
    decided = {"num_classes", "in_channels", *family_of_model(source.model).weights().video_start.grid_fields}
    return {field: value for field, value in fields.items() if field not in decided | set(given)}


def _read(init: InitConfig, prefers_copy: bool) -> InitSource:
    path, timm_name = Path(init.source), _timm_name(init.source)
    if path.is_file():
        weights = read_weights(path, init.which)
        image = canonical(weights.tensors, path.name, ImageFacts(grid=init.image_grid))
        return dataclasses.replace(image, notes=(*weights.notes, *image.notes))
    if init.source == LITE0 and not path.is_dir():
        return read_lite0(init.which)
    if timm_name is not None and not path.is_dir():
        return read_image_folder(local_folder(_on_hub(timm_name), prefers_copy=prefers_copy), timm_name, init)
    if not path.is_dir() and parse_hub_name(init.source) is None:
        raise CheckpointError(
            f"{init.source}: no such file or folder, no model of timm (such as vit_base_patch16_224.augreg_in21k), not "
            f"{LITE0} and no owner/name on huggingface.co"
        )
    folder = local_folder(init.source, prefers_copy=prefers_copy)
    video_types = {kind for family in FAMILIES for kind in family.huggingface}
    if (folder / RECORD).is_file() or config_of(folder).get("model_type") in video_types:
        if init.which is not None:
            raise ConfigError(f"init.which: {init.source} is a checkpoint of a video model; leave the option out")
        return _of_checkpoint(init.source, prefers_copy)
    if any((folder / name / RECORD).is_file() for name in ("best", "last")):
        read_record(folder)  # says which checkpoint of the run to give
    return read_image_folder(folder, init.source, init)


def _of_checkpoint(source: str, prefers_copy: bool) -> InitSource:
    model, record = open_plain(source, prefers_copy=prefers_copy)
    image = family_of_model(model).weights().as_image(model)
    if image is None:
        return VideoSource(
            model=model,
            model_name=record.model_name,
            model_config=record.model_config,
            protocol=record.protocol,
            name=source,
            license=record.license,
            provenance=record.provenance,
        )
    facts = dataclasses.replace(image.facts, mean=record.protocol.mean, std=record.protocol.std)
    return dataclasses.replace(
        image, name=source, facts=facts, labels=record.labels, license=record.license, provenance=record.provenance
    )


def _timm_name(source: str) -> str | None:
    """``vit_base_patch16_224`` -> ``vit_base_patch16_224.augreg2_in21k_ft_in1k``; None where timm has no such model.

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
