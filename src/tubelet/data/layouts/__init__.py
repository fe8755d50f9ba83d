"""The layouts a dataset can have on disk, one file per family, each read into plain rows (``rows.LayoutRows``).

``LAYOUTS`` gives the reader of each, and the files it expects. ``tubelet.data.manifest.read`` makes a manifest of what
any of them reads; the manifest's own file (``tubelet.data.manifest.csv_file``) keeps everything they differ in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.layouts.activitynet import read_activitynet
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
from tubelet.data.layouts.ucf101_hmdb51 import read_hmdb51, read_ucf101
from tubelet.data.layouts.webdataset import read_webdataset


@dataclass(frozen=True)
class Layout:
    """One way a dataset can lie on disk."""

    read: Callable[[Path, ManifestConfig], LayoutRows]
    expects: str  # the files it reads, for --help
    may_miss_files: bool = False  # videos of the web vanish: what is missing is counted and left out


LAYOUTS: dict[LayoutName, Layout] = {
    "folders": Layout(
        read_folders, "ROOT/<class>/clip.mp4 or ROOT/train/<class>/...; clips may be .npy, .nii.gz, or frame folders"
    ),
    "csv": Layout(read_tables, "a .csv or .tsv with columns path, label; split, start_seconds, end_seconds, fps"),
    "list": Layout(read_lists, "lines 'path label' or 'frames [offset] count label': PySlowFast, mmaction2"),
    "kinetics": Layout(read_kinetics, "train.csv, val.csv of Kinetics 400/600/700; <id>_000010_000020.mp4", True),
    "something-something-v1": Layout(read_something_v1, "something-something-v1-{labels,train,validation}.csv; <id>/"),
    "something-something-v2": Layout(read_something_v2, "something-something-v2-{labels,train,...}.json; <id>.webm"),
    "epic-kitchens-100": Layout(read_epic, "EPIC_100_{train,validation,noun_classes,...}.csv; videos or frame folders"),
    "moments-in-time": Layout(read_moments, "trainingSet.csv, validationSet.csv, moments_categories.txt", True),
    "activitynet": Layout(read_activitynet, "activity_net.v1-3.min.json; v_<id>.mp4", True),
    "hacs": Layout(read_activitynet, "HACS_segments_v1.1.json; <class>/v_<id>.mp4", True),
    "ucf101": Layout(read_ucf101, "classInd.txt, trainlist01.txt, testlist01.txt; <class>/v_x.avi"),
    "hmdb51": Layout(read_hmdb51, "<class>_test_split1.txt; <class>/x.avi"),
    "npz": Layout(read_npz, "one .npz with {train,val,test}_images and _labels"),
    "medmnist3d": Layout(read_medmnist3d, "organmnist3d.npz, organmnist3d_64.npz, ...: npz with its class names"),
    "webdataset": Layout(read_webdataset, "train-000000.tar, ...: <key>.mp4 beside <key>.cls or <key>.json"),
}
