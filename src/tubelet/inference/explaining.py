"""What is explained of a source: its middle view, or, of a model with a per-frame head, a bout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from tubelet import config as config_io
from tubelet.data.loading.read_views import open_clip_source
from tubelet.explain.clip_view import read_clip_view
from tubelet.explain.config import ExplainConfig, check_names
from tubelet.explain.explain import explain_view, offered
from tubelet.explain.explanation import Explanation
from tubelet.inference.moments.bout_relevance import check_bout_method, read_bout
from tubelet.inference.moments.head_file import has_head
from tubelet.weights.checkpoint.checkpoint import Record


class Explained(Protocol):
    """What a classifier has that an explanation needs."""

    model: nn.Module
    record: Record
    folder: Path | None

    def check_classes(self) -> None:
        """Raise CheckpointError for an encoder without classes."""

    def check_probabilities(self, what: str) -> None:
        """Raise ConfigError for a model of numbers."""


def explain_source(
    classifier: Explained, source: object, name: str, reading: Mapping[str, Any], how: Mapping[str, Any], **asked: Any
) -> Explanation:
    """The explanation of a source.

    Args:
        name: of the source.
        reading: ``start_seconds``, ``end_seconds``, ``fps`` and ``value_range``.
        how: fields of ``ExplainConfig``.
        asked: ``class_name``, ``head`` and ``progress`` of ``explain_view``.

    Raises:
        DataError: the source cannot be read.
        ConfigError: an unknown field, class or head, or a method that the model does not have.
    """
    check_names(how)
    config = config_io.from_dict(ExplainConfig, dict(how), where="explain")
    protocol = classifier.record.protocol
    if classifier.folder is not None and has_head(classifier.folder):
        config = check_bout_method(config)
        seconds = reading.get("start_seconds"), reading.get("end_seconds")
        with open_clip_source(source, protocol, reading.get("fps"), reading.get("value_range")) as reader:
            bout = read_bout(classifier.model, classifier.record, classifier.folder, reader, seconds)
        return explain_view(bout.model, bout.view, bout.protocol, config, source=name, **asked)
    classifier.check_classes()
    classifier.check_probabilities("explanations are")
    config = offered(classifier.model, config)
    view = read_clip_view(source, protocol, **reading)
    return explain_view(classifier.model, view, protocol, config, source=name, **asked)
