"""Published results: one row of ``published.csv`` per result, for recipes, cost tables and reports.

The rows come from the papers (arXiv 2103.15691, 2102.00719, 2211.09552, 2102.05095, 2402.13217) and the READMEs and
model zoos of their official code; ``source`` names which. Some papers could only be read through quotations: such rows
are not ``verified``, and every table that prints one says so.

Multiply-adds are those of the source, which counts them in its own way (ViViT adds element-wise work at half weight,
VTN leaves the attention products out) and often for all views together: then they are divided by the views here, with
no more digits than the source has. Costs that stand beside no accuracy here are rows of ``published_costs.csv``;
torchvision states those of its networks for 16 frames, whatever number it trained them on.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from tubelet.errors import ConfigError

_FILE, _COSTS_FILE = "published.csv", "published_costs.csv"


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published accuracy. None means that the source does not state the value."""

    model: str | None  # name of `tubelet models`; None means that tubelet has no such model
    title: str  # as the source calls it, with what it varies
    dataset: str  # as the folders of the recipes are called
    head: str | None  # of several labels, the one that is scored: action, verb or noun
    start: str | None  # what the weights had learned before
    frames: int | None  # of one clip
    pixels: int | None  # height and width of a crop
    views: str | None  # temporal clips x spatial crops, as in ``Protocol.views_text``
    top1: float  # percent
    top5: float | None  # percent
    params_m: float | None  # parameters in millions
    gmacs: float | None  # 10^9 multiply-adds of one view
    source: str
    verified: bool  # False: from memory or second hand; to be printed only with that remark

    @property
    def accuracy_text(self) -> str:
        """``79.9``, ``84.8 / 95.8`` with top-5, and ``(unverified)`` behind where it is."""
        both = " / ".join(_percent(value) for value in (self.top1, self.top5) if value is not None)
        return both if self.verified else f"{both} (unverified)"


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """The cost of one clip as a source states it. None means that the source does not state the value."""

    model: str  # name of `tubelet models`
    title: str  # as the source calls it
    frames: int  # of one clip
    pixels: int  # height and width of a crop
    views: str | None  # temporal clips x spatial crops
    params_m: float | None  # parameters in millions
    gmacs: float | None  # 10^9 multiply-adds of one view
    source: str
    verified: bool  # False: from memory or second hand


@functools.cache
def published_results() -> tuple[PublishedResult, ...]:
    """All rows, in the order of the file: ViViT, VTN, UniFormerV2, TimeSformer, VideoPrism."""
    text = resources.files("tubelet").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(_result(row) for row in csv.DictReader(text.splitlines()))


def find_published(
    *, model: str | None = None, dataset: str | None = None, verified_only: bool = False
) -> tuple[PublishedResult, ...]:
    """The rows of a model, of a dataset, or of both."""
    return tuple(
        row
        for row in published_results()
        if model in (None, row.model) and dataset in (None, row.dataset) and (row.verified or not verified_only)
    )


@functools.cache
def published_costs() -> tuple[PublishedCost, ...]:
    """Every cost once: those that stand with the accuracies, then those of ``published_costs.csv``.

    Parameters alone are a row only where no source states the multiply-adds of the model.
    """
    found: dict[tuple[object, ...], PublishedCost] = {}
    counted = {row.model for row in published_results() if row.gmacs is not None}
    for row in published_results():
        if row.model is None or row.frames is None or row.pixels is None:
            continue
        if row.gmacs is None and (row.params_m is None or row.model in counted):
            continue
        fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(PublishedCost)}
        key = row.model, row.frames, row.pixels, row.views, row.params_m, row.gmacs
        found.setdefault(key, PublishedCost(**fields))
    text = resources.files("tubelet").joinpath(_COSTS_FILE).read_text(encoding="utf-8")
    return (*found.values(), *(_cost(row) for row in csv.DictReader(text.splitlines())))


def _cost(row: Mapping[str, str]) -> PublishedCost:
    return PublishedCost(
        model=row["model"],
        title=row["title"],
        frames=int(row["frames"]),
        pixels=int(row["pixels"]),
        views=row["views"] or None,
        params_m=_number(row["params_m"]),
        gmacs=_number(row["gmacs"]),
        source=row["source"],
        verified={"yes": True, "no": False}[row["verified"]],
    )


def _result(row: Mapping[str, str]) -> PublishedResult:
    """Raises ConfigError where the file does not fit, which is a fault of the package."""
    names = [field.name for field in dataclasses.fields(PublishedResult)]
    if list(row) != names:
        raise ConfigError(f"{_FILE}: its columns are {', '.join(map(str, row))}; expected {', '.join(names)}")
    try:
        return PublishedResult(
            model=row["model"] or None,
            title=row["title"],
            dataset=row["dataset"],
            head=row["head"] or None,
            start=row["start"] or None,
            frames=int(row["frames"]) if row["frames"] else None,
            pixels=int(row["pixels"]) if row["pixels"] else None,
            views=row["views"] or None,
            top1=float(row["top1"]),
            top5=_number(row["top5"]),
            params_m=_number(row["params_m"]),
            gmacs=_number(row["gmacs"]),
            source=row["source"],
            verified={"yes": True, "no": False}[row["verified"]],
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{_FILE}: the row {','.join(row.values())} does not fit: {error}") from None


def _number(text: str) -> float | None:
    return float(text) if text else None


def _percent(value: float) -> str:
    """With the digits of the sources: one, or two where there are two."""
    return f"{value:.2f}".removesuffix("0")
