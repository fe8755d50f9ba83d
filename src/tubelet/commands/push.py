"""``tubelet push``: its options. ``tubelet.commands.work.push`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse

DESCRIPTION = """Upload a run (its best checkpoint and its metrics) or a checkpoint folder to huggingface.co.

What is uploaded: model.safetensors, tubelet.json, and README.md, a model card made from the record: metrics with
their views and number of videos, protocol, data, license. Paths of this machine are left out, and the hashes of the
training files too unless --content-hashes asks for them: with them anyone can tell whether the model has seen a video.
Log in once with `hf auth login`.

examples:
  tubelet push runs/first owner/my-gestures --license cc-by-4.0
  tubelet push checkpoints/vivit_b owner/vivit-b --private
  tubelet push runs/first owner/my-gestures --dry-run to_upload   write the folder and upload nothing"""


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]  # a run or a checkpoint folder
    repo: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]  # made if it is missing
    license: str | None = None  # as huggingface.co calls it; by default the one in the record
    private: bool = False  # make a new repository private
    dry_run: Path | None = None  # write what would be uploaded to this folder, which must not exist
    content_hashes: bool = False  # also upload the hashes of the files that it was trained on
    json: bool = False  # print address and files as JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "push", DESCRIPTION)
    from tubelet.commands.work.push import run

    return run(options)
