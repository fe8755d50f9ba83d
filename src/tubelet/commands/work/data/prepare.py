"""``tubelet data prepare``: transcodes the videos of a dataset so that training decodes them faster."""

from __future__ import annotations

import json
import sys

from tubelet.commands.data.prepare import Options
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.prepare_dataset import Prepared, prepare
from tubelet.data.prepare.shared_prepare import PartPrepared, prepare_shard
from tubelet.errors import ConfigError
from tubelet.files import check_path
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.shards import Shard


def run(options: Options) -> int:
    shard = _shard(options)
    check_path(options.out, "OUT", is_written=True)
    manifest = read_manifest(options.data, options.manifest)
    with ConsoleProgress("prepare") as progress:
        for note in manifest.notes:
            progress.note(note)
        done = _prepare(manifest, options, shard, progress)
        if isinstance(done, PartPrepared):
            for line in done.failures.values():
                progress.note(line)
            print(f"tubelet: {done.left}", file=sys.stderr)
            return 1 if done.failures else 0
        for path, notes in done.notes.items():
            for note in notes:
                progress.note(f"{path}: {note}")
        for line in done.failures.values():
            progress.note(line)
    if options.json:
        content = {
            "manifest": str(done.manifest),
            "num_files": done.num_files,
            "num_made": done.num_made,
            "source_bytes": done.source_bytes,
            "prepared_bytes": done.prepared_bytes,
            "failures": done.failures,
            "notes": done.notes,
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        kept = done.num_files - done.num_made - len(done.failures)
        print(f"{done.num_made} files transcoded, {kept} were done before, {len(done.failures)} failed")
        print(f"{done.source_bytes / 1e6:.1f} MB became {done.prepared_bytes / 1e6:.1f} MB; train on {done.manifest}")
    if done.failures:
        print(
            f"tubelet: error: {len(done.failures)} of {done.num_files} videos could not be transcoded and are left out "
            f"of {done.manifest}; replace them and run the command again",
            file=sys.stderr,
        )
    return 1 if done.failures else 0


def _shard(options: Options) -> Shard:
    if options.shard is not None and options.shard.isdecimal():
        raise ConfigError(
            f"--shard is a part of the work, such as 2/8; tar files of {options.shard} MB are --shards {options.shard}"
        )
    return Shard.parse(options.shard)


def _prepare(manifest: Manifest, options: Options, shard: Shard, progress: ConsoleProgress) -> Prepared | PartPrepared:
    if options.shard is None:
        return prepare(manifest, options.out, options.prepare, progress.advance)
    return prepare_shard(manifest, options.out, options.prepare, shard, progress.advance)
