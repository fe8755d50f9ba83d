"""tubelet: video transformers, from a folder of videos to a classifier and its report.

Public names are imported when they are first used, so that ``import tubelet`` and ``tubelet --help`` do not import
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tubelet.api.clips import ClipDataset, collate
    from tubelet.api.compare import compare
    from tubelet.api.evaluate import evaluate
    from tubelet.api.predict import predict
    from tubelet.api.pretrain import pretrain
    from tubelet.api.probe import probe
    from tubelet.api.run import Run
    from tubelet.api.suggest import suggest
    from tubelet.api.train import train
    from tubelet.data.loading.loader import Loader
    from tubelet.data.sources.open_video import open_video
    from tubelet.inference.predictor import Classifier, load
    from tubelet.models import create_model, list_models
    from tubelet.protocol import Protocol
    from tubelet.recipe import Recipe
    from tubelet.session.fast_fp32 import use_fast_fp32

__version__ = "1.0.0"

__all__ = [
    "Classifier",
    "ClipDataset",
    "Loader",
    "Protocol",
    "Recipe",
    "Run",
    "__version__",
    "collate",
    "compare",
    "create_model",
    "evaluate",
    "list_models",
    "load",
    "open_video",
    "predict",
    "pretrain",
    "probe",
    "suggest",
    "train",
    "use_fast_fp32",
]

_HOME = {
    "Classifier": "tubelet.inference.predictor",
    "ClipDataset": "tubelet.api.clips",
    "Loader": "tubelet.data.loading.loader",
    "Protocol": "tubelet.protocol",
    "Recipe": "tubelet.recipe",
    "Run": "tubelet.api.run",
    "collate": "tubelet.api.clips",
    "compare": "tubelet.api.compare",
    "create_model": "tubelet.models",
    "evaluate": "tubelet.api.evaluate",
    "list_models": "tubelet.models",
    "load": "tubelet.inference.predictor",
    "open_video": "tubelet.data.sources.open_video",
    "predict": "tubelet.api.predict",
    "pretrain": "tubelet.api.pretrain",
    "probe": "tubelet.api.probe",
    "suggest": "tubelet.api.suggest",
    "train": "tubelet.api.train",
    "use_fast_fp32": "tubelet.session.fast_fp32",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tubelet' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
