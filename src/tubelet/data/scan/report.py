"""The report of a scan, as text for people and as plain data for programs. The worst findings come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tubelet.data.layouts.rows import some
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.scan.findings import DuplicateGroup, Findings
from tubelet.data.scan.scan_dataset import Scan

_MAX_LISTED = 50  # lines of one section in the text; report.json has all


def as_dict(scan: Scan) -> dict[str, Any]:
    """The content of ``report.json``: verdict, counts, all findings, all files."""
    found = scan.findings
    return {
        "is_clean": found.is_clean,
        "data_fingerprint": scan.manifest.fingerprint if _all_there(scan) else None,
        "num_rows": len(scan.manifest),
        "num_files": len(scan.facts),
        "seconds": round(sum(facts.seconds for facts in scan.facts.values()), 3),
        "kinds": dict(Counter(facts.kind for facts in scan.facts.values())),
        "leakage": [_plain(group, scan) for group in found.leakage],
        "near_copies": [_plain(group, scan) for group in found.near_copies],
        "near_copy_groups": [list(names) for names in scan.near_copies.groups],
        "label_conflicts": [_plain(group, scan) for group in found.conflicts],
        "bad_files": [asdict(facts) for facts in found.bad_files],
        "absent": [facts.path for facts in found.absent],
        "segments": [
            {"path": row_path(wrong.row), "split": wrong.row.split, "reason": wrong.reason, "is_empty": wrong.is_empty}
            for wrong in found.segments
        ],
        "label_problems": list(found.labels),
        "label_findings": [asdict(finding) for finding in scan.manifest.label_findings],
        "duplicates": [_plain(group, scan) for group in found.duplicates],
        "variable_rate": [asdict(facts) for facts in found.variable_rate],
        "noted": [asdict(facts) for facts in found.noted],
        "classes_in_train_only": list(found.one_split),
        "quarantine": [asdict(line) for line in found.quarantine()],
        "files": [asdict(facts) for facts in scan.facts.values()],
    }


def as_text(scan: Scan) -> str:
    """The report for people, with a heading per kind of finding."""
    found = scan.findings
    hours = sum(facts.seconds for facts in scan.facts.values()) / 3600
    good = sum(facts.kind == "ok" for facts in scan.facts.values())
    parts = [
        f"{len(scan.manifest)} rows, {len(scan.facts)} files, {good} of them good, {hours:.2f} hours decoded\n",
        *_section("PROBLEM: leakage, the same content in several splits", [group.text for group in found.leakage]),
        *_section(
            "PROBLEM: the same content under different labels (decide which is right; not on the quarantine list)",
            [" = ".join(f"{row_path(row)} ({_labels(row.labels, scan)})" for row in g.rows) for g in found.conflicts],
        ),
        *_section(
            "PROBLEM: files that cannot be trusted",
            [f"{facts.kind.replace('_', '-')}: {facts.path}: {facts.reason}" for facts in found.bad_files],
        ),
        *_section(_absent_heading(found), [f"{facts.kind}: {facts.path}: {facts.reason}" for facts in found.absent]),
        *_section(
            "PROBLEM: segments that are not within their videos (those without a frame are on the quarantine list)",
            [f"{row_path(segment.row)} ({segment.row.split}): {segment.reason}" for segment in found.segments],
        ),
        *_section("PROBLEM: classes without training rows", found.labels),
        *_section(
            "warning: what looks like near-copies in several splits: the same footage, cut, mirrored or encoded "
            "otherwise (look at them; not on the quarantine list: split by groups instead)",
            [
                f"{len(g.rows)} rows: {some([f'{row_path(row)} ({row.split})' for row in g.rows])}"
                for g in found.near_copies
            ],
        ),
        *_section("warning: the same content more than once in a split", [group.text for group in found.duplicates]),
        *_section(
            "warning: variable frame rate (frames are found by their times; frame_stride counts frames)",
            [f"{facts.path}: {facts.variable_rate}" for facts in found.variable_rate],
        ),
        *_section(
            "note: what to know of these files",
            [f"{facts.path}: {note}" for facts in found.noted for note in facts.notes],
        ),
        *_section("warning: classes that are trained and not measured", found.one_split),
        *_section("warning: labels", [finding.note for finding in scan.manifest.label_findings]),
    ]
    if found.is_clean:
        parts.append(
            "No problems: every file delivers every frame it promises, and no content is in two splits. "
            f"{scan.near_copies.num_files} files were compared for near-copies.\n"
        )
    return "\n".join(parts)


def _absent_heading(found: Findings) -> str:
    what = "files that the data name and that are not there, so that they have no row"
    return f"warning: {what}" if found.may_be_absent else f"PROBLEM: {what} (skip_missing trains on the others)"


def _section(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        more = len(lines) - _MAX_LISTED
        rest = [f"  and {more} more, all in report.json"] if more > 0 else []
        yield "\n".join([f"{heading}: {len(lines)}", *(f"  {line}" for line in lines[:_MAX_LISTED]), *rest]) + "\n"


def _plain(group: DuplicateGroup, scan: Scan) -> list[dict[str, Any]]:
    return [
        {
            "path": row_path(row),
            "split": row.split,
            "labels": _labels(row.labels, scan),
            "start_seconds": row.start_seconds,
            "end_seconds": row.end_seconds,
            "start_frame": row.start_frame,
            "end_frame": row.end_frame,
        }
        for row in group.rows
    ]


def _labels(labels: tuple[int, ...], scan: Scan) -> str:
    heads = list(scan.manifest.class_names.values()) * (len(labels) if scan.manifest.multi_label else 1)
    return ", ".join(names[label] for names, label in zip(heads, labels, strict=True) if label >= 0)


def _all_there(scan: Scan) -> bool:
    return all(facts.kind != "missing" for facts in scan.facts.values())
