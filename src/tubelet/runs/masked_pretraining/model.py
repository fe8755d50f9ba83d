"""The model of a masked pre-training: an encoder that becomes a checkpoint, and a decoder that stands beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError, ConfigError
from tubelet.files import write_tensors
from tubelet.models import create_model
from tubelet.nn.masked.autoencoder import MaskedAutoencoder, PaintingError
from tubelet.nn.masked.masking import num_decoded, num_hidden
from tubelet.nn.video_model import VideoModel
from tubelet.recipe import Recipe
from tubelet.runs.initialization import InitializedModel, initialize_model, read_initialization
from tubelet.session.session import Session
from tubelet.tasks.masked_pretraining.config import MaskedPretrainingConfig
from tubelet.tasks.masked_pretraining.task import MaskedPretraining
from tubelet.types import Grid
from tubelet.weights.checkpoint.checkpoint import Record, load_strictly, read_state, write_files, written_checkpoint

DECODER = "decoder.safetensors"  # in the checkpoint's folder
_OF_ENCODER = "encoder."  # how the names of an autoencoder's encoder begin


def config_of(recipe: Recipe) -> MaskedPretrainingConfig:
    """The recipe's fields of this task, which it has."""
    assert recipe.masked_pretraining is not None  # ``run_recipe`` looked
    return recipe.masked_pretraining


@dataclass(frozen=True, kw_only=True)
class PretrainingModel:
    """An encoder, and what trains it."""

    first: InitializedModel  # its model is the encoder, as it is saved
    error: PaintingError  # holds the same encoder
    grid: Grid  # tokens of a clip
    task: MaskedPretraining

    @property
    def encoder(self) -> VideoModel:
        """The model that is pre-trained, without classes."""
        model = self.first.model
        assert isinstance(model, VideoModel)
        return model

    @property
    def autoencoder(self) -> MaskedAutoencoder:
        """Encoder and decoder."""
        return self.error.autoencoder

    def save(self, path: Path, record: Record) -> None:
        """Write the encoder as a checkpoint like any other, and the decoder beside it."""
        with written_checkpoint(path) as new:
            write_files(new, self.encoder, record)
            state = self.autoencoder.state_dict()
            write_tensors(
                new / DECODER,
                {n: t.detach().cpu().contiguous() for n, t in state.items() if not n.startswith(_OF_ENCODER)},
            )

    def load(self, path: Path) -> None:
        """Read back what ``save`` wrote.

        Raises:
            CheckpointError: it cannot be read, or does not fit strictly.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        load_strictly(self.encoder, read_state(path), str(path))
        try:
            decoder = load_file(path / DECODER)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path / DECODER}: cannot be read ({error}); copy the checkpoint again") from None
        state = self.autoencoder.state_dict()
        encoder = {name: tensor for name, tensor in state.items() if name.startswith(_OF_ENCODER)}
        load_strictly(self.autoencoder, encoder | decoder, str(path / DECODER))


def first_pretraining(
    recipe: Recipe,
    session: Session,
    *,
    provenance: dict[str, Any] | None = None,
    has_state: bool = False,
) -> PretrainingModel:
    """Create encoder and decoder of a recipe, and give the encoder its first weights.

    Args:
        provenance, has_state: as of ``first_model``.

    Raises:
        TubeletError: a model that cannot be pre-trained so, a mask that does not fit it, or weights that do not.
    """
    initialization = read_initialization(recipe, session, provenance=provenance, has_state=has_state)
    recipe, config = initialization.recipe, config_of(recipe)
    protocol = dataclasses.replace(recipe.protocol, labels={}, multi_label=False)
    torch.manual_seed(recipe.seed)  # because the same seed must give the same random weights
    model = create_model(recipe.model["name"], **recipe.model_options(num_classes=0))
    if not isinstance(model, VideoModel):
        raise ConfigError(f"{recipe.model['name']} has no masked pre-training; `tubelet pretrain --help` says what has")
    width = getattr(model.config, "embed_dim", None) or 2  # a model without one refuses by itself
    autoencoder = model.masked_autoencoder(*config.decoder_of(width))
    if config.mask == "random" and getattr(autoencoder.encoder, "needs_tubes", False):
        raise ConfigError(
            f"masked_pretraining.mask=random leaves {recipe.model['name']} another number of patches in each frame, "
            "and it encodes frames one by one; use tube or block"
        )
    first = initialize_model(model, initialization, protocol, session)
    n_t, n_h, n_w = (
        size // part
        for size, part in zip((protocol.num_frames, *protocol.crop_size), autoencoder.tubelet_size, strict=True)
    )
    grid: Grid = (n_t, n_h, n_w)
    hidden = num_hidden(config.mask, grid, config.mask_ratio) * (1 if config.mask == "random" else n_t)
    assert 0 < hidden < prod(grid)
    decoded = num_decoded(grid, config.decoder_mask_ratio) if config.decoder_mask_ratio else 0
    error = PaintingError(autoencoder, hidden, config.normalize_targets, protocol.mean, protocol.std, decoded)
    task = MaskedPretraining(labels={}, num_masked=hidden, ratio=config.mask_ratio, num_decoded=decoded)
    return PretrainingModel(first=first, error=error, grid=grid, task=task)
