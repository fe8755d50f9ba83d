"""tubelet: video transformers, from a folder of videos to a classifier and its report.

Public names are imported when they are first used, so that ``import tubelet`` and ``tubelet --help`` do not import
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tubelet.data.sources.open_video import open_video
    from tubelet.inference.predictor import Classifier, load
    from tubelet.models import create_model, list_models
    from tubelet.protocol import Protocol
    from tubelet.recipe import Recipe

__version__ = "0.1.0"

__all__ = ["Classifier", "Protocol", "Recipe", "__version__", "create_model", "list_models", "load", "open_video"]

_HOME = {
    "Classifier": "tubelet.inference.predictor",
    "Protocol": "tubelet.protocol",
    "Recipe": "tubelet.recipe",
    "create_model": "tubelet.models",
    "list_models": "tubelet.models",
    "load": "tubelet.inference.predictor",
    "open_video": "tubelet.data.sources.open_video",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tubelet' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
