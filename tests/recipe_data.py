"""A few real, tiny videos in the official layout of every data set that recipes are for, and a recipe made small.

Two training rows and one of validation at least, so that two epochs of one batch are two steps.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import layout_examples
from layout_examples import text
from support import touch, write_csv
from tubelet.data.synthetic import encode_h264
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.models import model_config
from tubelet.recipe import load_recipe

SIZE = (24, 32)  # pixels of every frame, height and width
NUM_FRAMES, FPS = 12, 8


def folders(root: Path) -> Path:
    return touch(root, *(f"{split}/{name}/0.mp4" for split in ("train", "val", "test") for name in ("a", "b")))


def table(root: Path) -> Path:
    files = [(f"{split}{name}.mp4", name, split) for split in ("train", "val", "test") for name in ("a", "b")]
    touch(root, *(file for file, _, _ in files))
    return write_csv(root / "rows.csv", [("path", "label", "split"), *files])


def epic(root: Path) -> Path:
    """Segments of one video and of one frame folder."""
    header = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class"
    train = ["0,P01,P01_01,00:00:00.00,00:00:01.00,open,1,door,2", "1,P02,P02_101,00:00:00.10,00:00:00.40,take,0,tap,0"]
    text(root / "EPIC_100_train.csv", header, *train)
    text(root / "EPIC_100_validation.csv", header, "2,P01,P01_01,00:00:01.00,00:00:01.50,take,0,door,2")
    text(root / "EPIC_100_noun_classes.csv", "id,key", "0,tap", "1,plate", "2,door")
    text(root / "EPIC_100_verb_classes.csv", "id,key", "0,take", "1,open")
    text(root / "EPIC_100_video_info.csv", "video_id,duration,fps,resolution", "P02_101,0.4,50.0,1920x1080")
    layout_examples.frames(root, "P02/rgb_frames/P02_101", 20, "frame_{:010d}.jpg")
    return touch(root, "P01/videos/P01_01.MP4")


def segments(root: Path, file: str) -> Path:
    """ActivityNet's form, which HACS shares."""
    labels = {"aaa": ("training", "Archery"), "bbb": ("training", "Dodgeball"), "ccc": ("validation", "Archery")}
    database = {
        name: {"subset": subset, "duration": 1.5, "annotations": [{"label": label, "segment": [0.25, 1.25]}]}
        for name, (subset, label) in labels.items()
    }
    text(root / file, json.dumps({"version": "1", "database": database}))
    return touch(root, *(f"{label}/v_{name}.mp4" for name, (_, label) in labels.items()))


def ucf101(root: Path) -> Path:
    text(root / "classInd.txt", "1 Archery", "2 Fencing")
    train = [f"{label}/v_{label}_g08_c01.avi {i}" for i, label in enumerate(("Archery", "Fencing"), 1)]
    text(root / "trainlist01.txt", *train)
    text(root / "testlist01.txt", "Archery/v_Archery_g01_c01.avi")
    return touch(root, *(line.split()[0] for line in train), "Archery/v_Archery_g01_c01.avi")


def volumes(root: Path) -> Path:
    rng, arrays = np.random.default_rng(0), dict[str, Any]()
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (2, 28, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [1]])
    np.savez(root / "volumes.npz", **arrays)
    return root / "volumes.npz"


def bouts(root: Path) -> Path:
    files = {"a.mp4": "train", "b.mp4": "train", "c.mp4": "val", "d.mp4": "test"}
    touch(root, *files)
    rows = [
        (file, 0.25 * place, 1.0, label, split) for file, split in files.items() for place, label in enumerate("xy")
    ]
    return write_csv(root / "labels.csv", [("path", "start", "stop", "label", "split"), *rows])


