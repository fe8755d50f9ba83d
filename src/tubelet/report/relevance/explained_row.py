"""The relevance of one row of a data set, read as the model is given it."""

from __future__ import annotations

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.sources.open_source import naming_file
from tubelet.explain.clip_view import clip_view_of
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explain import explain_view
from tubelet.explain.explanation import Explanation
from tubelet.inference.predictor import Classifier
from tubelet.protocol import Protocol


def explain_row(
    classifier: Classifier,
    dataset: ClipDataset,
    row: int,
    protocol: Protocol,
    config: ExplainConfig,
    *,
    class_name: str,
    head: str | None = None,
) -> Explanation:
    """The explanation of a row for a class. Raises TubeletError where it cannot be read or explained."""
    sample = dataset.manifest.samples[row]
    with naming_file(dataset.manifest.path_of(sample), dataset.name(row)), dataset.open(row) as reader:
        view = clip_view_of(reader, dataset.protocol, *sample.bounds(reader.timestamps))
    return explain_view(
        classifier.model, view, protocol, config, source=dataset.name(row), class_name=class_name, head=head
    )
