"""What every format of bouts gives: films, and who saw which behavior when.

A bout is a stretch of a film with one label. Its times are seconds on the film's clock, which begins with the first
shown frame, or numbers of frames. A point event is a bout of no length: it marks the frame that is on screen then.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Literal

from tubelet.data.layouts.rows import some
from tubelet.errors import DataError

Unit = Literal["seconds", "frames"]  # frames count from 0, and ``stop`` is the first frame behind the bout
IGNORED = "ignore"  # this label marks stretches that are not labeled
TO_LABEL = "to label"  # this label marks what somebody still has to label; it counts as ignored
BACKGROUND = "background"  # this label, or none, means that no behavior is seen


@dataclass(frozen=True, kw_only=True)
class Bout:
    """One stretch with one label."""

    label: str
    start: float  # in ``unit``
    stop: float
    unit: Unit = "seconds"
    subject: str = ""  # whose behavior; empty where nobody is named
    observer: str = ""  # who labeled it; empty where nobody is named
    where: str = ""  # "line 3" of its file, for messages
    # Seconds by which written times may be off: half a unit of the last digit that their file has.
    rounding: float = field(default=0.0005, compare=False)

    @property
    def is_point(self) -> bool:
        """Whether it marks one moment."""
        return self.start == self.stop


@dataclass(frozen=True, kw_only=True)
class LabeledFilm:
    """One film and its bouts, in the order of the file."""

    path: str  # relative to the root of the labels, or absolute
    bouts: tuple[Bout, ...] = ()
    split: str | None = None  # None where the labels do not say
    group: str | None = None  # what stays in one split; None means the film alone
    num_frames: int | None = None  # of a label per frame: how many there are; None means that the labels do not say

    @property
    def observers(self) -> tuple[str, ...]:
        """Who labeled it, in the order of the file."""
        return tuple(dict.fromkeys(bout.observer for bout in self.bouts))

    def of_observer(self, observer: str) -> LabeledFilm:
        """The same film with the bouts of one observer."""
        return dataclasses.replace(self, bouts=tuple(b for b in self.bouts if b.observer == observer))


@dataclass(frozen=True, kw_only=True)
class FilmLabels:
    """The content of a file of bouts."""

    root: Path  # folder that paths are relative to
    films: tuple[LabeledFilm, ...]
    notes: tuple[str, ...] = ()  # for the user, one line each

    @property
    def names(self) -> tuple[str, ...]:
        """The behaviors that occur, sorted, without background and ignored stretches."""
        found = {bout.label for film in self.films for bout in film.bouts}
        return tuple(sorted(found - {BACKGROUND, IGNORED, TO_LABEL}))


def merged_films(films: Iterable[LabeledFilm]) -> tuple[LabeledFilm, ...]:
    """One film per path, with the bouts of all of them.

    Raises:
        DataError: they name different splits or groups.
    """
    found: dict[str, LabeledFilm] = {}
    for film in films:
        before = found.setdefault(film.path, dataclasses.replace(film, bouts=()))
        for name in ("split", "group"):
            if getattr(before, name) != getattr(film, name):
                raise DataError(
                    f"{film.path}: two rows name different {name}s, '{getattr(before, name)}' and "
                    f"'{getattr(film, name)}'; give a film one"
                )
        counts = {count for count in (film.num_frames, before.num_frames) if count is not None}
        if len(counts) > 1:
            raise DataError(f"{film.path}: has labels for {min(counts)} frames and for {max(counts)}; give a film one")
        found[film.path] = dataclasses.replace(
            before, bouts=before.bouts + film.bouts, num_frames=next(iter(counts), None)
        )
    return tuple(found.values())


def with_tiers_as_subjects(tiers: Mapping[str, Sequence[Bout]]) -> tuple[Bout, ...]:
    """The bouts of named tiers. Where several tiers have a label, and nobody is named, each is a subject of its own.

    A tier per animal is how many label several of them, and what one of them does may cross what another one does.
    """
    of_label: dict[str, set[str]] = defaultdict(set)
    for name, bouts in tiers.items():
        for bout in bouts:
            of_label[bout.label].add(name)
    return tuple(
        bout if bout.subject or len(of_label[bout.label]) == 1 else dataclasses.replace(bout, subject=name)
        for name, bouts in tiers.items()
        for bout in bouts
    )


def alike_names(names: Iterable[str]) -> list[str]:
    """A note for the names that differ by case or spaces alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[" ".join(name.casefold().split())].append(name)
    found = [" and ".join(f"'{name}'" for name in same) for same in alike.values() if len(same) > 1]
    return [f"different classes, written nearly alike: {'; '.join(found)}; write one way what is one"] if found else []


