"""What the runs of a comparison stand on and it makes itself: generated clips, and models that arms start from.

    data/NAME-CONTENT/            clips, for ``data.source: generated:NAME``
    starts/DATASET/NAME-KEY/      the run of a model, whose best checkpoint is ``init.source: start:NAME``

Recipes of comparisons hold the names; the recipe of a run holds the paths. The key of a run is of the names and of what
they stand for: a start with another content makes other runs, and the folder of a comparison may be moved, also before
it is done. Data that it only reads must stay: the command takes another place for other data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.synthetic import write_motion_set
from tubelet.errors import ConfigError, DataError
from tubelet.recipe import Recipe
from tubelet.runs.data import read_run_data, run_on_same_data
from tubelet.runs.result import content_key
from tubelet.studies.arms import FIRST_SEED, GENERATED, START, Comparison, Generated
from tubelet.studies.items import COMPARED, TestItem, item_of

NUMBERS = ("no", "one", "two")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A recipe with paths in place of names, and the key of its content."""

    recipe: Recipe
    key: str


class Assets:
    """Knows where everything lies below ``out``, and what is in it."""

    def __init__(self, comparison: Comparison, out: Path) -> None:
        self.comparison, self.out = comparison, out.absolute()
        self._starts: dict[tuple[str, str], tuple[Path, str]] = {}
        self._manifests: dict[tuple[str, str], Manifest] = {}
        self._likes: dict[tuple[str, str], Path | None] = {}

    def generate(self, progress: Callable[[str, int, int], None] = lambda name, done, total: None) -> None:
        """Write the clips that are missing. ``progress`` gets the set, the clips done and their number."""
        for name in self._needed_sets():
            made = self.comparison.generated[name]
            write_motion_set(
                self._folder(name),
                made.counts,
                labels=made.classes,
                size_pixels=made.size_pixels,
                num_frames=made.num_frames,
                seed=made.seed,
                progress=lambda done, total, name=name: progress(name, done, total),  # type: ignore[misc]
            )

    def _needed_sets(self) -> list[str]:
        """Those that arms and starts of this session read, in the order of the file."""
        recipes = []
        for dataset in self.comparison.datasets:
            recipes += [self._recipe(dataset, arm) for arm in self.comparison.running]
            recipes += [self.comparison.start_recipe(dataset, name) for name in self.needed_starts(dataset)]
        sources = {recipe.data.source for recipe in recipes}
        return [name for name in self.comparison.generated if GENERATED + name in sources]

    def check(self, *, generated: bool = True) -> list[str]:
        """Whether the data can be tuned and judged on, and what their reader decided.

        Args:
            generated: also data that the comparison generates, which must be there; otherwise only what it finds.

        Raises:
            DataError: a split is missing, or has one class where that leaves the metric undefined.
            ConfigError: several heads, several labels per video, or arms that are tested on different items.
        """
        notes = []
        for dataset in self.comparison.datasets:
            recipes = {arm: self._recipe(dataset, arm) for arm in self.comparison.running}
            manifests = {
                arm: self._manifest_of(recipe)
                for arm, recipe in recipes.items()
                if generated or not recipe.data.source.startswith(GENERATED)
            }
            for arm, manifest in manifests.items():
                _check_splits(dataset, manifest, self.comparison.metric_on(dataset))
                notes += [f"{dataset}: {note}" for note in manifest.notes]
                first = next(iter(manifests))
                if _judged_items(manifest) != _judged_items(manifests[first]):
                    raise ConfigError(
                        f"arms '{first}' and '{arm}' on '{dataset}' have different validation or test items; arms of a "
                        "dataset may differ in what they train on alone"
                    )
        return list(dict.fromkeys(notes))

    def splits(self, dataset: str) -> dict[str, tuple[int, int]]:
        """How many items each split has: fewest and most of the arms."""
        manifests = [self.manifest(dataset, arm) for arm in self.comparison.running]
        counts = {name: [len(manifest.split(name)) for manifest in manifests] for name in ("train", "val", "test")}
        return {name: (min(of), max(of)) for name, of in counts.items()}

    def groups(self, dataset: str) -> dict[TestItem, str]:
        """What each item of the data that the arms see belongs to."""
        samples = self.manifest(dataset, next(iter(self.comparison.running))).samples
        return {item_of(sample): group for sample, group in zip(samples, units_of(samples), strict=True)}

    def manifest(self, dataset: str, arm: str) -> Manifest:
        """What an arm reads, wherever the comparison lies by now; read once."""
        return self._manifest_of(self._recipe(dataset, arm))

    def fingerprint(self, dataset: str) -> str:
        """Of the data that the arms see."""
        return self.manifest(dataset, next(iter(self.comparison.running))).fingerprint

    def _recipe(self, dataset: str, arm: str) -> Recipe:
        """An arm's, with names in place of paths; data and first weights are the same at every setting and seed."""
        return self.comparison.recipe(dataset, arm, {}, FIRST_SEED)

    def _manifest_of(self, recipe: Recipe) -> Manifest:
        data = self._with_data(recipe).data
        asked = str(data.source), str(data.manifest)
        if asked not in self._manifests:
            placed = dataclasses.replace(recipe, data=data)
            self._likes[asked] = run_on_same_data(self.out / "runs", placed)
            self._manifests[asked] = read_run_data(placed, None, self._likes[asked])
        return self._manifests[asked]

    def like(self, recipe: Recipe) -> Path | None:
        """The run whose split a new run of a placed recipe takes. None means its own."""
        return self._likes[str(recipe.data.source), str(recipe.data.manifest)]

    def needed_starts(self, dataset: str) -> list[str]:
        """The models that arms of this session start from."""
        recipes = (self._recipe(dataset, arm) for arm in self.comparison.running)
        return sorted({name for recipe in recipes if (name := _start_of(recipe)) is not None})

    def start(self, dataset: str, name: str) -> tuple[Path, Placed]:
        """Where a start lies, and how it is made."""
        placed = self.place(dataset, self.comparison.start_recipe(dataset, name))
        return self.out / "starts" / dataset / f"{name}-{placed.key[:8]}", placed

    def place(self, dataset: str, recipe: Recipe) -> Placed:
        """The recipe as it runs here."""
        fingerprint, start = self._manifest_of(recipe).fingerprint, _start_of(recipe)
        key_of = recipe
        if start is not None and recipe.init is not None:
            if (dataset, start) not in self._starts:
                folder, made = self.start(dataset, start)
                self._starts[dataset, start] = folder, made.key
            folder, start_key = self._starts[dataset, start]
            key_of = dataclasses.replace(recipe, init=dataclasses.replace(recipe.init, source=START + start_key))
            recipe = dataclasses.replace(recipe, init=dataclasses.replace(recipe.init, source=str(folder / "best")))
        return Placed(recipe=self._with_data(recipe), key=content_key(key_of, fingerprint, self.out))

    def _with_data(self, recipe: Recipe) -> Recipe:
        source = recipe.data.source
        if not source.startswith(GENERATED):
            return recipe
        folder = self._folder(source.removeprefix(GENERATED))
        return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(folder)))

    def _folder(self, name: str) -> Path:
        return self.out / "data" / f"{name}-{_content_of(self.comparison.generated[name])}"


