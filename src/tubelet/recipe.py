"""Recipe: everything that decides what a training run does, in one short YAML file.

Precedence: the defaults of the dataclasses, then the file, then the command line. Recipes do not inherit. The
resolved recipe is saved with the run and runs again as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from tubelet import config as config_io
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.errors import ConfigError, nearest
from tubelet.files import write_atomically
from tubelet.models import MODELS, model_config
from tubelet.protocol import Protocol
from tubelet.tasks.masked_pretraining.config import MaskedPretrainingConfig
from tubelet.tasks.masked_pretraining.pretrain_on_config import PretrainOnConfig
from tubelet.tasks.per_frame.config import PerFrameConfig
from tubelet.training.config import TrainingConfig
from tubelet.training.optim.config import OptimizerConfig
from tubelet.types import added
from tubelet.weights.config import InitConfig, LoraConfig

DEFAULT_RECIPE = "folder/default"  # where only data are named
RECIPE = "recipe.yaml"  # in the folder of a run: its recipe, resolved
SHORT_NAMES = {"epochs": "training.num_epochs", "batch_size": "training.batch_size", "lr": "optim.lr"}

# Data that ships in the package, addressed as "embedded:NAME".
EMBEDDED = "embedded:"
# Of the folders with recipes, the one that holds comparisons instead (tubelet.studies.arms).
COMPARISONS = "comparisons"
# What the data and the protocol decide about a model. A recipe that set it too could only contradict them.
DECIDED_BY_DATA = ("num_classes", "in_channels")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which videos to train on, and how to read them."""

    source: str  # folder, .csv or .npz file; "embedded:adrenalmnist3d" is shipped with the package
    num_workers: int = 2  # processes that decode; 0 decodes in the training process
    decoder: Literal["pyav", "torchcodec"] = "pyav"  # torchcodec: of recipes of older versions, read with PyAV
    augment_on: Literal["auto", "readers", "device"] = "auto"  # flips, colors, erasing; auto: a GPU, where there is one
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads one video for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; one always may, unless it is 0
    manifest: ManifestConfig = field(default_factory=ManifestConfig)

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ConfigError(f"num_workers must not be negative, got {self.num_workers}")
        if not self.decode_timeout_seconds > 0 or not 0 <= self.failure_budget <= 1:
            raise ConfigError(
                "decode_timeout_seconds must be positive and failure_budget in [0, 1], "
                f"got {self.decode_timeout_seconds:g} and {self.failure_budget:g}"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about fields of older versions, one line each."""
        if self.decoder == "torchcodec":
            return ("decoder: torchcodec is read with PyAV now, which gives the same frames faster",)
        return ()

    def augments_on(self, device_type: str) -> bool:
        """Return whether training clips are augmented on this device, after the reading processes cropped them."""
        return device_type != "cpu" if self.augment_on == "auto" else self.augment_on == "device"

    @property
    def path(self) -> Path:
        """The path of the source.

        Raises:
            ConfigError: An embedded name that does not exist.
        """
        if not self.source.startswith(EMBEDDED):
            return Path(self.source)
        folder = resources.files("tubelet.data").joinpath("embedded")
        names = {Path(f.name).stem: f for f in folder.iterdir() if f.name.endswith(".npz")}
        name = self.source.removeprefix(EMBEDDED)
        if name not in names:
            raise ConfigError(f"no embedded data '{name}'{nearest(name, names)}")
        return Path(str(names[name]))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model + first weights + data + protocol + augmentation + optimizer + training + seed."""

    model: dict[str, Any]  # name, and any field of that model's config
    data: DataConfig
    protocol: Protocol = field(default_factory=Protocol)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    init: InitConfig | None = None  # where the first weights come from; None means random
    freeze: tuple[str, ...] = ()  # modules that do not train, by name; * stands for any text
    lora: LoraConfig | None = None  # train low-rank adapters and the head alone; None means all weights
    per_frame: PerFrameConfig | None = added(None)  # label time steps of films, not videos; None means videos
    masked_pretraining: MaskedPretrainingConfig | None = added(None)  # learn from hidden pixels; None means from labels
    pretrain_on: PretrainOnConfig | None = added(None)  # footage to pre-train on first, in the run's folder; or none
    seed: int = 0  # of the first weights, the order of the videos and every random draw

    def __post_init__(self) -> None:
        if "name" not in self.model:
            raise ConfigError("model.name is missing; `tubelet models` lists the names")
        for key in DECIDED_BY_DATA:
            if key in self.model:
                raise ConfigError(f"model.{key} comes from the data and the protocol; leave it out of the recipe")
        if self.protocol.labels:
            raise ConfigError("protocol.labels comes from the data; name classes in data.manifest.class_names")
        if self.protocol.multi_label:
            raise ConfigError("protocol.multi_label comes from the data; set data.manifest.label_separator")
        if self.protocol.number_scales:
            raise ConfigError("protocol.number_scales comes from the data; set data.manifest.numbers")
        if self.data.manifest.numbers:
            self._check_numbers()
        if self.lora is not None and (self.init is None or self.freeze):
            raise ConfigError(
                "lora trains adapters beside the weights of init and freezes the rest itself: give init.source "
                "(--init) and leave freeze out"
            )
        if (segments := self.protocol.num_segments) != 1 and self.model.get("num_segments", segments) != segments:
            raise ConfigError(
                f"protocol.num_segments is {segments}, model.num_segments {self.model['num_segments']}; leave the "
                "model's out"
            )
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        self.augment.check_protocol(self.protocol)
        if self.per_frame is not None:
            self._check_per_frame()
        if self.masked_pretraining is not None:
            self._check_masked_pretraining()
        if self.pretrain_on is not None and (self.per_frame is not None or self.lora is not None):
            raise ConfigError("pretrain_on: all weights of a model of whole clips train; leave per_frame and lora out")
        if self.data.augment_on == "device" and not self.augment.changes_pixels:
            raise ConfigError(
                "data.augment_on=device has no effect: augment does nothing after cropping (mirrors, turns, shifts, "
                "colors, erasing); leave it at auto"
            )
        if self.augment.mix.is_on and self.training.batch_size * self.augment.repeats == 1:
            raise ConfigError("augment.mix needs partners in the batch; raise training.batch_size above 1")
        self.model_options(num_classes=2)  # a wrong model field shows here, before any data is read

    def _check_per_frame(self) -> None:
        """Refuse what training on films would ignore."""
        if self.data.manifest.layout != "bouts":
            raise ConfigError(
                f"per_frame learns from labeled stretches of films: set data.manifest.layout=bouts, got "
                f"{self.data.manifest.layout}"
            )
        idle = {"lora": self.lora is not None, "training.sampling": self.training.sampling != "natural"}
        why = "which trains windows of whole films"
        if self.per_frame is not None and self.per_frame.train_backbone:
            idle |= {f"augment.{name}": True for name in self.augment.not_for_windows}
        else:
            idle |= {
                "freeze": bool(self.freeze),
                "augment": self.augment != AugmentConfig(crop="center"),
                "training.gradient_checkpointing": self.training.gradient_checkpointing,
            }
            why = "which trains a head on stored features of frames as they are (augment: {crop: center})"
        if found := [name for name, is_set in idle.items() if is_set]:
            raise ConfigError(f"{', '.join(found)}: has no effect with per_frame, {why}; leave it out")

    def _check_numbers(self) -> None:
        """Refuse what is of classes."""
        of_classes = {
            "per_frame": self.per_frame is not None,
            "training.label_smoothing": bool(self.training.label_smoothing),
            "training.class_weights": self.training.class_weights != "none",
            "training.sampling": self.training.sampling != "natural",
            "augment.flip_label_map": bool(self.augment.flip_label_map),
        }
        if found := [name for name, is_set in of_classes.items() if is_set]:
            raise ConfigError(
                f"{', '.join(found)}: is of classes, and data.manifest.numbers says that labels are numbers; leave one "
                "of them out"
            )

    def _check_masked_pretraining(self) -> None:
        """Refuse what needs labels."""
        idle = {
            "per_frame": self.per_frame is not None,
            "pretrain_on": self.pretrain_on is not None,
            "lora": self.lora is not None,
            "augment.mix": self.augment.mix.is_on,
            "training.label_smoothing": bool(self.training.label_smoothing),
            "training.class_weights": self.training.class_weights != "none",
            "training.sampling": self.training.sampling != "natural",
            "optim.head_lr": self.optim.head_lr is not None,
        }
        if found := [name for name, is_set in idle.items() if is_set]:
            raise ConfigError(
                f"{', '.join(found)}: has no effect with masked_pretraining, which knows no labels and has no head; "
                "leave it out"
            )

    def model_options(self, num_classes: int) -> dict[str, Any]:
        """Return the full config of the model as plain data.

        Position tables fit the protocol's clip unless the recipe names another ``num_frames`` or ``image_size``. Where
        the protocol cuts a video into segments, the model must pool as many at once.
        """
        segments = self.protocol.num_segments
        options = {
            "num_frames": self.protocol.num_frames,
            "image_size": self.protocol.crop_size,
            **({"num_segments": segments} if segments > 1 else {}),
            **{key: value for key, value in self.model.items() if key != "name"},
            "in_channels": self.protocol.num_channels,
            "num_classes": num_classes,
        }
        plain: dict[str, Any] = config_io.to_dict(model_config(self.model["name"], options))
        return plain


def load_recipe(source: str, overrides: Sequence[tuple[str, str]] = ()) -> Recipe:
    """Load a recipe by shipped name (``adrenalmnist3d/vivit_ti_joint``) or by path, and apply dotted overrides.

    Raises:
        ConfigError: There is no such recipe (the message names the nearest), or a key or value does not fit.
    """
    data: Mapping[str, Any] = config_io.load_yaml(_find(source))
    try:
        for key, text in overrides:
            data = config_io.override(data, key, text)
        return config_io.from_dict(Recipe, data)
    except ConfigError as error:
        raise ConfigError(f"recipe {source}: {error}") from None


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe as YAML. ``load_recipe`` reads it back to an equal one."""
    text = config_io.dump_yaml(config_io.to_dict(recipe))
    write_atomically(path, "# The resolved recipe of this run; `tubelet train recipe.yaml` runs it again.\n" + text)


def run_name(recipe_name: str | None, data: str | Path | None, model_name: str) -> str:
    """The name of a run's folder where the user gives none: of the data and of the recipe or the model."""
    stem = Path(data).resolve().stem if data else ""
    name = recipe_name.removesuffix(".yaml") if recipe_name else model_name
    return "-".join(part for part in (stem, Path(name).parent.name, Path(name).name) if part)


def list_recipes() -> list[str]:
    """Return the names of the recipes shipped with the package."""
    return sorted(_shipped())


def _find(source: str) -> Path:
    path, shipped = Path(source), _shipped()
    if source in shipped:
        return Path(str(shipped[source]))
    if path.is_file() and path.suffix.lower() not in (".csv", ".npz"):
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"{source}: no such recipe file")
    if (path / RECIPE).is_file():
        raise ConfigError(f"{source}: is a run; go on with --resume {source}, or give its {path / 'recipe.yaml'}")
    if path.exists():
        raise ConfigError(f"{source}: is no recipe; to train on this data, give --data {source}")
    if source in MODELS:
        raise ConfigError(f"{source}: is a model, not a recipe; give --model {source} --data FOLDER")
    raise ConfigError(f"no recipe '{source}'{nearest(source, shipped)} (or a YAML file's path; --data names videos)")


def _shipped() -> dict[str, Traversable]:
    root = resources.files("tubelet").joinpath("recipes")
    return {
        f"{folder.name}/{file.name.removesuffix('.yaml')}": file
        for folder in root.iterdir()
        if folder.is_dir() and folder.name != COMPARISONS
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }
