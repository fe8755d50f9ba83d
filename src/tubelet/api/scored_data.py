"""Which rows ``tubelet evaluate`` scores: a part of the data only where their split is known, else all of them.

The data of a checkpoint's training are known by their fingerprint, wherever they lie. They are read as they were then,
and the test part of that split is scored. Other data are scored whole, unless they state a test part themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet import config as config_io
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.feature_store import is_store
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.recorded_split import as_recorded
from tubelet.errors import ConfigError, DataError
from tubelet.inference.predictor import Classifier
from tubelet.recipe import DataConfig
from tubelet.types import Part

_SPLITTING = (
    "val_fraction",
    "test_fraction",
    "split_seed",
    "split_by",
    "group_column",
    "group_pattern",
    "folds",
    "fold",
)
_BY_DEFAULT: tuple[Part, ...] = ("test", "val", "train")  # of a recorded split: the first that it has


@dataclass(frozen=True, kw_only=True)
class ScoredData:
    """What is scored, and of what."""

    manifest: Manifest  # all rows of the data
    part: Part
    text: str  # which rows and why, in one line
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> Manifest:
        """The rows to score."""
        return self.manifest if self.part == "all" else self.manifest.split(self.part)


def find_scored_data(data: str, config: ManifestConfig, part: Part | None, classifier: Classifier) -> ScoredData:
    """Read the data with the classes of a checkpoint, and choose the rows to score.

    Args:
        data: what the user names.
        config: how the user says that it is read.
        part: which rows, if the user says so.

    Raises:
        ConfigError: the user names classes, or another number of label columns than the checkpoint has heads.
        DataError: the data cannot be read, or have no such part.
    """
    if config.class_names:
        raise ConfigError("the class names are those of the checkpoint: leave out class_names")
    source = DataConfig(source=data).path
    manifest = _as_trained_on(source, config, classifier)
    if manifest is not None:
        chosen = next(name for name in _BY_DEFAULT if name in manifest.splits) if part is None else part
        return _scored(manifest, chosen, data, "of the split recorded by the checkpoint")
    notes = _changed_since_training(data, classifier)
    named = _with_classes(source, config, classifier)
    if part in ("train", "val", "test"):
        manifest = read_manifest(source, named)
        made = part in manifest.split_origin.made
        whose = "of a split made now, which the checkpoint does not know" if made else "as the data state it"
        return _scored(manifest, part, data, whose, notes)
    manifest = read_manifest(source, named, makes_splits=False)
    states_test = part is None and set(manifest.splits) > {"test"}
    return _scored(manifest, "test" if states_test else "all", data, "as the data state it", notes)


def _scored(manifest: Manifest, part: Part, data: str, whose: str, notes: tuple[str, ...] = ()) -> ScoredData:
    if part == "all":
        text = f"all {len(manifest)} videos of {data}"
    else:
        text = f"{len(manifest.split(part))} of {len(manifest)} videos: the {part} part {whose}"
    return ScoredData(manifest=manifest, part=part, text=text, notes=notes)


def _as_trained_on(source: Path, config: ManifestConfig, classifier: Classifier) -> Manifest | None:
    """The data with the split that the checkpoint recorded. None if they are not what it was trained on."""
    facts = classifier.record.provenance
    if "data_fingerprint" not in facts:
        return None
    asked, recorded = as_recorded(_recorded_config(config, facts), facts)
    if any(getattr(config, name) != getattr(ManifestConfig(), name) for name in _SPLITTING):
        recorded = None  # the user asks for another split
    try:
        asked = _with_classes(source, asked, classifier)
        manifest = read_manifest(source, asked, recorded=recorded)
        if not manifest.is_of_fingerprint(facts["data_fingerprint"]) and asked.quarantine is not None:
            whole = read_manifest(source, dataclasses.replace(asked, quarantine=None), recorded=recorded)
            return manifest if whole.is_of_fingerprint(facts["data_fingerprint"]) else None
    except (DataError, ConfigError):  # other data need not be readable in the way of these
        return None
    return manifest if manifest.is_of_fingerprint(facts["data_fingerprint"]) else None


def _recorded_config(config: ManifestConfig, facts: Mapping[str, Any]) -> ManifestConfig:
    """How the data were read for training, unless the user says how they are read; a quarantine list comes on top."""
    said = dataclasses.replace(config, quarantine=None)
    written = facts.get("recipe", {}).get("data", {}).get("manifest")
    if said != ManifestConfig() or written is None:
        return config
    trained = config_io.from_dict(ManifestConfig, written)
    return dataclasses.replace(trained, class_names={}, quarantine=config.quarantine or trained.quarantine)


def _with_classes(source: Path, config: ManifestConfig, classifier: Classifier) -> ManifestConfig:
    """``config`` with the classes of the checkpoint, in their order."""
    heads, columns = classifier.protocol.labels, config.label_columns
    if len(heads) > 1 and columns == ManifestConfig().label_columns:
        columns = tuple(heads)
    if classifier.protocol.number_scales:
        names = tuple(heads) if columns == ManifestConfig().label_columns else columns
        return dataclasses.replace(config, label_columns=names, numbers=True)
    if len(columns) != len(heads):
        raise ConfigError(
            f"name one label column for each head of the checkpoint ({', '.join(heads)}), got {', '.join(columns)}"
        )
    if is_store(source):
        columns = tuple(heads)
    elif len(heads) == 1 and source.suffix.lower() != ".csv":
        columns = ("label",)
    return dataclasses.replace(
        config, label_columns=columns, class_names=dict(zip(columns, heads.values(), strict=True))
    )


def _changed_since_training(data: str, classifier: Classifier) -> tuple[str, ...]:
    """A note where data have the place of those that the checkpoint was trained on, and are other ones.

    A checkpoint without a fingerprint was trained on all of its data, as probes are: no split could differ.
    """
    facts = classifier.record.provenance
    trained_on = facts.get("recipe", {}).get("data", {}).get("source")
    if trained_on is None or "data_fingerprint" not in facts or Path(trained_on).resolve() != Path(data).resolve():
        return ()
    return (
        f"{data} is not split or filled as when this model was trained on it (other --manifest options or changed "
        "files): it may hold videos that the model has seen",
    )
