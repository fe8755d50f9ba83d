"""The findings of a scan: the same content, or near-copies of it, in two splits; the same content under two labels, or
twice; bad files; segments outside their videos; classes without rows.

Two rows show the same content if their files decode to the same frames and their segments overlap.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tubelet.data.layouts.readers import LAYOUTS
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import Quarantined, quarantined, row_path
from tubelet.data.manifest.segments import extent
from tubelet.data.scan.scan_file import FileFacts, missing_facts

# Of rows with the same content in several splits, those of the first of these splits stay: a test set that shrinks when
# the training set changes could not be compared with published results.
_KEPT_FIRST = ("test", "val", "train")
# By so much a segment may end behind its video: annotations are rounded, and sound lasts longer than pictures.
_END_SLACK_SECONDS, _END_SLACK_SHARE = 0.5, 0.02


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Rows that show the same content."""

    rows: tuple[Sample, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(sorted({row.split for row in self.rows}))

    @property
    def text(self) -> str:
        return " = ".join(f"{row_path(row)} ({row.split})" for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class OutsideSegment:
    """A row whose segment does not lie within its video."""

    row: Sample
    reason: str
    is_empty: bool  # it begins behind the end, so that no frame is in it


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that is wrong. Empty tuples mean that nothing was found."""

    leakage: tuple[DuplicateGroup, ...]  # the same content in several splits
    near_copies: tuple[DuplicateGroup, ...]  # what looks like the same footage in several splits: a warning
    conflicts: tuple[DuplicateGroup, ...]  # the same content under different labels
    bad_files: tuple[FileFacts, ...]
    segments: tuple[OutsideSegment, ...]
    labels: tuple[str, ...]  # classes without training rows, one line each
    duplicates: tuple[DuplicateGroup, ...]  # the same content twice in one split under one label: a warning
    variable_rate: tuple[FileFacts, ...]  # a warning
    noted: tuple[FileFacts, ...]  # good files with notes: a warning
    one_split: tuple[str, ...]  # classes in the training split only, one line each: a warning
    absent: tuple[FileFacts, ...]  # files that the annotations name and that are not there, so that they have no row
    may_be_absent: bool  # data of the web, whose files vanish: then it is a warning

    @property
    def is_clean(self) -> bool:
        """Whether nothing but warnings was found."""
        absent = () if self.may_be_absent else self.absent
        return not any((self.leakage, self.conflicts, self.bad_files, self.segments, self.labels, absent))

    def quarantine(self) -> Iterator[Quarantined]:
        """Yield the rows to leave out: of bad files, without a frame, and of leaked content all but those of one split.

        Rows with conflicting labels are not among them, because nothing shows which label is right, nor are
        near-copies, because another split keeps them all.
        """
        for facts in self.bad_files:
            yield Quarantined(path=facts.path, reason=f"{facts.kind}: {facts.reason}")
        for segment in self.segments:
            if segment.is_empty:
                yield quarantined(segment.row, f"segment: {segment.reason}")
        for group in self.leakage:
            kept = min(group.splits, key=_KEPT_FIRST.index)
            shown = next(row_path(row) for row in group.rows if row.split == kept)
            for row in group.rows:
                if row.split != kept:
                    yield quarantined(row, f"leakage: the same content is in '{kept}' as {shown}")


def findings(manifest: Manifest, facts: Mapping[str, FileFacts], near_copies: Iterable[Sequence[str]] = ()) -> Findings:
    """Derive the findings.

    Args:
        facts: about each file, by the path of ``row_path``.
        near_copies: groups of files that show the same footage, by path or entry.
    """
    leakage, conflicts, duplicates = [], [], []
    for group in _groups(manifest.samples, facts):
        if len(group.splits) > 1:
            leakage.append(group)
        if len({row.labels for row in group.rows}) > 1:
            conflicts.append(group)
        elif len(group.splits) == 1:
            duplicates.append(group)
    return Findings(
        leakage=tuple(leakage),
        near_copies=tuple(_near_leakage(manifest, near_copies, leakage)),
        conflicts=tuple(conflicts),
        bad_files=tuple(found for found in facts.values() if found.kind != "ok"),
        segments=tuple(_outside(manifest.samples, facts)),
        labels=tuple(_untrained(manifest)),
        duplicates=tuple(duplicates),
        variable_rate=tuple(found for found in facts.values() if found.kind == "ok" and found.variable_rate),
        noted=tuple(found for found in facts.values() if found.kind == "ok" and found.notes),
        one_split=tuple(_only_trained(manifest)),
        absent=tuple(missing_facts(name) for name in manifest.missing),
        may_be_absent=any(name == manifest.layout and layout.may_miss_files for name, layout in LAYOUTS.items()),
    )


def _near_leakage(
    manifest: Manifest, near_copies: Iterable[Sequence[str]], leakage: Sequence[DuplicateGroup]
) -> Iterator[DuplicateGroup]:
    """Groups of near-copies that lie in several splits, without those whose rows leak as the same content already."""
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in manifest.samples:
        rows[sample.entry or sample.path].append(sample)
    known = {row for group in leakage for row in group.rows}
    for names in near_copies:
        group = DuplicateGroup(rows=tuple(row for name in names for row in rows[name]))
        if len(group.splits) > 1 and not known.issuperset(group.rows):
            yield group


def _outside(samples: Sequence[Sample], facts: Mapping[str, FileFacts]) -> Iterator[OutsideSegment]:
    """The segments that begin or end behind the end of their video."""
    for row in samples:
        found, (start, end, unit) = facts[row_path(row)], extent(row)
        if unit == "whole" or found.kind != "ok":
            continue
        length, slack, name = found.seconds, _END_SLACK_SECONDS, "s"
        if unit == "frames":
            slack, length, name = slack * found.num_frames / max(length, 1e-9), found.num_frames, "frames"
        end = length if math.isinf(end) else end
        if start < length and end <= length + max(slack, _END_SLACK_SHARE * (end - start)):
            continue
        there = f"{max(0.0, length - start):.4g} of {max(0.0, end - start):.4g} {name} are there"
        reason = f"the segment is {start:g} to {end:g} {name}, the video ends at {length:.4g} {name}: {there}"
        yield OutsideSegment(row=row, reason=reason, is_empty=start >= length)


def _groups(samples: Sequence[Sample], facts: Mapping[str, FileFacts]) -> Iterator[DuplicateGroup]:
    """Rows of the same content, each group in the order of the manifest."""
    same: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        content = facts[row_path(sample)].content
        if content is not None:
            same[content].append(sample)
    for rows in same.values():
        yield from (DuplicateGroup(rows=tuple(group)) for group in _overlapping(rows) if len(group) > 1)


def _overlapping(rows: list[Sample]) -> list[list[Sample]]:
    """Group rows of one content by overlapping segments. Segments that only touch do not overlap."""
    order = {id(row): position for position, row in enumerate(rows)}
    groups: list[list[Sample]] = []
    reached = 0.0
    extents = [extent(row) for row in rows]
    if len({unit for _, _, unit in extents} - {"whole"}) > 1:  # nothing shows where one lies in the unit of the other
        return [rows]
    for (start, end, _), row in sorted(zip(extents, rows, strict=True), key=lambda pair: pair[0][0]):
        if not groups or start >= reached:
            groups.append([])
            reached = 0.0
        groups[-1].append(row)
        reached = max(reached, end)
    return [sorted(group, key=lambda row: order[id(row)]) for group in groups]


def _untrained(manifest: Manifest) -> Iterator[str]:
    """Lines for classes that are validated or tested and never trained."""
    for head, names, by_split in _counts(manifest):
        for name, other in itertools.product(names, ("val", "test")):
            if "train" in by_split and not by_split["train"][name] and by_split.get(other, {}).get(name):
                yield f"class '{name}' ({head}): {by_split[other][name]} rows in {other}, none in train"


def _only_trained(manifest: Manifest) -> Iterator[str]:
    """Lines for classes that only the training split holds."""
    for head, names, by_split in _counts(manifest):
        for name, other in itertools.product(names, ("val", "test")):
            if other in by_split and by_split.get("train", {}).get(name) and not by_split[other][name]:
                yield f"class '{name}' ({head}): {by_split['train'][name]} rows in train, none in {other}"


def _counts(manifest: Manifest) -> Iterator[tuple[str, tuple[str, ...], dict[str, dict[str, int]]]]:
    """Each head with its class names, and the rows of each class in each split that has rows."""
    for head, names in manifest.class_names.items():
        parts = {
            split: replace(manifest, samples=tuple(row for row in manifest.samples if row.split == split))
            for split in manifest.splits
        }
        yield head, names, {split: part.class_counts(head) for split, part in parts.items()}
