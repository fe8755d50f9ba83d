"""``tubelet.probe``: a frozen encoder, its features once, and many heads on few clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet import config as config_io
from tubelet.api.recipe_fields import Field, data_field, fields_of, suggested_fields
from tubelet.errors import Stopped
from tubelet.models import FAMILIES
from tubelet.probing.config import ProbeConfig
from tubelet.probing.result import ProbeResult
from tubelet.probing.run import run_probe
from tubelet.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session
from tubelet.types import Device
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source, resolve_source
from tubelet.weights.init.video import VideoSource

# An image network sees every frame for itself; a few frames of the whole clip are averaged, with their deviation.
_FRAMES = 8
_POOLED: dict[str, Any] = {"encoder": "mean_std", "head_dim": None}


def probe(
    data: str | Path,
    encoder: str,
    *,
    out: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
    fields: dict[str, Any] | None = None,
    **options: Any,
) -> ProbeResult:
    """Train heads on the features of a frozen encoder, and measure them by cross-validation over groups.

    Features are stored beside ``out`` in ``features/``, so that another probe, or ten more clips, cost what is new. The
    best head becomes an ordinary checkpoint in ``out/best``.

    Args:
        data: a folder with a folder of videos per class, or a .csv or .npz file.
        encoder: weights: "lite0", a timm model, a checkpoint folder, or ``owner/name`` on huggingface.co.
        out: folder of the result. None means ``probes/DATA-ENCODER``.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        progress: report on stderr.
        fields: of the recipe, such as ``{"protocol.num_frames": 16, "data.num_workers": 0}``.
        options: fields of :class:`tubelet.probing.config.ProbeConfig`, such as ``folds=3`` or ``few_shot=(1, 5, 20)``.

    Raises:
        TubeletError: data or encoder cannot be used, in one line.
        Stopped: Ctrl-C; what is stored stays, and the same call goes on.
    """
    config = config_io.from_dict(ProbeConfig, options, where="probe")
    recipe = probe_recipe(data, encoder, list(fields_of(fields or {})))
    folder = Path("probes") / probe_name(data, encoder) if out is None else Path(out)
    with ConsoleProgress("probe", is_quiet=not progress) as shown:
        session = Session(device=choose_device(device), progress=shown)
        try:
            return run_probe(recipe, config, folder, folder.parent / "features", session)
        except Stopped as stop:
            raise Stopped(f"{folder}: {stop}; the same call goes on", stop.signal_number) from None


def probe_recipe(data: str | Path, encoder: str, fields: list[Field]) -> Recipe:
    """The recipe of a probe: the model that the weights are for, or for an image network the mean of its frames."""
    chosen = [data_field(data), ("protocol.num_temporal_views", "1"), ("protocol.num_spatial_crops", "1")]
    source = resolve_source(encoder)
    read = read_source(InitConfig(source=source))
    weights = suggested_fields(source, read)
    if not isinstance(read, VideoSource):
        weights = [(name, value) for name, value in weights if name != "model"]
        family = next(family for family in FAMILIES if family.backbone_field is not None)
        model = {"name": next(iter(family.models)), **_POOLED}
        weights += [("model", json.dumps(model)), ("protocol.num_frames", str(_FRAMES))]
        weights += [
            ("protocol.sampling", "uniform"),
            ("protocol.frame_stride", "null"),
            ("protocol.target_fps", "null"),
        ]
    return load_recipe(DEFAULT_RECIPE, [*chosen, *weights, *fields])


def probe_name(data: str | Path, encoder: str) -> str:
    """The name of a probe's folder where none is given."""
    return f"{Path(data).resolve().stem}-{Path(encoder).name}"
