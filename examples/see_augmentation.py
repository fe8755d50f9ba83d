"""Draws what training sees: one row per video, first as it is, then as augmented in a few epochs, as a PNG.

Each video shows its first and its last frame, one below the other, so that it can be seen that a clip is changed as a
whole. Settings are those of `tubelet train`; `tubelet train --fields` lists them.

    python examples/see_augmentation.py FOLDER sheet.png flip_probability=0.5 random_resized_crop=0.3,1 hue=0.1
    python examples/see_augmentation.py FOLDER sheet.png rand_augment.ops=timm rand_augment.magnitude=7
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from einops import rearrange
from matplotlib.image import imsave
from torch import Tensor

from tubelet.config import from_dict, override
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.video.formats import is_video_path
from tubelet.errors import DataError, TubeletError
from tubelet.protocol import Protocol

MAX_VIDEOS, NUM_EPOCHS, GAP_PIXELS = 4, 6, 4
PROTOCOL = Protocol(num_frames=8, frame_stride=4, resize_short_side=128, crop_size=(112, 112))


def augment_of(settings: list[str]) -> AugmentConfig:
    """``name=value`` pairs, parsed as on the command line."""
    data: dict[str, object] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        data = override(data, name, value)
    return from_dict(AugmentConfig, data, "augment")


def row_of(plain: ClipDataset, augmented: ClipDataset, index: int) -> Tensor:
    """Clips of one video side by side, "V C T H W", the first without augmentation."""
    clips = [plain.read(index).pixels]
    clips += [augmented.read(index, epoch).pixels for epoch in range(NUM_EPOCHS)]
    return torch.stack(clips)


def main(folder: str, out: str, settings: list[str]) -> int:
    names = sorted(path.name for path in Path(folder).iterdir() if is_video_path(path))
    samples = tuple(Sample(path=name, labels=(0,), split="train") for name in names)
    manifest = Manifest(root=Path(folder), samples=samples, class_names={"label": ("any",)}, layout="files")
    plain = ClipDataset(manifest, PROTOCOL)
    augmented = ClipDataset(manifest, PROTOCOL, augment=augment_of(settings))

    def rows() -> Iterator[Tensor]:
        for index in range(len(names)):
            try:
                yield row_of(plain, augmented, index)
            except DataError as error:
                print(f"left out: {error}", file=sys.stderr)

    clips = torch.stack(list(islice(rows(), MAX_VIDEOS)))[:, :, :, [0, -1]]
    framed = torch.nn.functional.pad(clips, (0, GAP_PIXELS, 0, GAP_PIXELS), value=255)
    imsave(out, rearrange(framed, "video epoch c t h w -> (video t h) (epoch w) c").numpy())
    print(f"{out}: {len(clips)} videos, each as it is and in {NUM_EPOCHS} epochs")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python examples/see_augmentation.py FOLDER OUT.png NAME=VALUE ...")
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
    except TubeletError as error:
        sys.exit(str(error))
