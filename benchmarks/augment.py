"""What augmentation adds to reading a training clip, end to end, against the same with torchvision's transforms.

python benchmarks/augment.py CLIPS    a few minutes; --write puts the result into docs/results
python benchmarks/augment.py FOLDER --quick          seconds, writes nothing

The videos of the folder are first transcoded as `tubelet data prepare` does by default (short side 256, GOP 16, one B
frame, fastdecode). A contestant reads one clip of 32 frames, every second one, of each: *decode* at 224 x 224 without
augmentation, *tubelet* with a random resized crop, a flip and color changes, *torchvision* the same with its
transforms on the decoded frames, cropping before coloring. All end with uint8 pixels "C T H W", ready for the device.
An augmentation's cost is the time beyond decode, as a share of decode. Contestants take turns on one thread.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import torch
import tyro
from relative import Runs, measure_interleaved
from results import write_result
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import Video

from tubelet.data.clips.augment_config import AugmentConfig, RandAugmentConfig
from tubelet.data.clips.frame_sampling import random_clip
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.pixel_augmentation import augment_pixels, draw_pixel_augmentation
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.index_videos import index_files
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.protocol import Protocol

SECONDS, SHORT_SIDE, MIN_FRAMES = 10, 256, 80  # of a prepared video
PROTOCOL = Protocol(num_frames=32, frame_stride=2, resize_short_side=SHORT_SIDE, crop_size=(224, 224))
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
HUE = 0.2
DECODE = "decode"
GEOMETRY: dict[str, Any] = {"random_resized_crop": (0.08, 1.0), "flip_probability": 0.5}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure augmentation on one thread."""

    folder: Annotated[Path, tyro.conf.Positional]  # videos to prepare and read
    repetitions: int = 9  # counted rounds
    quick: bool = False  # two videos, two rounds; writes nothing
    write: bool = False  # into docs/results; else into runs/results


def prepare(source: Path, target: Path) -> bool:
    """The first seconds of a video in the form that training reads; whether there were enough frames."""
    options = {"preset": "medium", "tune": "fastdecode", "crf": "23", "g": "16", "bf": "1"}
    options["x264-params"] = "b-adapt=0:b-pyramid=none:scenecut=0"
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        video = reading.streams.video[0]
        scale, rate = SHORT_SIDE / min(video.height, video.width), Fraction(round(video.average_rate or 30))
        out = writing.add_stream("libx264", rate=rate, options=options)
        out.height, out.width = (round(side * scale / 2) * 2 for side in (video.height, video.width))
        out.pix_fmt = "yuv420p"
        count = 0
        for frame in reading.decode(video):
            if count >= SECONDS * rate:
                break
            picture = frame.reformat(width=out.width, height=out.height, format="yuv420p", interpolation="BICUBIC")
            picture.pts, picture.time_base = count, 1 / rate
            writing.mux(out.encode(picture))
            count += 1
        writing.mux(out.encode(None))
    return count >= MIN_FRAMES


def prepared_set(folder: Path, into: Path, limit: int | None) -> Manifest:
    """The prepared videos of a folder; those too short for a clip are left out."""
    names: list[str] = []
    for path in sorted(path for path in folder.iterdir() if is_video_path(path)):
        target = into / f"{path.name}.mp4"
        if len(names) != limit and prepare(path, target):
            names.append(target.name)
    samples = tuple(Sample(path=name, labels=(0,), split="train") for name in names)
    return Manifest(root=into, samples=samples, class_names={"label": ("any",)}, layout="files")


class Reads:
    """One pass over all videos; each pass is another epoch."""

    def __init__(self, manifest: Manifest, **augment: Any) -> None:
        self.dataset, self.epoch = ClipDataset(manifest, PROTOCOL, augment=AugmentConfig(**augment)), 0

    def __call__(self) -> None:
        for index in range(len(self.dataset)):
            self.dataset.read(index, self.epoch)
        self.epoch += 1


class TorchvisionReads:
    """The same passes over the same frames, as they are, then torchvision's transforms."""

    def __init__(self, manifest: Manifest, **jitter: float) -> None:
        self.dataset, self.epoch = ClipDataset(manifest, PROTOCOL), 0
        self.indices = IndexStore.beside(manifest.root)
        crop = v2.RandomResizedCrop(PROTOCOL.crop_size, antialias=True)
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ColorJitter(**jitter)])

    def __call__(self) -> None:
        for index, sample in enumerate(self.dataset.manifest.samples):
            path = self.dataset.manifest.path_of(sample)
            with VideoReader(path, self.indices.get(path)) as reader:
                rng = keyed_generator(0, self.epoch, index)
                plan = random_clip(reader.timestamps, PROTOCOL, rng, snap=self.dataset.augment.snap_start)
                frames = reader.frames_at(plan.indices).pixels
            self.transform(Video(frames)).transpose(0, 1).contiguous()
        self.epoch += 1


