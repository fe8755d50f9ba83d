"""The six sets of MedMNIST3D: classes, sizes, where they are published, and the checksum of every file.

Source of every entry: medmnist/info.py of the official repository (MedMNIST/MedMNIST, commit 3bb56be, version 3.0),
which names the Zenodo record 10519652, an MD5 per file, classes, split sizes and CC BY 4.0 for each of the six.
Citation: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", Scientific Data 10, 41 (2023). Files hold uint8 volumes of 28 or 64 voxels a side.
"""

from __future__ import annotations

from dataclasses import dataclass

RECORD = "https://zenodo.org/records/10519652"
LICENSE = "CC BY 4.0"


@dataclass(frozen=True, kw_only=True)
class MedMnistSet:
    """One set."""

    class_names: tuple[str, ...]  # in the order of the labels
    num_volumes: tuple[int, int, int]  # of train, val and test
    md5: dict[int, str]  # of the file with so many voxels a side


MEDMNIST3D: dict[str, MedMnistSet] = {
    "organmnist3d": MedMnistSet(
        class_names=(
            *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
            *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
        ),
        num_volumes=(971, 161, 610),
        md5={28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"},
    ),
    "nodulemnist3d": MedMnistSet(
        class_names=("benign", "malignant"),
        num_volumes=(1158, 165, 310),
        md5={28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"},
    ),
    "adrenalmnist3d": MedMnistSet(
        class_names=("normal", "hyperplasia"),
        num_volumes=(1188, 98, 298),
        md5={28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
    ),
    "fracturemnist3d": MedMnistSet(
        class_names=("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
        num_volumes=(1027, 103, 240),
        md5={28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
    ),
    "vesselmnist3d": MedMnistSet(
        class_names=("vessel", "aneurysm"),
        num_volumes=(1335, 191, 382),
        md5={28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"},
    ),
    "synapsemnist3d": MedMnistSet(
        class_names=("inhibitory synapse", "excitatory synapse"),
        num_volumes=(1230, 177, 352),
        md5={28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"},
    ),
}


def file_name(name: str, size: int) -> str:
    """The published name of the file with ``size`` voxels a side."""
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def url(name: str, size: int) -> str:
    """Where that file is published."""
    return f"{RECORD}/files/{file_name(name, size)}?download=1"
