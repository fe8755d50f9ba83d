"""The folder of a comparison: which comparison it belongs to, and on what device its runs are made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet import config
from tubelet.errors import ConfigError
from tubelet.files import check_path
from tubelet.runs.folder import is_empty
from tubelet.studies.arms import Comparison

CONTENT = "comparison.yaml"  # in the folder of a comparison: what it is
DEVICE = "device.txt"  # in the folder of a comparison: what kind of device its runs are made on


def check_folder(comparison: Comparison, out: Path, device: str) -> None:
    """Check that the folder is that of the comparison, or empty. Runs of other versions of it stay there."""
    check_path(out)
    if out.exists() and not is_empty(out) and not (out / CONTENT).is_file():
        raise ConfigError(f"{out}: is not a folder of a comparison, and not empty; give another --out")
    known = out / DEVICE
    if known.is_file() and (begun := known.read_text(encoding="utf-8").strip()) != device:
        raise ConfigError(
            f"{out}: began on {begun}, and runs on {device} come to other numbers; go on with --device {begun}, or "
            "give another --out"
        )
    if (out / CONTENT).is_file():
        _check_kin(comparison, config.load_yaml(out / CONTENT), out)


def _check_kin(comparison: Comparison, there: Mapping[str, Any], out: Path) -> None:
    """A folder keeps the runs of a comparison whose file was edited; the report of another would replace its own."""
    ours = config.to_dict(comparison)
    for key, asked in (("arms", comparison.arms), ("datasets", comparison.datasets)):
        if not set(asked) & set(there.get(key) or ()):
            raise ConfigError(
                f"{out}: holds another comparison, with the {key} {', '.join(there.get(key) or ())} in place of "
                f"{', '.join(asked)}; give another --out"
            )
    if ours["base"] != there.get("base"):
        raise ConfigError(
            f"{out}: holds another comparison, from {there.get('base')} in place of {ours['base']}; give another --out"
        )
    for name in ours["datasets"].keys() & there["datasets"].keys():
        sources = [of["datasets"][name].get("fields", {}).get("data.source") for of in (there, ours)]
        if sources[0] != sources[1]:
            raise ConfigError(
                f"{out}: holds the comparison on '{name}' of {sources[0]}, not of {sources[1]}; give another --out"
            )
