"""How well near-copies are found: recall and precision of pairs of clips cut from films, and what is merged wrongly.

    python benchmarks/near_copies.py FILMS --fight FOLDER --pocus FOLDER     --write puts the result into docs/results

From each film, clips of four to six seconds are cut at times that do not fit together, and mirrored, brightened, made
smaller and re-encoded. Two clips are a true pair if they show the same film and at least half of the shorter one is in
both. A found pair is right if both are of one film. Whole films are compared as well, because two that are one source
would have to count as one.

Labeled data (``fight`` with its column group, ``pocus`` with its column patient) and generated motions show what is
merged beyond the true groups.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
from results import write_result

from tubelet.data.manifest.fingerprints import MAX_SECONDS, fingerprint
from tubelet.data.manifest.near_copies import ALIKE, groups_of, link_near_copies
from tubelet.data.synthetic import write_motion_set
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.scaling import CropWindow

CLIPS_PER_FILM = 8
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A clip cut from a film."""

    file: Path
    film: str
    start: float
    end: float

    def overlap(self, other: Cut) -> float:
        """Seconds of the film that both show."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def is_pair(self, other: Cut) -> bool:
        shorter = min(self.end - self.start, other.end - other.start)
        return self.film == other.film and self.overlap(other) >= shorter / 2


def cut_clips(films: Sequence[Path], folder: Path) -> Iterator[Cut]:
    """Clips of each film, changed in one or several ways each."""
    rng = np.random.default_rng(SEED)
    for film in films:
        with VideoReader(film) as reader:
            seconds = float(reader.timestamps[-1])
            for number in range(CLIPS_PER_FILM):
                length = min(rng.uniform(4.0, 6.0), seconds)
                start = rng.uniform(0.0, max(0.0, seconds - length))
                inside = (reader.timestamps >= start) & (reader.timestamps <= start + length)
                height = int(rng.choice([144, 192, 256])) // 2 * 2
                width = round(height * reader.width / reader.height / 2) * 2
                window = CropWindow(box=(0, 0, reader.height, reader.width), size=(height, width))
                pixels = reader.frames_at(inside.nonzero()[0].tolist(), window).pixels.permute(0, 2, 3, 1).numpy()
                file = folder / f"{film.stem}{film.suffix[1:]}_{number}.mp4"
                _write(file, _changed(pixels, number, rng), reader.fps, crf=int(rng.choice([20, 28, 36])))
                yield Cut(file=file, film=film.name, start=start, end=start + length)


def _changed(pixels: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Half of the clips mirrored, and half brighter or darker with another contrast."""
    if number % 2:
        pixels = pixels[:, :, ::-1]
    if number // 2 % 2:
        gain, offset = rng.uniform(0.6, 1.4), rng.uniform(-40, 40)
        pixels = (pixels.astype(np.float32) * gain + offset).clip(0, 255).astype(np.uint8)
    return pixels


def _write(file: Path, pixels: np.ndarray, fps: float, crf: int) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=round(fps), options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))


def measure_cuts(folder_of_films: Path) -> dict[str, Any]:
    films = sorted(folder_of_films.iterdir())
    of_one_source = link_near_copies({film.name: fingerprint(film) for film in films})
    with tempfile.TemporaryDirectory() as folder:
        cuts = {str(cut.file): cut for cut in cut_clips(films, Path(folder))}
        prints = {name: fingerprint(Path(name)) for name in cuts}
    pairs = link_near_copies(prints)
    linked = {frozenset(pair[:2]) for pair in pairs}
    grouped = {frozenset(pair) for group in groups_of(pairs) for pair in itertools.combinations(group, 2)}
    true = {frozenset((a, b)) for a, b in itertools.combinations(cuts, 2) if cuts[a].is_pair(cuts[b])}

    def share(found: set[frozenset[str]]) -> dict[str, Any]:
        ends = [[cuts[name] for name in pair] for pair in found]
        return {
            "num_pairs": len(found),
            "recall": len(found & true) / len(true),
            "precision_same_film": sum(a.film == b.film for a, b in ends) / max(1, len(found)),
            "precision_same_footage": sum(a.film == b.film and a.overlap(b) > 0 for a, b in ends) / max(1, len(found)),
        }

    missed = [sorted(Path(name).name for name in pair) for pair in true - grouped]
    wrong = [sorted(Path(n).name for n in pair) for pair in grouped if len({cuts[n].film for n in pair}) > 1]
    return {
        "num_clips": len(cuts),
        "num_films": len(films),
        "films_of_one_source": of_one_source,
        "num_true_pairs": len(true),
        "linked": share(linked),
        "grouped": share(grouped),
        "missed": sorted(missed)[:20],
        "wrong": sorted(wrong)[:20],
    }


def measure_table(folder: Path, table: str, column: str) -> dict[str, Any]:
    """Against the groups that a table states."""
    with (folder / table).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return measure_groups({row["path"]: row[column] for row in rows}, folder)


def measure_motions(num_clips: int) -> dict[str, Any]:
    """Every generated clip is a group of its own."""
    with tempfile.TemporaryDirectory() as name:
        write_motion_set(Path(name), {"train": num_clips}, seed=SEED)
        files = sorted(Path(name).rglob("*.mp4"))
        return measure_groups({str(file.relative_to(name)): str(file) for file in files}, Path(name))


def measure_groups(true: Mapping[str, str], folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    prints = {name: fingerprint(folder / name) for name in true}
    read = time.monotonic() - began
    pairs = link_near_copies(prints)
    groups = groups_of(pairs)
    grouped = [pair for group in groups for pair in itertools.combinations(group, 2)]
    sizes = Counter(true.values())
    same = sum(size * (size - 1) // 2 for size in sizes.values())
    right = sum(true[a] == true[b] for a, b in grouped)
    beyond = [len(group) - max(Counter(true[name] for name in group).values()) for group in groups]
    return {
        "num_clips": len(true),
        "num_true_groups": len(sizes),
        "num_true_pairs": same,
        "num_found_groups": len(groups),
        "num_found_pairs": len(grouped),
        "recall": right / same if same else None,
        "precision": right / len(grouped) if grouped else None,
        "largest_group": max(map(len, groups), default=1),
        "most_beyond_one_true_group": max(beyond, default=0) / len(true),
        "wrong": [list(pair) for pair in grouped if true[pair[0]] != true[pair[1]]][:20],
        "seconds_reading": round(read, 1),
        "seconds_comparing": round(time.monotonic() - began - read, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path, help="folder of films of eight seconds or more")
    parser.add_argument("--fight", type=Path, help="folder with fold0.csv, column group")
    parser.add_argument("--pocus", type=Path, help="folder with fold0.csv, column patient")
    parser.add_argument("--motions", type=int, default=400, help="generated clips, a multiple of 8")
    parser.add_argument("--write", action="store_true", help="into docs/results; else into runs/results")
    options = parser.parse_args()
    content: dict[str, Any] = {
        "command": "python benchmarks/near_copies.py FILMS --fight FOLDER --pocus FOLDER",
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "versions": {"av": av.__version__, "numpy": np.__version__},
        "alike": ALIKE,
        "first_seconds_of_a_file": MAX_SECONDS,
        "cut_from_films": measure_cuts(options.films),
        "generated_motions": measure_motions(options.motions),
    }
    if options.fight:
        content["fight"] = measure_table(options.fight, "fold0.csv", "group")
    if options.pocus:
        content["pocus"] = measure_table(options.pocus, "fold0.csv", "patient")
    write_result("near_copies", content, write=options.write)
    print(json.dumps(content, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
