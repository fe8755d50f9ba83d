"""From a project of BORIS and its films to ethograms of films that nobody has labeled, step by step.

python examples/boris_to_ethogram.py project.boris new_films/ --init runs/clips/best --out ethograms

1. Look at the labels: which behaviors, how many bouts of which length, in which films.
2. Train: every labeled film goes once through the model of --init, and a small head learns from its features. Films
   are held out whole, and the bout rules are chosen on them.
3. Find the same behaviors in other films: a folder for each with its ethogram, bouts and scores, and a project that
   BORIS opens, so that what was found can be looked through and corrected there.

What stands behind "--" goes to `tubelet train`: -- --epochs 10 --per_frame.labels one
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

from tubelet import cli
from tubelet.data.layouts.bouts.read import read_bouts


def look(project: Path) -> None:
    """Print what is labeled. Times are seconds on the film's clock."""
    labels = read_bouts(project)
    for note in labels.notes:
        print(f"note: {note}")
    for name in labels.names:
        lengths = [b.stop - b.start for film in labels.films for b in film.bouts if b.label == name]
        films = sum(any(b.label == name for b in film.bouts) for film in labels.films)
        print(f"{name}: {len(lengths)} bouts in {films} films, {sum(lengths):.1f} s, median {median(lengths):.2f} s")


def tubelet(*words: str) -> None:
    """Show a command, and run it as a shell would."""
    print("$ tubelet", *words, flush=True)
    if code := cli.main(list(words)):
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("films", nargs="+", help="films, or folders of them")
    parser.add_argument("--init", help="checkpoint whose features are used; without one they are random")
    parser.add_argument("--out", type=Path, required=True)
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, more = parser.parse_args(sys.argv[1:place]), sys.argv[place + 1 :]
    look(options.project)
    run, init = options.out / "run", ["--init", options.init] if options.init else []
    tubelet("train", "--task", "per_frame", "--data", str(options.project), *init, "--out", str(run), *more)
    tubelet("moments", *options.films, "--model", str(run), "--out", str(options.out / "moments"))


if __name__ == "__main__":
    main()