def _check_splits(dataset: str, manifest: Manifest, metric: str) -> None:
    missing = [name for name in ("train", "val", "test") if name not in manifest.splits]
    if missing:
        raise DataError(
            f"dataset '{dataset}': has no split {' and no split '.join(missing)}; a comparison trains on train, "
            "chooses on val and judges on test"
        )
    if len(manifest.class_names) != 1 or manifest.multi_label:
        raise ConfigError(f"dataset '{dataset}': a comparison needs one head with one label per video")
    found = COMPARED.decisive(metric)
    for name in ("val", "test"):
        num_classes = sum(count > 0 for count in manifest.split(name).class_counts().values())
        if num_classes < found.num_classes_needed:
            raise DataError(
                f"dataset '{dataset}': split {name} has {NUMBERS[num_classes]} class, and {found.title} needs "
                f"{NUMBERS[found.num_classes_needed]}; use metric {COMPARED.best}"
            )


def _judged_items(manifest: Manifest) -> list[tuple[TestItem, tuple[int, ...]]]:
    return [(item_of(sample), sample.labels) for name in ("val", "test") for sample in manifest.split(name).samples]


def _start_of(recipe: Recipe) -> str | None:
    source = "" if recipe.init is None else recipe.init.source
    return source.removeprefix(START) if source.startswith(START) else None


def _content_of(made: Generated) -> str:
    """What a set is made of, for the name of its folder: one that changes is made beside the old one."""
    counts = "-".join(str(count) for count in made.counts.values())
    return f"{made.classes}-{counts}-{made.size_pixels}x{made.num_frames}-{made.seed}"
