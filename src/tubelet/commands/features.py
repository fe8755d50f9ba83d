"""``tubelet features``: its options. ``tubelet.commands.work.features`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.commands.train_overrides import split_overrides
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.recipe import list_recipes
from tubelet.types import Device, Precision

DESCRIPTION = """Write a feature store: the output of a model's per-frame stage for every frame of a dataset.

`tubelet train`, `evaluate` and `predict` take the store in place of the videos. Where the per-frame stage is frozen,
training from it does what training on the videos does, without decoding and without that stage: with --augment.crop
center and no other augmentation of pixels, the clips are the same and so are the losses. A store is refused where a
model's weights or pixels are not those that it was written with.

MODEL is a checkpoint, or a recipe (its model with its first weights; set its fields as for `tubelet train`; random
weights are refused). The model must see one frame at a time and give one vector for it: VTN, space-only TimeSformer,
ViViT with tubelets of one frame.

One safetensors file per video, whole or not at all: run the same command again after an interruption, or for another
split, and it writes what is missing. A video that cannot be read keeps its row and is named.

--shard 2/8 writes every eighth video from the second on, so that several machines share one OUT. Whichever part ends
last writes the manifest, which makes the files a store.

examples:
  tubelet features runs/vtn/best my_clips features/vtn
  tubelet evaluate runs/vtn/best --data features/vtn
  tubelet features my_vtn.yaml my_clips features/vtn --init vit_base_patch16_224.augreg_in21k
  tubelet train my_vtn.yaml --data features/vtn --freeze backbone --augment.crop center
  tubelet features runs/vtn/best my_clips features/vtn --split val --device cuda
  tubelet features runs/vtn/best my_clips features/vtn --shard 2/8"""


@dataclass(frozen=True, kw_only=True)
class Options:
    model: Annotated[str, tyro.conf.Positional]  # checkpoint (folder or owner/name), or recipe (shipped name or YAML)
    data: Annotated[str, tyro.conf.Positional]  # folder, .csv or .npz file, as for `tubelet train`
    out: Annotated[Path, tyro.conf.Positional]  # folder of the store; an unfinished one is resumed
    split: tuple[Literal["train", "val", "test"], ...] = ()  # which splits; by default all
    shard: str | None = None  # PART/PARTS: the videos of this part, such as 2/8
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads 64 frames for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; 0: none, else one always may
    init: str | None = None  # of a recipe: first weights, as for `tubelet train`
    allow_random: bool = False  # store features of a recipe without trained weights
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the recipe or checkpoint
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print what was done as JSON on stdout

    @property
    def is_recipe(self) -> bool:
        """Whether MODEL names a recipe, not a checkpoint."""
        return self.model in list_recipes() or self.model.endswith((".yaml", ".yml"))


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(argv, Options)
    own = {name: text for name, text in overrides if name.removeprefix("data.").startswith("manifest.")}
    rest += [f"--{name}={text}" for name, text in own.items()]
    options = parse(Options, rest, "features", DESCRIPTION)
    fields = [(name, text) for name, text in overrides if name not in own]
    fields += [] if options.init is None else [("init.source", options.init)]
    check_hub(dict(fields).get("init.source") if options.is_recipe else options.model)
    from tubelet.commands.work.features import run

    return compute(run, options, fields)
