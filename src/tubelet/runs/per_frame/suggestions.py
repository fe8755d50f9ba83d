"""What ``tubelet suggest`` found, and its files: a project for BORIS, a table and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.layouts.bouts.bout import IGNORED, TO_LABEL, Bout
from tubelet.data.layouts.bouts.write import WrittenFilm, boris_project
from tubelet.errors import ConfigError
from tubelet.files import check_path, write_atomically
from tubelet.session.shards import part_names
from tubelet.tables import Table

PROJECT, TABLE, CONTENT = "suggestions.boris", "suggestions.csv", "suggestions.json"
_COLUMNS = ("rank", "path", "start_seconds", "stop_seconds", "uncertainty", "novelty", "likely")


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One stretch that is worth labeling."""

    path: str  # of its film, absolute
    start_seconds: float
    stop_seconds: float
    uncertainty: float  # mean entropy of the model's answers, in nats
    novelty: float  # mean distance to what is labeled or suggested before, in standard deviations of features
    likely: tuple[str, ...]  # behaviors that the model finds in it


@dataclass(frozen=True, kw_only=True)
class SuggestedFilm:
    """A film with suggested stretches."""

    path: str
    duration_seconds: float
    fps: float
    bouts: tuple[Bout, ...]  # labels so far, what is to be labeled and what is ignored


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """Stretches to label, the best first."""

    stretches: tuple[Suggestion, ...]
    films: tuple[SuggestedFilm, ...]  # those with a stretch
    labels: tuple[str, ...]  # behaviors that the run knows
    failed: tuple[str, ...]  # a line for each film that could not be read

    @property
    def minutes(self) -> float:
        """How long the stretches last together."""
        return sum(stretch.stop_seconds - stretch.start_seconds for stretch in self.stretches) / 60

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "minutes": round(self.minutes, 4),
            "labels": list(self.labels),
            "stretches": [
                dict(zip(_COLUMNS, (*row[:-1], list(s.likely)), strict=True))
                for row, s in zip(self._rows(), self.stretches, strict=True)
            ],
            "failed": list(self.failed),
        }

    def write(self, out: Path) -> None:
        """Write all files into a folder; the project last.

        Raises:
            ConfigError: there is a project already, which may hold labels.
        """
        check_new(out)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows())
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / TABLE, text.getvalue())
        write_atomically(out / CONTENT, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        written = [WrittenFilm(path=f.path, duration_seconds=f.duration_seconds, fps=f.fps, bouts=f.bouts)
                   for f in self.films]  # fmt: skip
        names = part_names([Path(film.path) for film in self.films])
        project = boris_project(
            dict(zip(names, written, strict=True)), (*self.labels, TO_LABEL, IGNORED), out.resolve().name
        )
        write_atomically(out / PROJECT, project)

    def _rows(self) -> Sequence[tuple[Any, ...]]:
        return [
            (
                rank,
                s.path,
                round(s.start_seconds, 6),
                round(s.stop_seconds, 6),
                round(s.uncertainty, 5),
                round(s.novelty, 5),
                "|".join(s.likely),
            )
            for rank, s in enumerate(self.stretches, 1)
        ]

    @property
    def table(self) -> Table:
        """A row per stretch."""
        return Table(title=f"{self.minutes:.1f} minutes to label", columns=_COLUMNS, rows=tuple(self._rows()))

    def to_dataframe(self) -> Any:
        """The stretches as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()


def check_new(out: Path) -> None:
    """Raise ConfigError where the files of a call lie in the folder, for people may have labeled in them."""
    check_path(out, is_written=True)
    if (out / PROJECT).exists():
        raise ConfigError(f"{out / PROJECT}: is there, and may hold labels by now; give another --out")
