"""A comparison on other data than it names: by the name of one of its datasets, or files that are read as its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tubelet import config
from tubelet.data.medmnist import MEDMNIST3D
from tubelet.errors import ConfigError, nearest
from tubelet.recipe import EMBEDDED, load_recipe
from tubelet.studies.arms import Comparison, ComparisonDataset, Fields


def data_overrides(whole: Comparison, sized: Comparison, data: Sequence[str]) -> list[tuple[str, Any]]:
    """What makes a comparison run on the data of ``--data``, as fields of it.

    Args:
        whole: the comparison at its default size, which names all its datasets.
        sized: the same at the size asked for.
        data: names of its datasets, .npz volumes, or videos.

    Raises:
        ConfigError: there is no such file or dataset, or the comparison has no arms for it.
    """
    known = {**whole.datasets, **sized.datasets}
    templates = {_reads_volumes(whole, of): name for name, of in reversed(known.items())}  # the first of each kind
    datasets: dict[str, ComparisonDataset] = {}
    alike: dict[str, str] = {}  # dataset of the comparison that one is read like
    for word in data:
        name, dataset, like = (word, known[word], word) if word in known else _file_dataset(word, known, templates)
        if name in datasets:
            raise ConfigError(f"--data: two datasets are called '{name}'; rename one, or compare them one by one")
        datasets[name], alike[name] = dataset, like
    overrides: list[tuple[str, Any]] = [("datasets", config.to_dict(datasets))]
    for kind, owners in (("arms", whole.arms), ("starts", whole.starts)):
        for owner, of in owners.items():
            new = {name: of.datasets[like] for name, like in alike.items() if like in of.datasets and name not in known}
            if new:  # what an arm needs on such data
                overrides.append((f"{kind}.{owner}.datasets", {**of.datasets, **new}))
    return overrides


def _reads_volumes(comparison: Comparison, dataset: ComparisonDataset) -> bool:
    source = dataset.fields.get("data.source") or load_recipe(dataset.base or comparison.base).data.source
    return str(source).startswith(EMBEDDED)


def _file_dataset(
    word: str, known: dict[str, ComparisonDataset], templates: dict[bool, str]
) -> tuple[str, ComparisonDataset, str]:
    """Data of the user's, read as the comparison reads its own of the same kind: name, dataset, and which that is."""
    path = Path(f"{word}.npz") if word in MEDMNIST3D else Path(word)  # where `tubelet data get` puts it
    if not path.exists():
        if word in MEDMNIST3D:
            raise ConfigError(
                f"--data {word}: no {path} here; get it with `tubelet data get medmnist3d/{word}`, or give the file's "
                "path"
            )
        raise ConfigError(f"--data {word}: no such file, and no dataset of the comparison{nearest(word, known)}")
    are_volumes = path.suffix == ".npz"
    if are_volumes not in templates:
        kinds = "volumes (.npz)" if True in templates else "videos (a folder or .csv)"
        raise ConfigError(f"--data {word}: this comparison is of {kinds} and has no arms for other data")
    like = known[templates[are_volumes]]
    published = MEDMNIST3D.get(path.stem.removesuffix("_64"))
    names = None if published is None else published.class_names
    fields: Fields = {key: value for key, value in like.fields.items() if not key.startswith("data.")}
    fields["data.source"] = str(path.resolve())
    fields["data.manifest.class_names"] = {} if names is None else {"label": list(names)}
    name = re.sub(r"[^\w-]+", "_", path.resolve().stem).strip("_") or "data"  # it names folders
    return name, dataclasses.replace(like, fields=fields), templates[are_volumes]
