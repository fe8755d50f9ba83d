"""MedMNIST3D ``.npz`` files: arrays {train,val,test}_images [N, T, H, W] and {train,val,test}_labels [N, 1].

``medmnist3d`` is the same with the class names of the official sets (tubelet.data.medmnist), known by the file name.
"""

from __future__ import annotations

from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import SPLITS, LayoutRows, Row
from tubelet.data.medmnist import MEDMNIST3D
from tubelet.data.sources.volume import npz_array, npz_members
from tubelet.errors import DataError, nearest


def read_npz(path: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of train, val, test, each in array order; labels are the numbers in the file.

    Raises:
        DataError: other arrays than MedMNIST's, or arrays whose shapes do not fit.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected a MedMNIST .npz file")
    members = npz_members(path)
    splits = [split for split in SPLITS if f"{split}_images" in members and f"{split}_labels" in members]
    if "train" not in splits:
        raise DataError(
            f"{path}: holds arrays {', '.join(sorted(members)) or '(none)'}; expected train_images and "
            "train_labels, and the same for val and test"
        )
    rows = []
    for split in splits:
        images, labels = members[f"{split}_images"], npz_array(path, f"{split}_labels")
        if len(images.shape) not in (4, 5) or labels.shape != (images.shape[0], 1) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {split}_images has shape {images.shape} and {split}_labels {labels.dtype} "
                f"{labels.shape}; expected (N, T, H, W) and integers (N, 1)"
            )
        rows += [
            Row(path=path.name, labels=(str(label),), split=split, entry=f"{split}_images[{i}]")
            for i, label in enumerate(labels[:, 0].tolist())
        ]
    return LayoutRows(root=path.parent, rows=rows, layout="npz")


def read_medmnist3d(path: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of one of the six official sets under its class names.

    Raises:
        DataError: the file name is none of the official ones, its splits have other sizes, or as ``read_npz``.
    """
    name = path.stem.removesuffix("_64")
    if name not in MEDMNIST3D:
        raise DataError(f"{path}: '{name}' is no MedMNIST3D set{nearest(name, MEDMNIST3D)}; layout npz takes any name")
    known, reading = MEDMNIST3D[name], read_npz(path, config)
    sizes = tuple(sum(row.split == split for row in reading.rows) for split in SPLITS)
    if sizes != known.num_volumes:
        raise DataError(
            f"{path}: train, val and test hold {sizes} volumes; {name} is published with {known.num_volumes}"
        )
    rows = []
    for row in reading.rows:
        number = int(row.labels[0])
        if not 0 <= number < len(known.class_names):
            raise DataError(f"{path}: {row.entry} has label {number}, expected 0 to {len(known.class_names) - 1}")
        rows.append(Row(path=row.path, labels=(known.class_names[number],), split=row.split, entry=row.entry))
    return LayoutRows(root=reading.root, rows=rows, classes={"label": known.class_names}, all_classes_known=True)
