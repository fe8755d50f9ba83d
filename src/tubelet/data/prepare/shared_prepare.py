"""Transcoding in parts that several calls share: a block of files is a part, and the last call writes the manifest.

Transcoded files lie where one call would put them; a part is their lines of the ledger, and says of a file that could
not be transcoded why.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.made_from import LEDGER
from tubelet.data.prepare.prepare_dataset import Prepared, finish, is_done, ledger, source_files
from tubelet.data.prepare.transcode_pool import SourceFile, line_of, transcoded
from tubelet.errors import DataError
from tubelet.files import write_atomically
from tubelet.session.shards import PARTS, Block, Shard, SharedWork, claim, digest_of

_FAILURE = "failure"  # in the line of a file that could not be transcoded


@dataclass(frozen=True, kw_only=True)
class PartPrepared:
    """What a call has done where others have still to do theirs."""

    left: str  # in one line
    failures: dict[str, str]  # path in the manifest: one line


def prepare_shard(
    manifest: Manifest, out: Path, config: PrepareConfig, shard: Shard, on_file: Callable[[int, int], None]
) -> Prepared | PartPrepared:
    """Transcode the videos of a part, and finish where no part is missing.

    A file that has changed, or could not be transcoded, is tried again. Arguments are those of ``prepare``.

    Raises:
        ConfigError: ``out`` holds parts of other files or settings.
        DataError: as of ``prepare``; or a transcoded file went away before all were joined.
    """
    files = source_files(manifest, out, config)
    out.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({**asdict(config.encoding), "av": version("av")})
    claim(out / PARTS, {"list of files": digest_of(files), "encoding": settings}, "prepared files")
    work, paths = SharedWork(out, shard, len(files)), list(files)
    own = [paths[number] for block in work.own for number in block.items]
    lines = {path: line for path, line in _lines(work, work.own, out).items() if is_done(out, files[path], line)}
    todo = {path: files[path] for path in own if path not in lines}
    _make_parts(work, files, lines, todo, config, on_file)
    left = work.missing_text()
    if left is not None:
        failed = {path: lines[path][_FAILURE] for path in todo if _FAILURE in lines[path]}
        return PartPrepared(left=left, failures=failed)
    found = _lines(work, work.blocks, out)
    failures = {path: line[_FAILURE] for path, line in found.items() if _FAILURE in line}
    done = {path: line for path, line in found.items() if path not in failures}
    if gone := [path for path, line in done.items() if not is_done(out, files[path], line)]:
        raise DataError(
            f"{gone[0]}: has changed since its part was made, or its copy went away ({len(gone)} such files); run all "
            "parts again"
        )
    num_made = sum(path not in failures for path in todo)
    return finish(manifest, out, config, files, done, failures, num_made)


def _lines(work: SharedWork, blocks: list[Block], out: Path) -> dict[str, dict[str, Any]]:
    """The lines of blocks. What the ledger of an earlier joining says of a file, such as its tar shard, is newer."""
    found: dict[str, dict[str, Any]] = {}
    for block in blocks:
        found |= ledger(work.path(block) / LEDGER)
    joined = ledger(out / LEDGER)
    newer = {path for path, line in found.items() if joined.get(path, {}).get("mark") == line["mark"]}
    return {path: joined[path] if path in newer else line for path, line in found.items()}


def _make_parts(
    work: SharedWork,
    files: dict[str, SourceFile],
    lines: dict[str, dict[str, Any]],
    todo: dict[str, SourceFile],
    config: PrepareConfig,
    on_file: Callable[[int, int], None],
) -> None:
    """Transcode, and write the part of every block in which a file was to do."""
    paths, done, total = list(files), len(lines), len(lines) + len(todo)
    on_file(done, total)
    results = transcoded(todo, config.encoding, config.num_workers)
    for block in work.own:
        of_block = [paths[number] for number in block.items]
        if work.is_done(block) and not any(path in todo for path in of_block):
            continue
        for path in (path for path in of_block if path in todo):
            _, result = next(results)
            made = {_FAILURE: line_of(result)} if isinstance(result, Failure) else result
            lines[path] = {"path": path, "mark": files[path].mark, **made}
            done += 1
            on_file(done, total)
        with work.writing(block) as part:
            text = "".join(json.dumps(lines[path], ensure_ascii=False) + "\n" for path in of_block)
            write_atomically(part / LEDGER, text)
