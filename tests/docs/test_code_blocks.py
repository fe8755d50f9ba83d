"""Every code block of README and docs runs as it stands, or says before it why it cannot."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from code_blocks import PAGES, PREPARED, blocks_of, run_page, write_workplace
from tubelet.cli import COMMANDS
from tubelet.recipe import list_recipes, load_recipe

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMAND_LINES = [(f"{b.page}:{b.line}", line) for b in BLOCKS for line in b.lines if line.startswith("tubelet ")]
RUN = sorted({block.page for block in BLOCKS if block.language in ("bash", "python") and not block.why_not})
QUICK = (
    "README.md",
    "docs/app.md",
    "docs/calibration.md",
    "docs/explain.md",
    "docs/films.md",
)  # the others in the soak


class Parsed(Exception):
    """The command line was read, and the work would begin."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    with pytest.MonkeyPatch.context() as patched:
        root = tmp_path_factory.mktemp("workplace")
        patched.chdir(root)
        return write_workplace(root)


@pytest.mark.parametrize("page", [pytest.param(page, marks=() if page in QUICK else pytest.mark.soak) for page in RUN])
def test_the_blocks_of_a_page_run_from_first_to_last(
    page: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # torch.export has symbols in place of sizes
    PREPARED.get(page, lambda: None)()
    run_page(page, monkeypatch)


def test_every_block_says_its_language_and_what_does_not_run_says_why() -> None:
    assert len(BLOCKS) > 40
    for block in BLOCKS:
        place = f"{block.page}:{block.line}"
        assert block.language in ("bash", "python", "text", "{toctree}"), f"{place}: {block.language or 'no language'}"
        foreign = [line for line in block.lines if line and not line.startswith("tubelet ")]
        assert block.why_not or not foreign, f"{place}: '<!-- not run: WHY -->' is missing, for {foreign}"
        assert not block.why_not or len(block.why_not) > 5, place
    for page, file in PAGES.items():  # a remark that stands elsewhere would hold for no block
        kept = sum(bool(block.why_not) for block in blocks_of(page))
        assert len(re.findall(r"^<!-- not run:", file.read_text(encoding="utf-8"), flags=re.MULTILINE)) == kept, page


@pytest.mark.parametrize(("place", "line"), COMMAND_LINES, ids=[f"{place} {line}" for place, line in COMMAND_LINES])
def test_every_command_shown_is_one_that_the_parser_takes(
    place: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, command, *words = shlex.split(line)
    module = import_module(COMMANDS[command][0])
    if command == "data":
        module, words = import_module(f"tubelet.commands.data.{words[0]}"), words[1:]

    def stop(*_: Any) -> None:
        raise Parsed

    if hasattr(module, "compute"):
        monkeypatch.setattr(module, "check_hub", lambda *_: None, raising=False)
        monkeypatch.setattr(module, "compute", stop)
    else:
        parse = module.parse
        monkeypatch.setattr(module, "parse", lambda *given: stop(parse(*given)))
    with pytest.raises(Parsed):
        module.main(words)


@pytest.mark.parametrize("name", sorted({w for _, line in COMMAND_LINES for w in line.split() if w in list_recipes()}))
def test_every_recipe_shown_loads(name: str) -> None:
    assert load_recipe(name).model["name"]
