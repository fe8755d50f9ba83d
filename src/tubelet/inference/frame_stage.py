"""The per-frame stage of a model on its own: whether its features can be stored, and which weights it has.

A store has one vector per frame, so that the frames of any clip can be taken from it. Models fit whose per-frame stage
looks at one frame and gives one vector: VTN, space-only TimeSformer, and ViViT's factorized encoder and average pool
with tubelets of one frame. Of longer tubelets the vector depends on where the clip begins; UniFormerV2 needs all patch
tokens of several layers (at B/16, 2.4 MB of four layers per frame, sixteen times the frame itself).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from torch import nn

from tubelet.data.features.store import StoreRecord, read_store
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, DataError
from tubelet.models import FAMILIES
from tubelet.session.fast_fp32 import fast_fp32_in_use
from tubelet.types import Precision
from tubelet.weights.exported.module import ExportedModel
from tubelet.weights.mapping.digest import tensors_sha256

_LOG = logging.getLogger(__name__)


def check_storable(model: nn.Module, name: str) -> None:
    """Whether features of a model make a store.

    Raises:
        ConfigError: they do not; the line says why.
    """
    frames = getattr(model, "frames_per_feature", None)
    fits = ", ".join(family.frame_stage for family in FAMILIES if family.frame_stage is not None)
    if frames is None:
        reason = "it has no per-frame stage"
    elif isinstance(model, ExportedModel):
        reason = "it is an exported file, which tells no digest of the stage's weights; take its checkpoint"
    elif frames > 1:
        reason = f"its vectors are of tubelets of {frames} frames, which depend on where a clip begins"
    elif not hasattr(model, "frame_stage"):
        reason = "its per-frame stage gives the tokens of several layers, which take more room than the frames"
    else:
        return
    raise ConfigError(f"{name}: features cannot be stored, for {reason}; models that fit: {fits}")


def stage_sha256(model: nn.Module) -> str:
    """A digest of the per-frame stage's tensors, by names, shapes and values."""
    return tensors_sha256({n: t for n, t in model.state_dict().items() if _is_of_stage(model, n)})


def check_stage(model: nn.Module, name: str, record: StoreRecord, store: Path, precision: Precision) -> None:
    """Whether the features of a store are those that a model's per-frame stage would give. Logs another precision.

    Raises:
        ConfigError: the model has no such stage.
        DataError: the features are of other weights.
    """
    check_storable(model, name)
    own = stage_sha256(model)
    if own != record.stage_sha256:
        raise DataError(
            f"{store}: the features are of other weights (those of {record.model_name}, sha256 "
            f"{record.stage_sha256[:12]}) than the per-frame stage of {name} ({own[:12]}); write a store of this model"
        )
    if record.precision != precision:
        _LOG.info(
            "%s: the features were computed in %s; what follows them computes in %s", store, record.precision, precision
        )
    if record.fast_fp32 != fast_fp32_in_use():
        _LOG.info("%s: the features' fp32 products were computed in another way; last bits differ", store)


def check_not_random(model: nn.Module, name: str, fresh: Collection[str] | None) -> None:
    """Whether the per-frame stage has weights that were trained: features of random ones are worth little.

    Args:
        fresh: names of the parameters that initialization left random. None means all.

    Raises:
        ConfigError: the model has no such stage, or some of its weights are random.
    """
    check_storable(model, name)
    random = [n for n, _ in model.named_parameters() if _is_of_stage(model, n) and (fresh is None or n in fresh)]
    if random:
        raise ConfigError(
            f"{name}: {len(random)} tensors of its per-frame stage are random ({random[0]}, ...), and so would be the "
            "features; give the recipe trained weights (--init.source), or store them all the same with --allow-random"
        )


def check_frozen(model: nn.Module, frozen: tuple[nn.Module, ...], store: Path) -> None:
    """Whether training leaves the per-frame stage as it is: its features would else be those of other weights.

    Args:
        frozen: modules that stay in eval mode beside those that see to it themselves.

    Raises:
        ConfigError: a parameter of it trains, or it would be in training mode (dropout, statistics).
    """
    training = [n for n, p in model.named_parameters() if _is_of_stage(model, n) and p.requires_grad]
    was_training = model.training
    model.train()
    for module in frozen:
        module.eval()
    active = [n for n, m in model.named_modules() if _is_of_stage(model, n) and m.training and not list(m.children())]
    model.train(was_training)
    if training or active:
        names: tuple[str, ...] = model.frame_stage  # type: ignore[assignment]
        raise ConfigError(
            f"{store}: trains from stored features only where the per-frame stage is frozen, but "
            f"{(training or active)[0]} would train; add --freeze {' '.join(names)}, or train on the videos"
        )


def check_store_training(
    model: nn.Module,
    name: str,
    frozen: tuple[nn.Module, ...],
    manifest: Manifest,
    precision: Precision,
    *,
    has_state: bool,
) -> None:
    """Whether a model can train on a manifest, as far as that is of a feature store.

    Args:
        has_state: the run goes on, and its weights are not in the model yet; the paths of a store's files tell the
            weights that they are of, and so does the fingerprint of the data that the run compares.

    Raises:
        ConfigError: the per-frame stage would train.
        DataError: the features are of other weights.
    """
    if manifest.layout != LAYOUT:
        return
    check_storable(model, name)
    check_frozen(model, frozen, manifest.root)
    if not has_state:
        check_stage(model, name, read_store(manifest.root), manifest.root, precision)


def _is_of_stage(model: nn.Module, name: str) -> bool:
    names: tuple[str, ...] = model.frame_stage  # type: ignore[assignment]
    return any(name == own or name.startswith(f"{own}.") for own in names)