def reading_contestants(manifest: Manifest) -> dict[str, Callable[[], object]]:
    return {
        DECODE: Reads(manifest),
        "tubelet": Reads(manifest, **GEOMETRY, **JITTER),
        "tubelet with hue": Reads(manifest, **GEOMETRY, **JITTER, hue=HUE),
        "torchvision": TorchvisionReads(manifest, **JITTER),
        "torchvision with hue": TorchvisionReads(manifest, **JITTER, hue=HUE),
    }


class Looks:
    """What happens to one cropped clip, drawn anew each time."""

    def __init__(self, clip: Tensor, **augment: Any) -> None:
        self.clip, self.augment, self.rng = clip, AugmentConfig(**augment), np.random.default_rng(0)

    def __call__(self) -> None:
        augment_pixels(self.clip, draw_pixel_augmentation(self.augment, PROTOCOL, self.rng))


def look_contestants(clip: Tensor) -> dict[str, Callable[[], object]]:
    """Operations on one clip of 32 x 224 x 224; those that differ much between draws are not among them."""
    transforms = {"color": v2.ColorJitter(**JITTER), "color with hue": v2.ColorJitter(**JITTER, hue=HUE)}
    video = Video(clip)
    return {
        "tubelet: color": Looks(clip, **JITTER),
        "tubelet: color with hue": Looks(clip, **JITTER, hue=HUE),
        **{f"torchvision: {name}": partial(transform, video) for name, transform in transforms.items()},
        "tubelet: RandAugment vivit 2, 9": Looks(clip, rand_augment=RandAugmentConfig()),
        "tubelet: RandAugment timm 4, 7": Looks(
            clip, rand_augment=RandAugmentConfig(ops="timm", num_ops=4, magnitude=7.0, magnitude_std=0.5)
        ),
        "torchvision: RandAugment 2, 9": partial(v2.RandAugment(), video),
    }


def added_share(with_it: Runs, decode: Runs) -> list[float]:
    """Time beyond decode as a share of decode, of each round."""
    return [mine / alone - 1 for mine, alone in zip(with_it.costs, decode.costs, strict=True)]


def clip_of(manifest: Manifest) -> Tensor:
    return ClipDataset(manifest, PROTOCOL).read(0).pixels.transpose(0, 1).contiguous()


def measure(manifest: Manifest, repetitions: int) -> dict[str, Any]:
    reads = measure_interleaved(reading_contestants(manifest), repetitions)
    looks = measure_interleaved(look_contestants(clip_of(manifest)), 3 * repetitions)
    clips = len(manifest)

    def milliseconds(runs: Runs, per_run: int) -> float:
        return round(1000 * statistics.median(runs.seconds) / per_run, 2)

    reading: dict[str, Any] = {DECODE: {"milliseconds_per_clip": milliseconds(reads[DECODE], clips)}}
    for name, runs in reads.items():
        if name != DECODE:
            shares = added_share(runs, reads[DECODE])
            reading[name] = {
                "milliseconds_per_clip": milliseconds(runs, clips),
                "added_share_of_decode": round(statistics.median(shares), 3),
                "added_share_range": [round(min(shares), 3), round(max(shares), 3)],
            }
    return {
        "command": f"python benchmarks/augment.py {' '.join(sys.argv[1:])}",
        "date": date.today().isoformat(),
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in ("torch", "torchvision", "av")},
        "videos": clips,
        "repetitions": repetitions,
        "reading": reading,
        "operations_milliseconds": {name: milliseconds(runs, 1) for name, runs in looks.items()},
    }


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as into:
        manifest = prepared_set(options.folder, Path(into), limit=2 if options.quick else None)
        store = IndexStore.beside(manifest.root)
        index_files(store, [manifest.path_of(sample) for sample in manifest.samples], num_workers=1)
        result = measure(manifest, 2 if options.quick else options.repetitions)
    table = Table("clip of 32 x 224 x 224", "ms", "beyond decode, share of decode")
    for name, row in result["reading"].items():
        share = row.get("added_share_of_decode")
        table.add_row(name, f"{row['milliseconds_per_clip']:.1f}", "" if share is None else f"{share:.2f}")
    for name, value in result["operations_milliseconds"].items():
        table.add_row(name, f"{value:.1f}", "")
    Console().print(table)
    if not options.quick:
        write_result("augment", result, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
