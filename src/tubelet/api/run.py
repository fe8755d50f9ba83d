"""A run of training as an object: its folder, its best checkpoint, its figures and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.api.evaluate import evaluate
from tubelet.errors import CheckpointError, TubeletError
from tubelet.evaluation.evaluate import Evaluation
from tubelet.inference.predictor import Classifier, load
from tubelet.recipe import RECIPE, Recipe
from tubelet.report.read import RunFolder, read_run
from tubelet.runs.folder import resume_recipe
from tubelet.tables import Table
from tubelet.types import Device


class Run:
    """The folder of a run, which ``tubelet.train`` returns and ``Run.open`` finds again.

    Args:
        folder: as ``tubelet train --out`` names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run in a folder.

        Raises:
            TubeletError: the folder holds none.
        """
        path = Path(folder)
        if not (path / RECIPE).is_file():
            raise TubeletError(f"{path}: not a run folder: expected {RECIPE} in it; give a folder that `train` wrote")
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe; training by it does the run again."""
        return resume_recipe(self.folder)

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the best validation.

        Raises:
            CheckpointError: no epoch is over.
        """
        if not (self.folder / "best").is_dir():
            raise CheckpointError(f"{self.folder}: no best/ yet: the first epoch is not over")
        return self.folder / "best"

    @property
    def report(self) -> Path | None:
        """The HTML report; None until the run is over."""
        file = self.folder / "report.html"
        return file if file.is_file() else None

    @property
    def content(self) -> RunFolder:
        """Everything that the folder's files say, read anew."""
        return read_run(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json`` of the test split (of val where there is no test); empty until it is over."""
        return dict(self.content.metrics or {})

    def load(self, device: Device = "auto") -> Classifier:
        """The classifier of the best checkpoint."""
        return load(self.best, device)

    def evaluate(self, data: str | Path | None = None, **options: Any) -> Evaluation:
        """Score the best checkpoint: on the test part of its own data, or on other data.

        Args:
            data: None means the data of training.
            options: as of ``tubelet.evaluate``.
        """
        return evaluate(self.best, self.recipe.data.source if data is None else data, **options)

    @property
    def table(self) -> Table:
        """The figures of every validation."""
        columns = self.content.validation
        return Table(title=self.folder.name, columns=tuple(columns), rows=tuple(zip(*columns.values(), strict=True)))

    def to_dataframe(self) -> Any:
        """The figures of every validation as a pandas ``DataFrame``.

        Raises:
            TubeletError: pandas is not installed.
        """
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"
