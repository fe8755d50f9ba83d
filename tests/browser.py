"""The distribution's chromium, where there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

REQUIRED = "TUBELET_REQUIRE_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run")
_OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running chromium. Tests are skipped without one, with a line that says so, unless it is required."""
    program = next((found for name in _NAMES if (found := shutil.which(name)) is not None), None)
    if program is None:
        line = f"no browser: none of {', '.join(_NAMES)} is installed, the page is not followed in one"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{line}; {REQUIRED}=1 asks for it")
        print(line, file=sys.__stderr__)
        pytest.skip(line)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=[*_QUIET, *_OFFLINE])
        yield running
        running.close()
