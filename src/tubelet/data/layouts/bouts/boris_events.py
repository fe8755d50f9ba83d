"""From events of BORIS to bouts: a START and the next STOP with the same subject, behavior and modifiers.

Modifiers only pair events, as in BORIS: they are no part of the label. Where a subject does the same with two modifiers
at once, or with one right after the other (BORIS ends the first a millisecond before), that is one bout.

Times of events have the time offset of their observation in them. BORIS adds it when an event is coded, and writes the
sum to projects, tabular and aggregated exports; it takes it off again to find the moment in the film.

Source: BORIS, github.com/olivierfriard/BORIS, boris/write_event.py (offset; STOP before another modifier),
boris/db_functions.py (pairs) and boris/export_observation.py (exports); issue 468 there (offset and media time).
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tubelet.data.layouts.bouts.bout import Bout

NO_SUBJECT = ("", "No focal subject")
_JOINED_SECONDS = 0.001 + 1e-6  # from the STOP that BORIS sets to the START with another modifier


@dataclass(frozen=True, kw_only=True)
class Event:
    """One press of a key."""

    time: float  # seconds on the film's clock
    subject: str
    behavior: str
    modifiers: str = ""
    where: str = ""  # "line 3", for messages


def time_on_film(time: float, offset: float, where: str) -> float:
    """A coded time without the observation's offset. Raises ValueError where it is none."""
    if not math.isfinite(time):
        raise ValueError(f"{where}: the time is {time}; expected seconds")
    if time - offset < -1e-9:
        taken_off = f", less the time offset of {offset:g} s," if offset else ""
        raise ValueError(f"{where}: {time:g} s{taken_off} lies before the film's start")
    return max(0.0, round(time - offset, 9))


def subject_of(name: str) -> str:
    """The subject; empty where BORIS names none."""
    return "" if name in NO_SUBJECT else name


def bouts_of_events(events: Iterable[Event], points: Iterable[str]) -> list[Bout]:
    """The bouts of one film or clock, by subject and behavior.

    Args:
        events: of each subject and behavior in the order in which they pair.
        points: the behaviors without duration.

    Raises:
        ValueError: a START without its STOP.
    """
    tracks: dict[tuple[str, str], dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        tracks[event.subject, event.behavior][event.modifiers].append(event)
    moments, found = frozenset(points), list[Bout]()
    for (_, behavior), by_modifiers in tracks.items():
        if behavior in moments:
            found += [_bout(event, event) for track in by_modifiers.values() for event in track]
        else:
            found += united([(name, bout) for name, track in by_modifiers.items() for bout in _paired(track)])
    return found


def _paired(events: Sequence[Event]) -> list[Bout]:
    if len(events) % 2:
        last = events[-1]
        modified = f" with modifiers '{last.modifiers}'" if last.modifiers else ""
        raise ValueError(
            f"{last.where}: '{last.behavior}'{modified} starts at {last.time:g} s and never stops (an unpaired START; "
            "a STOP has the same subject, behavior and modifiers)"
        )
    return [_bout(start, stop) for start, stop in zip(events[::2], events[1::2], strict=True)]


def _bout(start: Event, stop: Event) -> Bout:
    return Bout(label=start.behavior, start=start.time, stop=stop.time, subject=start.subject, where=start.where)


def united(bouts: Iterable[tuple[str, Bout]]) -> list[Bout]:
    """Bouts of one subject and behavior, each with its modifiers, where those that differ make one bout."""
    ordered, found = sorted(bouts, key=lambda item: (item[1].start, item[1].stop)), list[tuple[str, Bout]]()
    for modifiers, bout in ordered:
        if found and bout.start <= found[-1][1].stop + _JOINED_SECONDS and modifiers != found[-1][0]:
            before = found[-1][1]
            found[-1] = modifiers, dataclasses.replace(before, stop=max(before.stop, bout.stop))
        else:
            found.append((modifiers, bout))
    return [bout for _, bout in found]
