"""Minutes of labels that reach the same accuracy: stretches that ``tubelet suggest`` names, beside stretches by chance.

    python benchmarks/suggest.py OUT [--seeds 0,1,2,3,4] [--gaps 8] [--write]

Of each seed there are new films: some to choose stretches from, and others, labeled whole, to measure on. Behaviors
are rare: gaps between bouts are ``--gaps`` times those of ``benchmarks/moments.py``. Both ways of
choosing begin with the same minute of stretches by chance, and then label up to 2, 3, 4 and 6 minutes, the one what
``suggest`` names for the run so far, the other more stretches by chance (the mean of two draws). Each point is a run
of the recipe ``films/per_frame`` and its frame mAP on the films to measure on. The features are those of a ViViT that
learned other motions of other shapes (those of ``tubelet demo``), the same for all seeds.

The ratio of a seed is the minutes at which the suggested stretches reach what those by chance reach at the end, over
the minutes that those took. Whatever is done is kept in OUT; the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from results import write_result
from scipy.stats import t as student

from tubelet.data.layouts.bouts.bout import IGNORED, FilmLabels
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.synthetic import write_motion_set
from tubelet.data.synthetic_films import LABELS, write_films
from tubelet.files import write_atomically
from tubelet.recipe import load_recipe
from tubelet.runs.per_frame.suggest import suggest_stretches
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.session import Session

MINUTES = (1.0, 2.0, 3.0, 4.0, 6.0)
STRETCH = 6.0  # seconds, of both ways
DRAWS = 2  # of stretches by chance
POOL, TEST, FILM_SECONDS = 10, 4, 120.0
METRIC = "frame_mean_average_precision"
PROTOCOL: dict[str, Any] = {
    "protocol.num_frames": 16,
    "protocol.frame_stride": None,
    "protocol.target_fps": 24.0,
    "protocol.resize_short_side": 64,
    "protocol.crop_size": [64, 64],
    "protocol.mean": [0.2, 0.2, 0.2],
    "protocol.std": [1.0, 1.0, 1.0],
}
Stretch = tuple[str, float, float]  # film, start and stop in seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--gaps", type=float, default=8.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with ConsoleProgress("suggest") as progress:
        session = Session(progress=progress)
        weights = backbone(options.out / "backbone", session)
        curves = {}
        for seed in map(int, options.seeds.split(",")):
            curves[seed] = Seed(options.out / f"seed-{seed}", seed, weights, options.gaps, session).curves()
            progress.note(f"seed {seed}: {json.dumps(curves[seed])}")
    content = {"gaps": options.gaps, "minutes": MINUTES, "curves": curves, **summary(list(curves.values()))}
    print(json.dumps(content, indent=2))
    write_result("suggest", {**content, "last_call_seconds": round(time.monotonic() - began)}, write=options.write)


def backbone(folder: Path, session: Session) -> Path:
    """A ViViT that tells eight motions apart."""
    write_motion_set(folder / "clips", {"train": 1600, "val": 160}, size_pixels=64)
    fields = {"data.source": str(folder / "clips"), "data.num_workers": 1, "protocol.num_temporal_views": 1,
              "model.tubelet_size": [2, 16, 16]}  # fmt: skip
    recipe = load_recipe("motion/vivit_fe", [(name, json.dumps(value)) for name, value in fields.items()])
    run_recipe(recipe, folder / "run", session, final_split="val")
    return (folder / "run/best").resolve()


class Seed:
    """The films of one seed, and what is labeled of them."""

    def __init__(self, folder: Path, seed: int, weights: Path, gaps: float, session: Session) -> None:
        self.folder, self.seed, self.weights, self.session = folder, seed, weights, session
        counts, seconds = {"pool": POOL, "test": TEST}, (FILM_SECONDS, FILM_SECONDS + 1)
        labels = folder / "films" / LABELS
        if not labels.exists():
            write_films(folder / "films", counts, seconds=seconds, seed=1000 + seed, gaps=gaps)
        self.truth = FilmLabels(root=labels.parent, films=read_all(labels))
        self.pool = [film.path for film in self.truth.films if film.path.startswith("pool")]

    def curves(self) -> dict[str, list[float]]:
        """Frame mAP at each of ``MINUTES``, by way of choosing."""
        first = self.by_chance([], MINUTES[0], draw=0)
        found = {"suggested": self.curve("suggested", first, None)}
        drawn = [self.curve(f"chance-{draw}", first, draw) for draw in range(1, DRAWS + 1)]
        return {**found, "chance": np.mean(drawn, axis=0).round(5).tolist()}

    def curve(self, name: str, first: list[Stretch], draw: int | None) -> list[float]:
        """Of stretches by chance, or of those that are suggested where ``draw`` is None."""
        file = self.folder / f"{name}.json"
        done: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        labeled = first
        for number, minutes in enumerate(MINUTES):
            if number < len(done):
                labeled = [tuple(stretch) for stretch in done[number]["labeled"]]
                continue
            if number and draw is None:
                run = self.train(done[-1]["labeled"])[0]
                labeled = labeled + self.suggested(run, minutes - MINUTES[number - 1])
            elif number and draw is not None:
                labeled = self.by_chance(labeled, minutes, draw)
            done.append({"minutes": minutes, "labeled": labeled, METRIC: self.train(labeled)[1]})
            write_atomically(file, json.dumps(done) + "\n")
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        return [round(point[METRIC], 5) for point in done]

    def by_chance(self, labeled: Sequence[Stretch], minutes: float, draw: int) -> list[Stretch]:
        """These stretches and more, up to so many minutes."""
        rng = np.random.default_rng([self.seed, draw])
        starts = np.arange(0, FILM_SECONDS - STRETCH + 1e-6, STRETCH)
        places = [(film, float(start)) for film in self.pool for start in starts]
        found = list(labeled)
        for place in rng.permutation(len(places)):
            film, start = places[place]
            left = 60 * minutes - sum(stop - begin for _, begin, stop in found)
            if left < 1e-6:
                break
            if all(film != name or stop <= start or begin >= start + STRETCH for name, begin, stop in found):
                found.append((film, start, start + min(STRETCH, left)))
        return found

    def suggested(self, run: Path, minutes: float) -> list[Stretch]:
        """What ``tubelet suggest`` names."""
        films = [self.truth.root / name for name in self.pool]
        found = suggest_stretches(run, films, self.session, minutes=minutes, stretch_seconds=STRETCH)
        return [(Path(one.path).name, one.start_seconds, one.stop_seconds) for one in found.stretches]

    def train(self, labeled: Sequence[Stretch]) -> tuple[Path, float]:
        """A run on these stretches, and its frame mAP on the films to measure on."""
        of_film: dict[str, list[tuple[float, float]]] = {}
        for film, start, stop in sorted(map(tuple, labeled)):
            of_film.setdefault(film, []).append((start, stop))
        labels = (
            self.truth.root / f"labels-{sha256(json.dumps(sorted(map(list, labeled))).encode()).hexdigest()[:12]}.csv"
        )
        folder = self.folder / "runs" / labels.stem
        with labels.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "start", "stop", "label", "split"])
            for film in self.truth.films:
                split = "test" if film.path.startswith("test") else "train"
                if split == "test" or film.path in of_film:
                    writer.writerows([film.path, b.start, b.stop, b.label, split] for b in film.bouts)
                    rest = complement(of_film[film.path]) if split == "train" else []
                    writer.writerows([film.path, a, b, IGNORED, split] for a, b in rest)
        own = {"model": {"name": "vivit_ti16x2_fe", "tubelet_size": [2, 16, 16], "embed_dim": 96, "depth": 2,
                         "num_heads": 3, "temporal_depth": 2}}  # fmt: skip
        fields = {**own, **PROTOCOL, "init.source": str(self.weights), "data.source": str(labels),
                  "per_frame.feature_folder": str(self.folder / "features"), "seed": self.seed}  # fmt: skip
        recipe = load_recipe("films/per_frame", [(name, json.dumps(value)) for name, value in fields.items()])
        done = run_recipe(recipe, folder, self.session)
        return folder, float(done.evaluation.metrics[METRIC])


def read_all(labels: Path) -> Any:
    """The films of the pool have no split that a reader knows."""
    text = labels.read_text(encoding="utf-8").replace(",pool\n", ",train\n").replace(",pool\r\n", ",train\r\n")
    known = labels.with_name("truth.csv")
    write_atomically(known, text)
    return read_bouts(known).films


def complement(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What lies between stretches, up to far behind the end of the film."""
    edges = [0.0, *(edge for span in sorted(spans) for edge in span), FILM_SECONDS + 60]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1e-6]