def with_rounding(films: Iterable[LabeledFilm]) -> tuple[LabeledFilm, ...]:
    """The films of one file, whose times are as exact as the most digits that any of them is written with."""
    films = tuple(films)
    times = (time for film in films for b in film.bouts if b.unit == "seconds" for time in (b.start, b.stop))
    digits = max((len(f"{time:.9f}".rstrip("0").partition(".")[2]) for time in times), default=0)
    rounding = 0.5 * 10.0**-digits
    return tuple(
        dataclasses.replace(film, bouts=tuple(dataclasses.replace(b, rounding=rounding) for b in film.bouts))
        for film in films
    )


def check_bouts(source: Path, films: Sequence[LabeledFilm]) -> None:
    """Check what every format can get wrong.

    Raises:
        DataError: bouts that end before they start or cross others of the same subject, behavior and observer, or a
            behavior that is now a stretch and now a point. The message counts the rows and names the first.
    """
    problems = [line for film in films for line in (*_reversed(film), *_crossing(film))]
    if problems:
        raise DataError(f"{source}: {len(problems)} unusable bouts; {some(problems, '; ')}")
    kinds: dict[str, dict[bool, Bout]] = defaultdict(dict)
    for bout in (bout for film in films for bout in film.bouts):
        kinds[bout.label].setdefault(bout.is_point, bout)
    for label, of_kind in kinds.items():
        if len(of_kind) > 1:
            raise DataError(
                f"{source}: '{label}' is a stretch in {of_kind[False].where} and a point in {of_kind[True].where}; "
                "give the two different names"
            )


def _reversed(film: LabeledFilm) -> list[str]:
    return [
        f"{bout.where}: '{bout.label}' ends at {bout.stop:g}, before its start at {bout.start:g} {bout.unit}"
        for bout in film.bouts
        if bout.stop < bout.start or bout.start < 0
    ]


def _crossing(film: LabeledFilm) -> list[str]:
    problems, tracks = [], defaultdict(list)
    for bout in film.bouts:
        if not bout.is_point:
            tracks[bout.subject, bout.label, bout.observer, bout.unit].append(bout)
    for track in tracks.values():
        ordered = sorted(track, key=lambda bout: (bout.start, bout.stop))
        for before, bout in itertools.pairwise(ordered):
            if bout.start < before.stop:
                whose = f" of {bout.subject}" if bout.subject else ""
                problems.append(
                    f"{bout.where}: '{bout.label}'{whose} from {bout.start:g} {bout.unit} begins before the one of "
                    f"{before.where} ends at {before.stop:g}"
                )
    return problems


def media_path(root: Path, name: str, where: str) -> str:
    """The path of a film that a label file names, relative to ``root`` where it lies there.

    A path of another machine is looked for by its file name in ``root`` and one folder below.

    Raises:
        ValueError: it is not found.
    """
    if Path(name).is_absolute() and Path(name).exists():
        return name
    if (root / name).exists():
        return Path(name).as_posix()
    last = PureWindowsPath(name).name
    for candidate in (root / last, *sorted(root.glob(f"*/{last}"))) if last else ():
        if candidate.exists():
            return candidate.relative_to(root).as_posix()
    raise ValueError(f"{where}: media '{name}' not found, neither there nor as {last} in {root} or a folder below")
