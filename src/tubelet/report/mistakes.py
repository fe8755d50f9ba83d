"""Test clips that one arm gets wrong where the others are right: what an arm fails to see.

Each clip is shown as the model gets it: sampled, resized and cropped by the arm's own protocol, before normalization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest
from tubelet.recipe import RECIPE, load_recipe
from tubelet.report.film_strip import film_strip, frames_of, link_to
from tubelet.report.hard_clips import file_of
from tubelet.report.page import is_playable
from tubelet.runs.data import protocol_of
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.items import ItemScores, TestItem, item_of, on_common_items, read_scores
from tubelet.studies.jobs import TEST
from tubelet.studies.results import ArmResult, ComparisonResult, ProtocolResult

PER_ARM = 2


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A test clip and the arm that gets it wrong."""

    series: int
    arm: str
    name: str  # of the file, and of the entry in it
    true_label: str
    predicted: str  # the wrong answer that the arm's runs give most often
    num_wrong: int  # runs of the arm, whatever they answer
    num_runs: int
    others_right: float  # share of the other arms' runs
    images: tuple[tuple[str, str], ...]  # (alternative text, data address)
    link: str = ""  # to the clip, where a browser may play it


def mistakes(out: Path, result: ComparisonResult, comparison: Comparison) -> dict[str, tuple[Mistake, ...]]:
    """The most telling mistakes of each arm, by dataset, at its own best setting.

    Args:
        out: folder of the comparison, which holds the runs.
    """
    assets = Assets(comparison, out)
    return {p.dataset: tuple(_of(out, p, assets)) for p in result.protocols if p.protocol == "tuned"}


def _of(out: Path, protocol: ProtocolResult, assets: Assets) -> Iterator[Mistake]:
    scores = _scores(out, protocol)
    wrong = {arm: np.mean([_is_wrong(s) for s in of_arm], axis=0) for arm, of_arm in scores.items() if of_arm}
    for series, arm in enumerate(protocol.arms):
        others = [share for name, share in wrong.items() if name != arm.arm]
        if arm.arm not in wrong or not others:
            continue
        excess = wrong[arm.arm] - np.mean(others, axis=0)
        for item in np.argsort(-excess, kind="stable")[:PER_ARM]:
            if wrong[arm.arm][item] >= 0.5 and excess[item] > 0:
                right = float(1 - np.mean([share[item] for share in others]))
                manifest = assets.manifest(protocol.dataset, arm.arm).split("test")
                yield _mistake(out, series, arm, manifest, scores[arm.arm], int(item), right)


def _mistake(
    out: Path, series: int, arm: ArmResult, manifest: Manifest, scores: list[ItemScores], item: int, others_right: float
) -> Mistake:
    answers = [int(of_run.probs[item].argmax()) for of_run in scores]
    label, classes = int(scores[0].labels[item]), scores[0].classes
    wrong = [answer for answer in answers if answer != label]
    folder = out / next(run.folder for run in arm.runs if run.diverged is None)
    return Mistake(
        series=series,
        arm=arm.arm,
        name=Path(scores[0].names[item]).name,
        true_label=classes[label],
        predicted=classes[max(set(wrong), key=wrong.count)],
        num_wrong=len(wrong),
        num_runs=len(answers),
        others_right=others_right,
        images=tuple(_images(folder, manifest, scores[0].items[item])),
        link=link_of(out, manifest, scores[0].items[item]),
    )


def link_of(out: Path, manifest: Manifest, item: TestItem) -> str:
    """The clip as seen from the page."""
    sample = next(sample for sample in manifest.samples if item_of(sample) == item)
    file = file_of(manifest, sample)
    if file is None or not is_playable(file):
        return ""
    return link_to(file, out / "report.html", sample.start_seconds, sample.end_seconds)


def _images(run: Path, manifest: Manifest, item: TestItem) -> Iterator[tuple[str, str]]:
    """Frames of the middle view of a test clip, by the protocol of a run. A feature store has no frames."""
    if manifest.layout == LAYOUT:
        return
    recipe = load_recipe(str(run / RECIPE))
    row = [item_of(sample) for sample in manifest.samples].index(item)  # a file that was not read has no score
    yield from film_strip(frames_of(ClipDataset(manifest, protocol_of(recipe, manifest), "views"), row))


def _scores(out: Path, protocol: ProtocolResult) -> dict[str, list[ItemScores]]:
    """Of each arm's runs that did not diverge, on the items that all of them scored."""
    sound = [(arm.arm, run) for arm in protocol.arms for run in arm.runs if run.diverged is None]
    found = [read_scores(out / run.folder / TEST.with_name("scores.csv")) for _, run in sound]
    scores: dict[str, list[ItemScores]] = {arm.arm: [] for arm in protocol.arms}
    for (arm, _), of_run in zip(sound, on_common_items(found) if found else [], strict=True):
        scores[arm].append(of_run)
    return scores


def _is_wrong(scores: ItemScores) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = scores.probs.argmax(axis=1) != scores.labels
    return wrong
