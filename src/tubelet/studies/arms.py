"""What is compared: a question, arms as named differences from a base recipe, datasets, seeds and a tuning budget.

One YAML file per comparison, shipped under ``recipes/comparisons`` or the user's own. Fields of recipes are written
with dots, as on the command line: ``model.tubelet_size: [7, 7, 7]``. What stands later wins: base recipe, dataset,
``fields`` of the comparison, arm, the arm's fields for the dataset, tuned value, seed.

A comparison makes what it stands on itself (``tubelet.studies.assets``): ``data.source: generated:NAME`` is a set
of clips that it generates, ``init.source: start:NAME`` the best checkpoint of a model that it trains first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from tubelet import config
from tubelet.errors import ConfigError, nearest
from tubelet.published import published_results
from tubelet.recipe import COMPARISONS, Recipe, load_recipe
from tubelet.studies.items import COMPARED, kept_metrics
from tubelet.types import added

Fields = dict[str, Any]  # dotted recipe field: value
RATE = "optim.lr"
MIN_RATES = 4
# Seeds of tuning and of final runs do not meet: no final run is one that was chosen for its luck.
FIRST_TUNING_SEED, FIRST_SEED, START_SEED = 1000, 0, 2000
# Sources that the comparison makes.
GENERATED, START = "generated:", "start:"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things compared."""

    about: str  # what it is, in one line
    fields: Fields  # how it differs from the base recipe
    datasets: dict[str, Fields] = field(default_factory=dict)  # further fields on one dataset, by its name
    tuned_as: str | None = added(None)  # the arm whose setting it takes; None means that it is tuned itself