def summary(curves: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """Mean curves, and the ratios of minutes with their 95 % interval over seeds."""
    ratios = [ratio(one["suggested"], one["chance"][-1]) for one in curves]
    found: dict[str, Any] = {name: np.mean([one[name] for one in curves], axis=0).round(4).tolist()
                             for name in ("suggested", "chance")}  # fmt: skip
    gains = [one["suggested"][-1] - one["chance"][-1] for one in curves]
    return {**found, "ratios": [round(r, 3) for r in ratios], "ratio": interval(ratios), "gain_at_end": interval(gains)}


def ratio(suggested: Sequence[float], target: float) -> float:
    """Minutes at which a curve reaches the target, over all minutes; 1 where it does not."""
    reached = np.maximum.accumulate(suggested)
    for number, (minutes, value) in enumerate(zip(MINUTES, reached, strict=True)):
        if value >= target:
            if not number:
                return minutes / MINUTES[-1]
            before, low = MINUTES[number - 1], reached[number - 1]
            return float(before + (minutes - before) * (target - low) / (value - low)) / MINUTES[-1]
    return 1.0


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % interval (Student's t) over seeds."""
    if len(values) < 2:
        return {"mean": round(values[0], 4)}
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return {"mean": round(mean(values), 4), "low": round(mean(values) - half, 4), "high": round(mean(values) + half, 4)}


if __name__ == "__main__":
    main()
