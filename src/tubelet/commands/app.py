"""``tubelet app``: its options. ``tubelet.commands.work.app`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import parse
from tubelet.types import Device

DESCRIPTION = """See what models find in films, and correct it, on a page in the browser.

The page is served to this machine alone, under the address that is printed: it holds a token, which nobody else has.
It needs nothing from the network. Films are videos, frame folders and volumes. They are scored once, in the
background; what is known is shown at once and kept below the labels folder. Every correction is written to a plain
table there, <film>.csv, before the page shows it as saved; `tubelet train --task per_frame --data LABELS` reads the
folder.

--host opens the page to other machines. It then asks for a password, taken from the environment variable
TUBELET_APP_PASSWORD or asked for at the start. There is no TLS: whoever can listen on the network sees films, labels
and password.

examples:
  tubelet app runs/first --films footage
  tubelet app runs/behaviors runs/first --films footage --labels corrections
  tubelet app runs/first --films footage --window 4s --hop 1s
  tubelet app --films footage
  tubelet app runs/first --films frames --frame-fps 25
  TUBELET_APP_PASSWORD=... tubelet app runs/first --films footage --host 0.0.0.0"""


@dataclass(frozen=True, kw_only=True)
class Options:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()  # run folders or checkpoints; none: labels alone
    films: Path | None = None  # folder of films; films can be dropped on the page too
    labels: Path | None = None  # folder for corrections, by default `labels` in the folder of films
    window: str | None = None  # length of a window of models that classify clips (4s); by default one clip's
    hop: str | None = None  # from one window to the next; by default a window
    frame_fps: float | None = None  # frames per second of frame folders; without it their frame numbers are seconds
    host: str = "127.0.0.1"  # address to listen at; another than this machine's own asks for a password
    port: int = 8747  # port to listen at; 0 takes any free one
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "app", DESCRIPTION)
    from tubelet.commands.work.app import run

    return run(options)
