"""Published files that ``tubelet convert`` reads: one row of ``published_weights.csv`` per file, with three licenses.

The rows come from the READMEs and model zoos of the official code, and from the names on the hub that the scripts of
``transformers`` convert. The license of the code is what its repository states. That of the weights is written where a
page beside the weights was read, and that of the training data where its terms were; all else is ``unverified``. None
of these files was ever loaded.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from dataclasses import dataclass
from importlib import resources

from tubelet.errors import ConfigError
from tubelet.published import PublishedResult, find_published

UNVERIFIED = "unverified"
ALLOW_COMMERCIAL = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"})
_FILE = "published_weights.csv"
# What is known of the terms of training data; what is not named here was not read.
DATA_LICENSES = {
    "EPIC-Kitchens-100": "cc-by-nc-4.0",
    "Kinetics-400": "annotations cc-by-4.0, each video its uploader's",
    "Kinetics-600": "annotations cc-by-4.0, each video its uploader's",
    "Kinetics-700": "annotations cc-by-4.0, each video its uploader's",
    "Kinetics-710": "annotations cc-by-4.0, each video its uploader's",
}


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """One published file. None means that the source does not state the value."""

    model: str  # name of `tubelet models`
    title: str  # as the source calls it
    dataset: str | None  # what its classes are of, as the folders of the recipes are called; None: an encoder
    start: str | None  # what the weights had learned before
    frames: int | None  # of one clip
    converter: str  # SOURCE of `tubelet convert`
    path: str | None  # on the hub; None: a file that the README or model zoo of the code links to
    code_license: str
    weights_license: str
    data: tuple[str, ...]  # what it was trained on

    @property
    def data_license(self) -> str:
        """Of all training data; ``unverified`` as soon as nobody read the terms of one."""
        found = dict.fromkeys(DATA_LICENSES.get(name, UNVERIFIED) for name in self.data)
        return UNVERIFIED if UNVERIFIED in found or not found else "; ".join(found)

    @property
    def allows_commercial_use(self) -> bool:
        """All three licenses were read and allow it."""
        of_data = {DATA_LICENSES.get(name, UNVERIFIED) for name in self.data} or {UNVERIFIED}
        return {self.code_license, self.weights_license, *of_data} <= ALLOW_COMMERCIAL

    @property
    def command(self) -> str:
        """How it becomes a checkpoint of tubelet."""
        return f"tubelet convert {self.converter} {self.path or 'FILE'} OUT"

    @property
    def result(self) -> PublishedResult | None:
        """The published accuracy; None for encoders, which have none of their own."""
        found = [
            row
            for row in find_published(model=self.model, dataset=self.dataset or "")
            if (row.title, row.start, row.frames) == (self.title, self.start, self.frames)
            and not row.source.startswith("arXiv")  # a paper's figure may be of other weights
        ]
        return found[0] if found else None


@functools.cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """All rows, in the order of the file.

    Raises:
        ConfigError: the file does not fit, which is a fault of the package.
    """
    names = [field.name for field in dataclasses.fields(PublishedWeights)]
    reader = csv.DictReader(resources.files("tubelet").joinpath(_FILE).read_text(encoding="utf-8").splitlines())
    if reader.fieldnames != names:
        raise ConfigError(f"{_FILE}: its columns are {reader.fieldnames}; expected {', '.join(names)}")
    return tuple(
        PublishedWeights(
            model=row["model"],
            title=row["title"],
            dataset=row["dataset"] or None,
            start=row["start"] or None,
            frames=int(row["frames"]) if row["frames"] else None,
            converter=row["converter"],
            path=row["path"] or None,
            code_license=row["code_license"],
            weights_license=row["weights_license"],
            data=tuple(filter(None, row["data"].split("; "))),
        )
        for row in reader
    )
