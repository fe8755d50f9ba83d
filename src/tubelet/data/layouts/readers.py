"""``LAYOUTS``: what reads each layout into plain rows (``rows.LayoutRows``); ``config`` says which there are.

``tubelet.data.manifest.read`` makes a manifest of what any of them reads; the manifest's own file
(``tubelet.data.manifest.csv_file``) keeps everything they differ in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.layouts.activitynet import read_activitynet
from tubelet.data.layouts.bouts.read import read_labeled_films
from tubelet.data.layouts.config import LayoutName, ManifestConfig
from tubelet.data.layouts.epic_kitchens import read_epic
from tubelet.data.layouts.folders import read_folders
from tubelet.data.layouts.kinetics import read_kinetics
from tubelet.data.layouts.lists import read_lists
from tubelet.data.layouts.moments_in_time import read_moments
from tubelet.data.layouts.npz import read_medmnist3d, read_npz
from tubelet.data.layouts.rows import LayoutRows
from tubelet.data.layouts.something_something import read_something_v1, read_something_v2
from tubelet.data.layouts.tables import read_tables
from tubelet.data.layouts.tools.cvat import read_cvat
from tubelet.data.layouts.tools.label_studio import read_label_studio
from tubelet.data.layouts.tools.roboflow import read_roboflow
from tubelet.data.layouts.ucf101_hmdb51 import read_hmdb51, read_ucf101
from tubelet.data.layouts.unlabeled.read import read_unlabeled
from tubelet.data.layouts.webdataset import read_webdataset


@dataclass(frozen=True)
class Layout:
    """One way a dataset can lie on disk."""

    read: Callable[[Path, ManifestConfig], LayoutRows]
    may_miss_files: bool = False  # videos of the web vanish: what is missing is counted and left out


LAYOUTS: dict[LayoutName, Layout] = {
    "folders": Layout(read_folders),
    "csv": Layout(read_tables),
    "list": Layout(read_lists),
    "kinetics": Layout(read_kinetics, may_miss_files=True),
    "something-something-v1": Layout(read_something_v1),
    "something-something-v2": Layout(read_something_v2),
    "epic-kitchens-100": Layout(read_epic),
    "moments-in-time": Layout(read_moments, may_miss_files=True),
    "activitynet": Layout(read_activitynet, may_miss_files=True),
    "hacs": Layout(read_activitynet, may_miss_files=True),
    "ucf101": Layout(read_ucf101),
    "hmdb51": Layout(read_hmdb51),
    "npz": Layout(read_npz),
    "medmnist3d": Layout(read_medmnist3d),
    "webdataset": Layout(read_webdataset),
    "cvat": Layout(read_cvat),
    "label-studio": Layout(read_label_studio),
    "roboflow": Layout(read_roboflow),
    "bouts": Layout(read_labeled_films),
    "unlabeled": Layout(read_unlabeled),
}
