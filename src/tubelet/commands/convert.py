"""``tubelet convert``: its options. ``tubelet.commands.work.convert`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import check_hub, parse
from tubelet.commands.train_overrides import split_overrides
from tubelet.types import WhichWeights
from tubelet.weights.convert.formats import FORMATS

_LISTED = "\n".join(f"  {name:<12} {form.about}; clips [{form.clip_axes}]" for name, form in FORMATS.items())
DESCRIPTION = f"""Convert published weights to a tubelet checkpoint: every tensor used or dropped for a stated reason.

SOURCE says what PATH holds (a file, a folder, or owner/name on huggingface.co):
{_LISTED}
  tubelet      a checkpoint folder of tubelet, for the way back with --to

The checkpoint carries the protocol and the license that belong to the weights. What names and shapes leave open is
set with --model.FIELD VALUE, another protocol with --protocol.FIELD VALUE. The logits are compared with the
original's on --reference-input (.npy: a clip; .npz: input and logits; axes as above), or on a random clip, where the
original can run here (HuggingFace: pip install transformers). The difference is recorded; `tubelet inspect` shows it.

examples:
  tubelet convert huggingface google/vivit-b-16x2-kinetics400 checkpoints/vivit_b
  tubelet convert scenic ViViT-L_FE_K400/checkpoint checkpoints/vivit_l_fe --labels kinetics400.txt
  tubelet convert scenic ViViT-L_FE_EPIC/checkpoint checkpoints/epic --labels noun=nouns.txt verb=verbs.txt
  tubelet convert scenic weights.npz out --model.attention_order time_space --reference-input stored.npz
  tubelet convert timesformer training_state.pth out --which model
  tubelet convert videomae checkpoint.pth checkpoints/videomae_b --labels kinetics400.txt
  tubelet convert vjepa2 vitl.pt checkpoints/vjepa2_l --which encoder
  tubelet convert vjepa2 FOLDER_OF_ENCODER_AND_PROBE checkpoints/vjepa2_l_ssv2 --labels ssv2.txt
  tubelet convert tubelet runs/first/best exported --to huggingface
  tubelet convert tubelet runs/first/best exported.npz --to scenic"""


@dataclass(frozen=True, kw_only=True)
class Options:
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]  # what PATH holds
    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH")]  # file, folder or owner/name
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]  # what is written; must not exist
    to: Literal["tubelet", "huggingface", "scenic"] = "tubelet"  # format of OUT; scenic is an .npz of its parameters
    which: WhichWeights | None = None  # ema (averaged), model or encoder (raw), of a file with both; default averaged
    labels: tuple[str, ...] = ()  # FILE with class names in logit order, one per line; or HEAD=FILE for each head
    reference_input: Path | None = None  # .npy clip, or .npz with input and logits, in the original's axes
    tolerance: float = 1e-4  # largest difference of the logits, over max(1, largest logit); more is refused
    measure: bool = True  # compare the logits with the original's
    json: bool = False  # print what was recorded as JSON


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(argv, Options)
    options = parse(Options, rest, "convert", DESCRIPTION)
    check_hub(options.path)
    from tubelet.commands.work.convert import run

    return run(options, overrides)