WRITERS: dict[str | None, Callable[[Path], Path]] = {
    "kinetics": layout_examples.kinetics,
    "something-something-v1": layout_examples.something_v1,
    "something-something-v2": layout_examples.something_v2,
    "moments-in-time": layout_examples.moments,
    "ucf101": ucf101,
    "epic-kitchens-100": epic,
    "activitynet": lambda root: segments(root, "activity_net.v1-3.min.json"),
    "bouts": bouts,
    "hacs": lambda root: segments(root, "HACS_segments_v1.1.json"),
}
# Recipes of no official layout, by their folder.
OWN: dict[str, Callable[[Path], Path]] = {
    "adrenalmnist3d": volumes,
    "scenes": table,
    "folder": folders,
    "motion": folders,
    "pretraining": folders,
    "kinetics710": table,  # lists that everybody makes for themselves
    "coin": table,
    "diving48": table,
    "jester": table,
}


def write_data(name: str, layout: str | None, root: Path) -> Path:
    """The data of a recipe, every file of it real and every video indexed (by this process, which is quicker)."""
    root.mkdir(parents=True)
    write = WRITERS[layout] if layout else OWN[name.partition("/")[0]]
    source = write(root)
    for file in _unreal(root):
        file.write_bytes(_picture() if file.suffix == ".jpg" else _video() + _mark(file))
    videos = [file for file in sorted(root.rglob("*")) if is_video_path(file)]
    if videos:
        IndexStore.beside(root).put({file: PacketIndex.of(file) for file in videos})
    return source


def shrunk(name: str, source: Path) -> list[tuple[str, str]]:
    """What makes two steps of a recipe a matter of milliseconds, and leaves everything else as it is."""
    recipe = load_recipe(name)
    fields = vars(model_config(recipe.model["name"], recipe.model_options(num_classes=2) | {"num_classes": 2}))
    time = fields.get("tubelet_size", (2,))[0]
    small: dict[str, Any] = {"embed_dim": 24, "depth": 3, "num_heads": 4, "temporal_depth": 1, "global_layers": 2}
    small |= {"tubelet_size": [time, 8, 8], "patch_size": 8, "pooler_num_heads": 2}
    if fields.get("out_layers"):
        small["out_layers"] = [0, 2]
    if "backbone" in fields:
        vit = {"embed_dim": 24, "depth": 1, "num_heads": 2, "patch_size": 8}
        narrow = {"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 8]}
        small = {"backbone_fields": narrow if "resnet" in fields["backbone"] else vit, "depth": 1, "num_heads": 2}
        small |= {"hidden_dim": 16, "head_dim": 16}
    changed = {f"model.{field}": value for field, value in small.items() if field in fields}
    # A ResNet halves 32 pixels to one; of fewer, oneDNN's gradient in bf16 (3 x 3 on one pixel) may not be finite.
    crop = 32 if "resnet" in fields.get("backbone", "") else 16
    changed |= {"protocol.num_frames": max(4, 2 * time) * recipe.protocol.num_segments}
    changed |= {"protocol.resize_short_side": crop + 2}
    changed |= {"protocol.crop_size": [crop, crop], "protocol.num_temporal_views": 1, "protocol.num_spatial_crops": 1}
    if recipe.masked_pretraining is not None:
        changed |= {f"masked_pretraining.decoder_{part}": n for part, n in (("dim", 24), ("depth", 1), ("heads", 2))}
    if recipe.augment.short_side_jitter:
        changed["augment.short_side_jitter"] = [crop + 2, crop + 4]
    changed |= {"training.num_epochs": 2, "training.batch_size": 2, "training.validate_every_epochs": 2}
    changed |= {"data.source": str(source), "data.num_workers": 0, "init": None}
    return [(key, json.dumps(value)) for key, value in changed.items()]


def _unreal(root: Path) -> Iterator[Path]:
    """The files that ``touch`` wrote, which hold their own path."""
    for file in sorted(root.rglob("*")):
        content = file.read_bytes() if file.is_file() else b""
        if content and file.as_posix().encode().endswith(content):
            yield file


@functools.cache
def _video() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (NUM_FRAMES, *SIZE, 3), np.uint8)
    return encode_h264(pixels, FPS)


def _mark(file: Path) -> bytes:
    """A box that players skip, so that no two files are the same."""
    return b"\0\0\0\x14free" + hashlib.md5(str(file).encode()).digest()[:12]


@functools.cache
def _picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()
