"""``tubelet.pretrain``: an encoder learned from footage without labels, in a run like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.api.recipe_fields import chosen_fields
from tubelet.api.run import Run
from tubelet.api.train import carry_out
from tubelet.errors import ConfigError
from tubelet.recipe import load_recipe, run_name
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session
from tubelet.types import Device

DEFAULT_RECIPE = "pretraining/small"


def pretrain(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    init: str | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
    **fields: Any,
) -> Run:
    """Pre-train an encoder by painting hidden parts of clips, and keep the one that paints validation clips best.

    Its checkpoint, ``run.best``, has no classes: give it to ``tubelet.train(init=...)`` or ``tubelet.probe``. A call
    with the same arguments goes on where a stopped one ended, to the same weights.

    Args:
        data: a folder with videos, volumes or frame folders at any depth, a .csv with a column path, or any data set.
            Labels are not learned from, and rows of a test split are never read.
        model: a name of ``list_models`` that can be pre-trained. None means the recipe's.
        init: first weights, as of ``tubelet.train``. None means random ones.
        recipe: a shipped recipe by name, or a YAML file. None means the one for small own data.
        out: run folder. None means ``runs/NAME``, by data and recipe.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        progress: report on stderr.
        fields: any field of a recipe, as of ``tubelet.train``.

    Raises:
        TubeletError: data, recipe or folder cannot be used, in one line.
        Stopped: Ctrl-C or the notebook's stop button; what was computed stays, and the same call goes on.
    """
    if data is None and recipe is None:
        raise ConfigError("nothing to pre-train on: give data, or a recipe that names them")
    chosen = chosen_fields(data, model, init, fields, suggests=False)
    resolved = load_recipe(str(recipe or DEFAULT_RECIPE), chosen)
    if resolved.masked_pretraining is None:
        raise ConfigError(f"{recipe}: has no masked_pretraining; use tubelet.train")
    name = run_name(str(recipe or DEFAULT_RECIPE), data, resolved.model["name"])
    folder = Path("runs") / name if out is None else Path(out)
    with ConsoleProgress(folder.resolve().name, is_quiet=not progress) as shown:
        session = Session(device=choose_device(device), progress=shown)
        return carry_out(resolved, folder, session, "tubelet.pretrain(...)")
