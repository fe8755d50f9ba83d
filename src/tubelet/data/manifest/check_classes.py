"""Whether the classes of a manifest can be trained on and scored."""

from __future__ import annotations

from pathlib import Path

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError


def check_classes(source: Path, manifest: Manifest, all_classes_known: bool) -> list[str]:
    """Check that each head has two classes, and that each class of validation and test has training rows.

    If the source lists its classes itself, a class without training rows is a note and no error, because official
    splits cannot be changed.

    Returns:
        Those notes.

    Raises:
        DataError: a head has one class, in all rows or in the training rows, or a class without training rows.
    """
    notes = []
    for head, (name, known) in enumerate(manifest.class_names.items()):
        if len(known) < 2:
            raise DataError(f"{source}: only one class, '{known[0]}' (head '{name}'); expected at least two")
        if "train" not in manifest.splits or not (trained := manifest.split("train").labels_that_occur(head)):
            continue  # data to evaluate on
        if len(trained) < 2:
            raise DataError(
                f"{source}: the train split shows one class only, '{known[min(trained)]}'; expected at least two"
            )
        if not (unseen := manifest.labels_that_occur(head) - trained):
            continue
        label = min(unseen)
        split = manifest.last_split_of(head, label)
        more = f" (and {len(unseen) - 1} more classes)" if len(unseen) > 1 else ""
        text = f"class '{known[label]}' of the {split} split{more} has no training rows"
        if not all_classes_known:
            raise DataError(f"{source}: {text}; add some or remove the class")
        notes.append(f"{text} (head '{name}')")
    return notes