@dataclass(frozen=True, kw_only=True)
class ComparisonDataset:
    """What the arms are compared on."""

    base: str | None = None  # recipe that the arms differ from here; None means that of the comparison
    fields: Fields = field(default_factory=dict)  # of the recipe, that choose the data
    metric: str | None = None  # in place of the comparison's
    levels: tuple[float, ...] | None = None  # in place of the comparison's


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Clips that the comparison writes before it begins (``tubelet.data.synthetic``)."""

    counts: dict[str, int]  # clips of each split
    classes: Literal["motions", "shapes"] = "motions"  # what their labels are
    size_pixels: int = 64  # height and width
    num_frames: int = 24  # of a file
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainedArm(Arm):
    """A model that the comparison trains before its arms, for them to start from; one for each dataset."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What each arm may try on the validation split; the same for all."""

    grid: dict[str, tuple[float, ...]]  # values of recipe fields, ascending; every combination is run
    num_seeds: int = 1  # runs of each combination; their mean decides
    extended: tuple[str, ...] = (RATE,)  # axes that grow, for all arms, while the best value of one lies at their edge
    max_extensions: int = 2  # values added to each end of an axis at most; then the edge is flagged

    def __post_init__(self) -> None:
        if len(self.grid.get(RATE, ())) < MIN_RATES:
            raise ConfigError(
                f"tuning.grid needs at least {MIN_RATES} values of {RATE}, got {len(self.grid.get(RATE, ()))}: "
                "arms are fairly compared at their own best learning rates"
            )
        for key, values in self.grid.items():
            if list(values) != sorted(set(values)):
                raise ConfigError(f"tuning.grid.{key} must be ascending without repeats, got {values}")
        for key in self.extended:
            if min(self.grid.get(key, (0.0,))) <= 0 or len(self.grid[key]) < 2:
                raise ConfigError(f"tuning.extended names {key}, which needs at least two positive values in the grid")
        if self.num_seeds < 1 or self.max_extensions < 0:
            raise ConfigError("tuning.num_seeds must be at least 1 and max_extensions not negative")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison, checked."""

    question: str  # what it is to answer
    base: str  # recipe that the arms differ from
    datasets: dict[str, ComparisonDataset]  # by the name it goes by
    arms: dict[str, Arm]
    contrasts: tuple[tuple[str, str], ...]  # pairs of arms that are judged, the first against the second
    tuning: Tuning
    metric: str = COMPARED.best  # decides in tuning (validation) and is judged (test)
    num_seeds: int = 5  # final runs of each arm
    fields: Fields = field(default_factory=dict)  # of the recipe, the same for all arms
    one_setting: dict[str, float] | None = None  # the same for all arms, run beside the tuned ones for contrast
    one_setting_arms: tuple[str, ...] = ()  # the arms that run it; empty means all
    levels: tuple[float, ...] = ()  # validation values of the metric to which the report counts steps and seconds
    chosen_arms: tuple[str, ...] = ()  # the arms that run; empty means all
    test_views: tuple[int, ...] = ()  # numbers of temporal views that final runs are tested with beside their own
    generated: dict[str, Generated] = field(default_factory=dict)  # data that it makes, for ``generated:NAME``
    starts: dict[str, TrainedArm] = field(default_factory=dict)  # models that it trains first, for ``start:NAME``
    published: tuple[str, ...] = ()  # sources of ``published.csv`` whose rows stand beside the result
    notes: tuple[str, ...] = ()  # what a reader of the result must know, one paragraph each
    folds: int = added(0)  # cross-validation: final run s tests fold s, num_seeds of them; 0 means one split

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or not self.datasets:
            raise ConfigError("a comparison needs at least two arms and one dataset")
        names = [*self.chosen_arms, *self.one_setting_arms, *(name for pair in self.contrasts for name in pair)]
        for name in names:
            if name not in self.arms:
                raise ConfigError(f"no arm '{name}'{nearest(name, self.arms)}")
        for name, arm in self.running.items():
            if arm.tuned_as is not None and arm.tuned_as not in self.tuned:
                raise ConfigError(f"arm '{name}': tuned_as '{arm.tuned_as}' is no arm that is tuned and runs")
        if any(first == second for first, second in self.contrasts):
            raise ConfigError("a contrast needs two different arms")
        if self.num_seeds < 1:
            raise ConfigError(f"num_seeds must be at least 1, got {self.num_seeds}")
        if self.folds not in (0, self.num_seeds):
            raise ConfigError(f"folds: each is one final run, so num_seeds must be {self.folds}, got {self.num_seeds}")
        known = kept_metrics()
        for metric in (self.metric, *(of.metric for of in self.datasets.values())):
            if metric is not None and metric not in known:
                raise ConfigError(f"'metric' must be one of {', '.join(known)}, got '{metric}'{nearest(metric, known)}")
        sources = {row.source for row in published_results()}
        for source in self.published:
            if source not in sources:
                raise ConfigError(f"published: no rows from '{source}'{nearest(source, sources)}")
        if any(number < 1 for number in self.test_views):
            raise ConfigError(f"test_views must be positive, got {self.test_views}")
        for name in (*self.arms, *self.datasets, *self.starts, *self.generated):
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ConfigError(f"'{name}' names folders: use letters, digits, _ and -")

    @property
    def running(self) -> dict[str, Arm]:
        """The arms that run, in order."""
        return {name: arm for name, arm in self.arms.items() if not self.chosen_arms or name in self.chosen_arms}

    @property
    def tuned(self) -> dict[str, Arm]:
        """The arms that run and are tuned themselves."""
        return {name: arm for name, arm in self.running.items() if arm.tuned_as is None}

    @property
    def judged(self) -> list[tuple[str, str]]:
        """The contrasts between arms that run."""
        return [(a, b) for a, b in self.contrasts if a in self.running and b in self.running]

    @property
    def arms_at_one_setting(self) -> list[str]:
        """The arms that also run at the setting that is the same for all."""
        return [name for name in self.running if not self.one_setting_arms or name in self.one_setting_arms]

    def metric_on(self, dataset: str) -> str:
        """What decides and is judged on a dataset."""
        return self.datasets[dataset].metric or self.metric

    def levels_on(self, dataset: str) -> tuple[float, ...]:
        """The values of that metric to which the report counts steps and seconds."""
        levels = self.datasets[dataset].levels
        return self.levels if levels is None else levels

    def recipe(self, dataset: str, arm: str, setting: Mapping[str, Any], seed: int) -> Recipe:
        """The recipe of one run; sources that the comparison makes go by their names in it.

        Raises:
            ConfigError: a field that no recipe has, or a value that does not fit.
        """
        last = {**setting, "seed": seed}
        if self.folds:  # tuning seeds go through the folds too
            last |= {"data.manifest.folds": self.folds, "data.manifest.fold": seed % self.folds + 1}
        return self._recipe(f"arm '{arm}'", dataset, self.arms[arm], last)

    def start_recipe(self, dataset: str, start: str) -> Recipe:
        """The recipe of a model that arms start from. Raises ConfigError as ``recipe``."""
        recipe = self._recipe(f"start '{start}'", dataset, self.starts[start], {"seed": START_SEED})
        if recipe.init is not None and recipe.init.source.startswith(START):
            raise ConfigError(f"start '{start}' on '{dataset}': begins with another start; only arms can")
        return recipe

    def check_overridden(self) -> None:
        """Fields that every run replaces would do nothing. Raises ConfigError."""
        layers: list[tuple[str, Fields]] = [("fields", self.fields)]
        layers += [(f"datasets.{name}.fields", of.fields) for name, of in self.datasets.items()]
        for name, arm in self.arms.items():
            layers += [(f"arms.{name}.fields", arm.fields)]
            layers += [(f"arms.{name}.datasets.{dataset}", fields) for dataset, fields in arm.datasets.items()]
        for where, fields in layers:
            for key, _ in config.dotted(fields):
                if key in self.tuning.grid:
                    raise ConfigError(f"{where}: {key} is tuned, the same for all arms; set tuning.grid in its place")
        layers += [(f"starts.{name}.fields", start.fields) for name, start in self.starts.items()]
        for where, fields in layers:
            if "seed" in fields:
                raise ConfigError(f"{where}: the seed of every run is set by the comparison; leave it out")

    def _recipe(self, name: str, dataset: str, what: Arm, last: Fields) -> Recipe:
        of_data = self.datasets[dataset]
        layers = (of_data.fields, self.fields, what.fields, what.datasets.get(dataset, {}), last)
        fields = [(key, value) for layer in layers for key, value in layer.items()]  # a group may follow its own field
        try:
            recipe = load_recipe(of_data.base or self.base, [(k, json.dumps(_whole(v))) for k, v in fields])
            _check_made("generated", recipe.data.source, GENERATED, self.generated)
            _check_made("starts", "" if recipe.init is None else recipe.init.source, START, self.starts)
        except ConfigError as error:
            raise ConfigError(f"{name} on '{dataset}': {error}") from None
        return recipe


def load_comparison(source: str, *, size: str | None = None, overrides: Sequence[tuple[str, Any]] = ()) -> Comparison:
    """A comparison by shipped name or by path.

    Args:
        size: ``quick`` or ``full``: a section of the file whose dotted keys replace those of the comparison.
        overrides: further dotted keys with their values, applied last.

    Raises:
        ConfigError: no such comparison, no such size, or a key or value that does not fit.
    """
    data = config.load_yaml(_find(source))
    sizes = {name: data.pop(name, None) for name in ("quick", "full")}
    named = data.get("datasets")  # before a size or the caller leaves some out
    try:
        if size is not None and not isinstance(sizes[size], Mapping):
            raise ConfigError(f"has no section '{size}'; run it without --{size}")
        changes = [] if size is None else list((sizes[size] or {}).items())
        for key, value in [*changes, *overrides]:
            data = config.override(data, key, json.dumps(value))
        comparison = config.from_dict(Comparison, data)
        _check_datasets(comparison, named if isinstance(named, Mapping) else {})
        comparison.check_overridden()
        for dataset in comparison.datasets:
            for arm in comparison.running:
                comparison.recipe(dataset, arm, {key: values[0] for key, values in comparison.tuning.grid.items()}, 0)
                comparison.recipe(dataset, arm, comparison.one_setting or {}, 0)
            for start in comparison.starts:
                comparison.start_recipe(dataset, start)
    except ConfigError as error:
        raise ConfigError(f"comparison {source}: {error}") from None
    return comparison


def list_comparisons() -> dict[str, str]:
    """The shipped comparisons and their questions."""
    return {
        name: str(config.load_yaml(Path(str(file))).get("question", "")) for name, file in sorted(_shipped().items())
    }


def _find(source: str) -> Path:
    shipped, path = _shipped(), Path(source)
    if source in shipped:
        return Path(str(shipped[source]))
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise ConfigError(f"no comparison '{source}'{nearest(source, shipped)} (or give the path of a YAML file)")


def _shipped() -> dict[str, Traversable]:
    folder = resources.files("tubelet").joinpath("recipes", COMPARISONS)
    return {file.name.removesuffix(".yaml"): file for file in folder.iterdir() if file.name.endswith(".yaml")}


def _check_datasets(comparison: Comparison, named: Mapping[str, Any]) -> None:
    """Fields for a dataset that the file never names would do nothing."""
    known = {*named, *comparison.datasets}
    owners: list[Arm] = [*comparison.arms.values(), *comparison.starts.values()]
    for name in (name for owner in owners for name in owner.datasets):
        if name not in known:
            raise ConfigError(f"no dataset '{name}'{nearest(name, known)}")


def _check_made(kind: str, source: str, prefix: str, known: Mapping[str, Any]) -> None:
    name = source.removeprefix(prefix)
    if source.startswith(prefix) and name not in known:
        raise ConfigError(f"'{source}' is not in {kind} of the comparison{nearest(name, known)}")


def _whole(value: Any) -> Any:
    """Grids hold floats; a whole one fits a field that counts as well as one that does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
