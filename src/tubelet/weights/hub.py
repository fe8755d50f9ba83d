"""Checkpoints by name on huggingface.co: ``owner/name``, ``hf://owner/name@revision`` or a folder, one call for all.

Only files of known names are fetched, none of them code. huggingface_hub retries an unreachable network for most of
a minute, so one request asks first whether the hub answers; without it the local cache is looked into, and then the
message names the way that needs no network.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tubelet.errors import CheckpointError

ANSWER_SECONDS = 2.5  # how long the hub may take to answer the first request; with Python's start 5 s are left
SILENT_SECONDS = 30.0  # how long a hub that did not answer is not asked again

_TEXTS = ("tubelet.json", "config.json", "preprocessor_config.json", "video_preprocessor_config.json", "README.md")
_SAFE = (*_TEXTS, "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLED = (*_TEXTS, "pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
# Asked for last: repositories that have these files beside timm's or transformers' hold the same weights twice.
_OPEN_CLIP = (*_TEXTS, "open_clip_config.json", "open_clip_model.safetensors")
_PART = r"[A-Za-z0-9][\w.\-]*"

_log = logging.getLogger(__name__)
_silent: dict[str, float] = {}  # when an address did not answer; who asks twice waits once


@dataclass(frozen=True, kw_only=True)
class HubName:
    """A model on the hub."""

    repo: str  # owner/name
    revision: str | None = None  # branch, tag or commit; None means the main branch

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse_hub_name(source: str | Path) -> HubName | None:
    """The hub's name in ``source``; None where it is a path.

    ``owner/name`` is a path where it exists, or where there is a folder ``owner`` that it could have been in.
    """
    text = str(source)
    match = re.fullmatch(rf"(hf:/{{1,2}})?({_PART}/{_PART})(?:@([\w./\-]+))?", text)  # Path writes hf:// as hf:/
    if match is None or (match[1] is None and (Path(text).exists() or Path(text).parent.exists())):
        return None
    return HubName(repo=match[2], revision=match[3])


def local_folder(source: str | Path, *, prefers_copy: bool = False) -> Path:
    """The folder that ``source`` is, or that its files on the hub were downloaded to (or are cached in).

    Args:
        prefers_copy: the hub is asked only where there is no copy.

    Raises:
        CheckpointError: a name that the hub does not know or does not give, or that cannot be fetched now.
    """
    name = parse_hub_name(source)
    if name is None:
        if str(source).startswith("hf:"):
            raise CheckpointError(f"{source}: expected hf://owner/name or hf://owner/name@revision")
        return Path(source)
    if prefers_copy:
        with suppress(CheckpointError):
            return _folder_of(source, name, online=False)
    online = not constants.HF_HUB_OFFLINE and hub_answers()
    folder = _folder_of(source, name, online)
    if not online:
        _log.info("%s: the hub was not asked; using the copy in %s", name, folder)
    return folder


def check_reachable(source: str | Path) -> None:
    """Refuse a name on the hub that can be had neither there nor from the local cache, within ``ANSWER_SECONDS``.

    For commands to call before they import torch, which takes longer than the hub may take to answer. Nothing is
    downloaded; a path is not looked at.

    Raises:
        CheckpointError: the hub does not answer, and there is no copy.
    """
    name = parse_hub_name(source)
    if name is not None and (constants.HF_HUB_OFFLINE or not hub_answers()):
        _folder_of(source, name, online=False)


def _folder_of(source: str | Path, name: HubName, online: bool) -> Path:
    """The folder with the files of a name, fetched or cached. Raises CheckpointError as ``local_folder``."""
    try:
        folder = _fetch(name, _SAFE, online)
        if not any(folder.glob("*.safetensors")):
            folder = _fetch(name, _PICKLED, online)
        if not any(any(folder.glob(kind)) for kind in ("*.safetensors", "*.bin")):
            folder = _fetch(name, _OPEN_CLIP, online)
    except LocalEntryNotFoundError:
        raise CheckpointError(_offline_message(source, name, online)) from None
    except GatedRepoError:
        page = f"{constants.ENDPOINT}/{name.repo}"
        raise CheckpointError(f"{name}: accept its terms at {page} and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{name}: the hub knows {name.repo}, but no revision '{name.revision}' of it") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{source}: no such folder here, and no model of this name on {constants.ENDPOINT} (or a private one: "
            "log in with `hf auth login`)"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{name}: the download failed ({_one_line(error)}); try again") from None
    return folder


def upload_folder(folder: Path, repo: str, *, private: bool) -> str:
    """Make the repository if it is missing, upload the files in one commit, and give the address of its page.

    Raises:
        CheckpointError: no network, no login, no right to write there.
    """
    if not re.fullmatch(rf"{_PART}/{_PART}", repo):
        raise CheckpointError(f"'{repo}' is no name of a model on the hub: expected owner/name")
    if constants.HF_HUB_OFFLINE or not hub_answers():
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
        raise CheckpointError(
            f"{repo}: {why}; write the folder with --dry-run FOLDER and upload it later with `hf upload {repo} FOLDER`"
        )
    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="Upload from tubelet")
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = "; log in with `hf auth login` as someone who may write there" if status in (401, 403, 404) else ""
        raise CheckpointError(f"{repo}: the hub refused the upload ({_one_line(error)}){hint}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{repo}: the upload failed ({_one_line(error)})") from None
    return str(url)


def hub_answers() -> bool:
    """Whether the hub answers one request within ``ANSWER_SECONDS``, through whatever proxy is configured.

    One that did not is not asked again for ``SILENT_SECONDS``.
    """
    address = constants.ENDPOINT
    if time.monotonic() - _silent.get(address, -math.inf) < SILENT_SECONDS:
        return False
    answers = _within(ANSWER_SECONDS, lambda: get_session().head(address, timeout=ANSWER_SECONDS))
    if answers:
        _silent.pop(address, None)
    else:
        _silent[address] = time.monotonic()
    return answers


def _within(seconds: float, ask: Callable[[], object]) -> bool:
    """Whether ``ask`` returns in time without an error; looking a name up is bounded by no timeout of its own."""
    answered = threading.Event()

    def attempt() -> None:
        try:
            ask()
        except Exception:  # which exceptions these are depends on the HTTP library below huggingface_hub
            return
        answered.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _fetch(name: HubName, patterns: tuple[str, ...], online: bool) -> Path:
    return Path(
        snapshot_download(
            name.repo,
            revision=name.revision,
            allow_patterns=list(patterns),
            local_files_only=not online,
            etag_timeout=ANSWER_SECONDS,
            library_name="tubelet",
        )
    )


def _offline_message(source: str | Path, name: HubName, online: bool) -> str:
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
    if online:
        why = "the connection broke"
    version = f" --revision {name.revision}" if name.revision else ""
    no_folder = "" if str(source).startswith("hf:") else "no such folder here, "
    return (
        f"{source}: {no_folder}not in the local cache, and {why}; where there is a network, run "
        f"`hf download {name.repo}{version} --local-dir FOLDER`, copy FOLDER here and give it instead of the name"
    )


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
