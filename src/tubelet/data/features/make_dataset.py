"""The dataset of a manifest, whether its rows are videos, volumes or stored features."""

from __future__ import annotations

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.features.dataset import FeatureDataset
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import DatasetMode
from tubelet.data.manifest.manifest import Manifest
from tubelet.protocol import Protocol


def make_dataset(
    manifest: Manifest,
    protocol: Protocol,
    mode: DatasetMode = "train",
    augment: AugmentConfig | None = None,
    seed: int = 0,
    augment_later: bool = False,
) -> ClipDataset | FeatureDataset:
    """Make a ``FeatureDataset`` for a feature store, else a ``ClipDataset``, whose arguments and errors these are."""
    if manifest.layout == LAYOUT:
        return FeatureDataset(manifest, protocol, mode, augment, seed)
    return ClipDataset(manifest, protocol, mode, augment, seed, augment_later)
