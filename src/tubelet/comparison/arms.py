"""What is compared: a question, arms as named differences from a base recipe, datasets, seeds and a tuning budget.

One YAML file per comparison, shipped under ``recipes/comparisons`` or the user's own. Fields of recipes are written
with dots, as on the command line: ``model.tubelet_size: [7, 7, 7]``. What stands later wins: base recipe, dataset,
``fields`` of the comparison, arm, tuned value, seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tubelet import config
from tubelet.comparison.items import Metric
from tubelet.errors import ConfigError, nearest
from tubelet.recipe import COMPARISONS, Recipe, load_recipe

Fields = dict[str, Any]  # dotted recipe field: value
RATE = "optim.lr"
MIN_RATES = 4
# Seeds of tuning and of final runs do not meet: no final run is one that was chosen for its luck.
FIRST_TUNING_SEED, FIRST_SEED = 1000, 0


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things compared."""

    about: str  # what it is, in one line
    fields: Fields  # how it differs from the base recipe


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
    datasets: dict[str, Fields]  # fields of the recipe that choose each, by the name it goes by
    arms: dict[str, Arm]
    contrasts: tuple[tuple[str, str], ...]  # pairs of arms that are judged, the first against the second
    tuning: Tuning
    metric: Metric = "top1"  # decides in tuning (validation) and is judged (test)
    num_seeds: int = 5  # final runs of each arm
    fields: Fields = field(default_factory=dict)  # of the recipe, the same for all arms
    one_setting: dict[str, float] | None = None  # the same for all arms, run beside the tuned ones for contrast
    one_setting_arms: tuple[str, ...] = ()  # the arms that run it; none: all
    levels: tuple[float, ...] = ()  # values of the metric on the validation split whose steps and seconds are told
    chosen_arms: tuple[str, ...] = ()  # the arms that run; none: all
    notes: tuple[str, ...] = ()  # what a reader of the result must know, one paragraph each

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or not self.datasets:
            raise ConfigError("a comparison needs at least two arms and one dataset")
        names = [*self.chosen_arms, *self.one_setting_arms, *(name for pair in self.contrasts for name in pair)]
        for name in names:
            if name not in self.arms:
                raise ConfigError(f"no arm '{name}'{nearest(name, self.arms)}")
        if any(first == second for first, second in self.contrasts):
            raise ConfigError("a contrast needs two different arms")
        if self.num_seeds < 1:
            raise ConfigError(f"num_seeds must be at least 1, got {self.num_seeds}")
        for name in (*self.arms, *self.datasets):
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ConfigError(f"'{name}' names folders: use letters, digits, _ and -")

    @property
    def running(self) -> dict[str, Arm]:
        """The arms that run, in order."""
        return {name: arm for name, arm in self.arms.items() if not self.chosen_arms or name in self.chosen_arms}

    @property
    def judged(self) -> list[tuple[str, str]]:
        """The contrasts between arms that run."""
        return [(a, b) for a, b in self.contrasts if a in self.running and b in self.running]

    @property
    def arms_at_one_setting(self) -> list[str]:
        """The arms that also run at the setting that is the same for all."""
        return [name for name in self.running if not self.one_setting_arms or name in self.one_setting_arms]

    def recipe(self, dataset: str, arm: str, setting: Mapping[str, Any], seed: int) -> Recipe:
        """The recipe of one run.

        Raises:
            ConfigError: a field that no recipe has, or a value that does not fit.
        """
        fields = {**self.datasets[dataset], **self.fields, **self.arms[arm].fields, **setting, "seed": seed}
        try:
            return load_recipe(self.base, [(key, json.dumps(_whole(value))) for key, value in fields.items()])
        except ConfigError as error:
            raise ConfigError(f"arm '{arm}' on '{dataset}': {error}") from None


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
    try:
        if size is not None and not isinstance(sizes[size], Mapping):
            raise ConfigError(f"has no section '{size}'; run it without --{size}")
        changes = [] if size is None else list((sizes[size] or {}).items())
        for key, value in [*changes, *overrides]:
            data = config.override(data, key, json.dumps(value))
        comparison = config.from_dict(Comparison, data)
        for dataset in comparison.datasets:
            for arm in comparison.running:
                comparison.recipe(dataset, arm, {key: values[0] for key, values in comparison.tuning.grid.items()}, 0)
                comparison.recipe(dataset, arm, comparison.one_setting or {}, 0)
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


def _whole(value: Any) -> Any:
    """Grids hold floats; a whole one fits a field that counts as well as one that does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
