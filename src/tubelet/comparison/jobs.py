"""One run of a comparison: which recipe, in which folder, and what is kept of it.

    runs/DATASET/ARM/SETTING-seedN-KEY/    a run folder (tubelet.run_folder) with outcome.json

KEY is the content of the run (recipe, data, versions): another content is another run, and the old one stays. All runs
of an arm lie under its name, which is what TensorBoard shows: ``tensorboard --logdir OUT/runs``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tubelet.comparison.arms import Comparison
from tubelet.comparison.tuning import Setting, text_of
from tubelet.outcome import Outcome, content_key, read_outcome
from tubelet.recipe import Recipe

TEST = Path("evaluation") / "test" / "metrics.json"


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

    @property
    def name(self) -> str:
        """As a person reads it."""
        return f"{self.arm} on {self.dataset}, {text_of(self.setting)}, seed {self.seed}"

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; none: it is not over."""
        return read_outcome(self.folder)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        outcome = self.outcome
        return outcome is not None and (
            not self.is_tested or outcome.diverged is not None or (self.folder / TEST).is_file()
        )


def make_job(
    comparison: Comparison,
    fingerprints: Mapping[str, str],
    out: Path,
    dataset: str,
    arm: str,
    setting: Setting,
    seed: int,
    *,
    is_tested: bool,
) -> Job:
    """The run of an arm at a setting.

    Args:
        fingerprints: of the data of each dataset.
        out: folder of the comparison.
    """
    recipe = comparison.recipe(dataset, arm, dict(setting), seed)
    key = content_key(recipe, fingerprints[dataset])
    # TensorBoard, tables and people read the first half; the key alone decides.
    folder = out / "runs" / dataset / arm / f"{text_of(setting)}-seed{seed}-{key[:8]}"
    return Job(
        dataset=dataset,
        arm=arm,
        setting=setting,
        seed=seed,
        recipe=recipe,
        folder=folder,
        key=key,
        is_tested=is_tested,
    )


def tested(job: Job) -> Job:
    """The same run, with the test split in the end."""
    return dataclasses.replace(job, is_tested=True)
