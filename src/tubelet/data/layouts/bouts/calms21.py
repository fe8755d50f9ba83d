"""CalMS21: JSON with a class per frame of each sequence, by annotator.

    {"annotator-id_0": {"task1/train/mouse001_task1_annotator1": {
        "annotations": [3, 3, 1, ...],
        "metadata": {"vocab": {"attack": 0, "investigation": 1, "mount": 2, "other": 3}}}}}

``other`` is background. Films are <last part of the name>.mp4 (or another suffix) anywhere below the root; the second
part of the name is the split.

Source: Sun et al. 2021, "The Multi-Agent Behavior Dataset" (arXiv:2104.02710) and its data's description.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, merged_films
from tubelet.data.layouts.bouts.frame_matrix import bouts_of_frames
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.json_lines import json_items
from tubelet.data.layouts.rows import SPLIT_NAMES
from tubelet.errors import DataError

OTHER = "other"


def read_calms21(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of all sequences.

    Raises:
        DataError: no such file, or films that are missing.
    """
    root = config.root or source.parent
    index, films = FileIndex(root), list[LabeledFilm]()
    for line, (annotator, sequences) in json_items(source):
        for name, content in dict(sequences).items():
            try:
                bouts = _bouts(content, annotator)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{source}: line {line}: sequence {name}: {error}") from None
            parts = name.split("/")
            path = index.find(parts[-1], parent="")
            split = SPLIT_NAMES.get(parts[-2]) if len(parts) > 1 else None
            if path is not None:
                count = len(content["annotations"])
                films.append(LabeledFilm(path=path, bouts=bouts, split=split, num_frames=count))
    if index.missing:
        raise DataError(
            f"{source}: {len(index.missing)} films are missing in {root}, the first is {next(iter(index.missing))}"
        )
    return FilmLabels(root=root, films=merged_films(films))


def _bouts(content: Any, annotator: str) -> tuple[Bout, ...]:
    classes, vocab = np.array(content["annotations"]), dict(content["metadata"]["vocab"])
    if unknown := set(classes.tolist()) - set(vocab.values()):
        raise ValueError(f"class {min(unknown)} is not in its vocab")
    return tuple(
        bout
        for label, number in vocab.items()
        if label != OTHER
        for bout in bouts_of_frames(classes == number, label, observer=annotator)
    )
