"""The options that say which columns of a table hold files and labels, for the commands that read data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tubelet.data.layouts.config import ManifestConfig


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    path_column: str | None = None  # CSV column with the file of each row; by default path
    label_column: tuple[str, ...] = ()  # CSV columns with labels, one per head of the model; by default label

    def applied_to(self, config: ManifestConfig) -> ManifestConfig:
        """``config`` with the columns that were given."""
        given = {"path_column": self.path_column, "label_columns": self.label_column}
        return dataclasses.replace(config, **{name: value for name, value in given.items() if value})  # type: ignore[arg-type]
