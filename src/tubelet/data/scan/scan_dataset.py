"""The scan of a dataset: decodes every file once, in processes that may hang or crash, and reports what is wrong.

Each finished file adds a line to ``results.jsonl``, with the file's fingerprint. A scan that was interrupted, or that
runs again after some files changed, decodes only the files without a valid line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tubelet.data.layouts.rows import some
from tubelet.data.loading.worker_pool import in_order
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import NearCopies, find_near_copies
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.scan.config import ScanConfig
from tubelet.data.scan.findings import Findings, findings
from tubelet.data.scan.scan_file import FileFacts, FileScanner, ScanFile, fingerprint, missing_facts
from tubelet.errors import DataError
from tubelet.files import appended_lines, json_lines

RESULTS = "results.jsonl"
_VERSION = 3  # of the lines of the results; lines of other versions are not reused


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The facts about all files of a manifest, and the findings."""

    manifest: Manifest
    facts: dict[str, FileFacts]  # by path, in the order of the manifest
    findings: Findings
    num_reused: int  # number of files whose result an earlier scan wrote
    near_copies: NearCopies  # among the good files

    def of(self, manifest: Manifest) -> Scan:
        """The same facts about a manifest with other splits."""
        found = findings(manifest, self.facts, self.near_copies.groups)
        return replace(self, manifest=manifest, findings=found)


def files_of(manifest: Manifest) -> dict[str, ScanFile]:
    """The files of a manifest by the path of ``row_path``, each once, in its order.

    Raises:
        DataError: it has no row, so that there is nothing to be said of it.
    """
    if not len(manifest):
        missing = manifest.missing
        raise DataError(
            f"{manifest.root}: no row to scan"
            + (f", as none of the {len(missing)} files that it names is there: {some(missing)}" if missing else "")
            + "; correct the names or set the root folder"
        )
    return {
        row_path(row): ScanFile(path=row_path(row), file=manifest.path_of(row), entry=row.entry, fps=row.fps)
        for row in manifest.samples
    }


def scan(
    manifest: Manifest, config: ScanConfig, folder: Path, on_file: Callable[[int, int], None] = lambda done, total: None
) -> Scan:
    """Decode every file of a manifest, and look for near-copies among the good ones.

    Args:
        manifest: the rows. Files may be missing, and classes may have no training rows.
        config: processes and time limits.
        folder: where results are kept from scan to scan. It is made if missing.
        on_file: called with how many files are done, and how many there are.

    Raises:
        DataError: the manifest has no row.
    """
    files = files_of(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {facts.path: facts for facts in kept_facts(folder / RESULTS, files)}
    num_reused = len(facts)
    todo = []
    for path, source in files.items():
        if not source.file.exists():
            facts[path] = missing_facts(path)
        elif path not in facts:
            todo.append(source)
    on_file(len(files) - len(todo), len(files))
    with appended_lines(folder / RESULTS) as append:
        for found in decoded(tuple(todo), config):
            facts[found.path] = found
            append(line_of(found))
            on_file(len(facts), len(files))
    return scan_of(manifest, {path: facts[path] for path in files}, num_reused, on_file)


def scan_of(
    manifest: Manifest,
    facts: dict[str, FileFacts],
    num_reused: int = 0,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> Scan:
    """What is wrong with files that are decoded: the findings, and the near-copies among the good ones.

    Args:
        manifest: the rows.
        facts: about all files, by path, in the order of the manifest.
        num_reused: how many of them are of an earlier scan.
        on_file: called with how many files are compared, and how many there are.
    """
    copies = find_near_copies(
        manifest.root,
        manifest.samples,
        manifest.folder,
        max_clips=None,
        max_seconds=None,
        skipped={row.entry or row.path for row in manifest.samples if facts[row_path(row)].kind != "ok"},
        on_file=on_file,
    )
    return Scan(
        manifest=manifest,
        facts=facts,
        findings=findings(manifest, facts, copies.groups),
        num_reused=num_reused,
        near_copies=copies,
    )


def line_of(facts: FileFacts) -> dict[str, Any]:
    """A line of the results."""
    return {"version": _VERSION, **asdict(facts)}


def kept_facts(results: Path, files: dict[str, ScanFile]) -> Iterator[FileFacts]:
    """The earlier results of files that have not changed since.

    Files whose process hung or crashed are tried again, because the cause may not have been the file.
    """
    marks: dict[Path, str] = {}  # one .npz file holds many volumes
    for line in json_lines(results):
        found = facts_of(line)
        source = files.get(found.path) if found else None
        if found is None or source is None or found.kind in ("hung", "crashed") or not source.file.exists():
            continue
        if source.file not in marks:
            marks[source.file] = fingerprint(source.file)
        if marks[source.file] == found.fingerprint:
            yield found


def facts_of(data: Any) -> FileFacts | None:
    """The facts in a line. None for a line of another version."""
    names = {field.name for field in fields(FileFacts)}
    if not isinstance(data, dict) or data.pop("version", None) != _VERSION or set(data) != names:
        return None
    return FileFacts(**(data | {"notes": tuple(data["notes"])}))


def decoded(files: tuple[ScanFile, ...], config: ScanConfig) -> Iterator[FileFacts]:
    """Yield the facts of each file in order."""
    scanner = FileScanner(timeout_factor=config.timeout_factor, num_channels=config.num_channels)
    found = in_order(scanner, files, config.num_workers, config.timeout_seconds)
    yield from map(_result, files, found)


def _result(source: ScanFile, found: FileFacts | Failure) -> FileFacts:
    if isinstance(found, FileFacts):
        return found
    kind = {"hung": "hung", "died": "crashed", "refused": "unreadable"}[found.kind]
    reason = " ".join(found.line.removeprefix(f"{source.path}: ").split()).partition("; ")[0]
    return FileFacts(path=source.path, fingerprint=_mark_or_none(source.file), kind=kind, reason=reason)  # type: ignore[arg-type]


def _mark_or_none(file: Path) -> str:
    """Size and time of a file. A file that hung its process might hang this one, so it is not opened."""
    try:
        status = file.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"
