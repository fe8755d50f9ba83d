"""What a release says of itself is the same everywhere, and what is public is held to be typed strictly."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import tubelet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_that_of_the_citation_and_the_newest_of_the_changes() -> None:
    (cited,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    changes = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert tubelet.__version__ == cited == changes[0]


def test_the_modules_of_public_names_are_checked_as_strictly_as_mypy_can() -> None:
    overrides = PROJECT["tool"]["mypy"]["overrides"]
    (strict,) = [rule for rule in overrides if rule.get("warn_return_any")]
    for module in tubelet._HOME.values():
        parents = {f"{module[: place.start()]}.*" for place in re.finditer(r"\.", module)}
        assert {module, *parents} & set(strict["module"]), module


def test_no_page_for_the_public_invents_an_address() -> None:
    for name in ("SECURITY.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
        assert not re.search(r"[\w.]+@[\w-]+\.\w+", (ROOT / name).read_text(encoding="utf-8")), name
