"""One run of a comparison: which recipe, in which folder, and what is kept of it.

    runs/DATASET/ARM/SETTING-seedN-KEY/    a run folder (tubelet.runs.folder) with outcome.json

KEY is the content of the run (recipe, data, versions): another content is another run, and the old one stays. All runs
of an arm lie under its name, which is what TensorBoard shows: ``tensorboard --logdir OUT/runs``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tubelet.recipe import Recipe
from tubelet.runs.result import RunResult, read_result
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.tuning import Setting, text_of

TEST = Path("evaluation") / "test" / "metrics.json"


def views_file(number: int) -> Path:
    """The metrics of a final run on the test split with another number of temporal views, below its folder."""
    return Path("evaluation") / f"test-{number}-views" / "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be made."""

    dataset: str
    arm: str
    setting: Setting
    seed: int
    recipe: Recipe
    folder: Path
    key: str
    is_tested: bool  # the test split is evaluated, once, when it is trained
    test_views: tuple[int, ...] = ()  # then also with these numbers of temporal views
    like: Path | None = field(default=None, compare=False)  # the run whose split it takes; None means its own

    @property
    def name(self) -> str:
        """As a person reads it."""
        if not self.setting:
            return f"{self.arm} to start from, on {self.dataset}"
        return f"{self.arm} on {self.dataset}, {text_of(self.setting)}, seed {self.seed}"

    @property
    def result(self) -> RunResult | None:
        """The result of the run. None means that it is not over."""
        return read_result(self.folder)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        result = self.result
        if result is None or not self.is_tested or result.diverged is not None:
            return result is not None
        files = [TEST, *map(views_file, self.test_views)]
        return all((self.folder / file).is_file() for file in files)


def make_job(
    comparison: Comparison,
    assets: Assets,
    dataset: str,
    arm: str,
    setting: Setting,
    seed: int,
    *,
    is_tested: bool,
) -> Job:
    """The run of an arm at a setting."""
    placed = assets.place(dataset, comparison.recipe(dataset, arm, dict(setting), seed))
    # TensorBoard, tables and people read the first half; the key alone decides.
    folder = assets.out / "runs" / dataset / arm / f"{text_of(setting)}-seed{seed}-{placed.key[:8]}"
    return Job(
        dataset=dataset,
        arm=arm,
        setting=setting,
        seed=seed,
        recipe=placed.recipe,
        folder=folder,
        key=placed.key,
        is_tested=is_tested,
        test_views=comparison.test_views if is_tested else (),
        like=assets.like(placed.recipe),
    )


def start_job(assets: Assets, dataset: str, name: str) -> Job:
    """The run of a model that arms start from."""
    folder, placed = assets.start(dataset, name)
    return Job(
        dataset=dataset,
        arm=name,
        setting=(),
        seed=placed.recipe.seed,
        recipe=placed.recipe,
        folder=folder,
        key=placed.key,
        is_tested=False,
        like=assets.like(placed.recipe),
    )
