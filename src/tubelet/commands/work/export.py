"""``tubelet export``: a checkpoint to a file of another runtime, with the proof that it computes the same."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tubelet.commands.export import Options
from tubelet.config import to_dict
from tubelet.data.layouts.find_files import find_files
from tubelet.errors import ConfigError
from tubelet.export.config import ExportConfig
from tubelet.export.export import Exported, check_target, export_model
from tubelet.export.proof import as_one_line
from tubelet.inference.moments.head_file import has_head
from tubelet.session.console_progress import ConsoleProgress
from tubelet.weights.open_checkpoint import open_checkpoint


def run(options: Options) -> int:
    config = ExportConfig(
        format=options.format,
        precision=options.precision,
        num_frames=frames_of(options.frames),
        sizes=tuple(map(size_of, options.size)),
        opset=options.opset,
        two_files=options.two_files,
    )
    if has_head(Path(options.checkpoint)):
        raise ConfigError(
            f"{options.checkpoint}: answers by a per-frame head, which is not exported yet; `tubelet moments` runs it"
        )
    check_target(options.out, config.format, two_files=config.two_files)
    clips = find_files(options.clips) if options.clips else []
    model, record = open_checkpoint(options.checkpoint)
    with ConsoleProgress("export") as progress:
        exported = export_model(model, record, options.out, config, clips=clips, progress=progress)
    if options.json:
        print(json.dumps(_summary(exported), indent=2))
    else:
        names = ", ".join(str(exported.path.with_name(name)) for name in exported.files)
        print(f"written: {names} ({record.model_name}, {config.precision})", file=sys.stderr)
        print(f"proof: {as_one_line(exported.record.proof)}", file=sys.stderr)
    return 0


def _summary(exported: Exported) -> dict[str, object]:
    record = exported.record
    return {
        "files": list(exported.files),
        "precision": record.precision,
        "clips": to_dict(record.clips),
        "proof": to_dict(record.proof),
    }


def frames_of(text: str) -> int | None:
    """The number of frames; None of "dynamic"."""
    if text == "dynamic":
        return None
    if not re.fullmatch(r"[1-9]\d*", text):
        raise ConfigError(f"--frames {text}: expected dynamic, or a number of frames such as 16")
    return int(text)


def size_of(text: str) -> tuple[int, int]:
    """(height, width) of ``HxW``."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(f"--size {text}: expected HEIGHTxWIDTH in pixels, for example 224x224")
    return int(match[1]), int(match[2])
