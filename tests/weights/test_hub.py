"""Models by name: a path stays a path, a download holds no code, and without a network the answer comes at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_files import saved
from huggingface_hub import constants
from local_hub import COMMIT, local_hub
from payload import Payload

from support import MODEL, assert_one_line, error_of, write_checkpoint
from tubelet import cli, load
from tubelet.api.recipe_fields import first_weights
from tubelet.commands import check_hub
from tubelet.errors import CheckpointError
from tubelet.weights import hub
from tubelet.weights.hub import HubName, local_folder, parse_hub_name, upload_folder


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("owner/name", HubName(repo="owner/name")),
        ("google/vivit-b-16x2-kinetics400", HubName(repo="google/vivit-b-16x2-kinetics400")),
        ("hf://owner/name", HubName(repo="owner/name")),
        ("hf://owner/name@v1.0", HubName(repo="owner/name", revision="v1.0")),
        ("owner/name@refs/pr/3", HubName(repo="owner/name", revision="refs/pr/3")),
        (Path("hf://owner/name@main"), HubName(repo="owner/name", revision="main")),
        ("name", None),
        ("./owner/name", None),
        ("../owner/name", None),
        ("/owner/name", None),
        ("a/b/c", None),
        ("owner/", None),
    ],
)
def test_a_name_is_told_from_a_path(source: str | Path, name: HubName | None) -> None:
    assert parse_hub_name(source) == name


def test_a_folder_wins_over_a_name_and_so_does_a_mistyped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "runs" / "best")
    assert local_folder("runs/best") == Path("runs/best")
    with pytest.raises(CheckpointError, match="runs/bset: no checkpoint here"):
        load("runs/bset")


def test_a_misspelled_address_is_refused() -> None:
    with pytest.raises(CheckpointError, match="expected hf://owner/name or hf://owner/name@revision"):
        local_folder("hf://name")


class Silent:
    """A server that takes connections and never answers, as a firewall that drops packets."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self.socket.accept()[0])
            except OSError:
                return


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Silent]:
    server = Silent()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.3)
    yield server
    for connection in (server.socket, *server.connections):
        connection.close()


def test_a_hub_that_does_not_answer_is_asked_once_and_the_local_way_is_named(silent: Silent) -> None:
    with pytest.raises(CheckpointError) as refused:
        load("owner/name@v1")
    assert len(silent.connections) == 1
    assert_one_line(
        refused,
        "owner/name@v1: no such folder here, not in the local cache",
        f"{silent.address} does not answer",
        "`hf download owner/name --revision v1 --local-dir FOLDER`",
    )


def test_who_asks_a_silent_hub_twice_waits_once(silent: Silent) -> None:
    for _ in range(2):
        with pytest.raises(CheckpointError, match="does not answer"):
            load("owner/name")
    assert len(silent.connections) == 1


def test_first_weights_that_cannot_be_had_are_told_before_data_are_read(
    silent: Silent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "train" / "a").mkdir(parents=True)
    (tmp_path / "data" / "train" / "a" / "0.mp4").write_bytes(b"no video, and never opened")
    data, run = str(tmp_path / "data"), tmp_path / "run"
    for init in ("owner/name", "vit_tiny_patch16_224.augreg_in21k"):
        argv = ["train", "--data", data, "--model", "vivit_ti16x2_fe", "--init", init, "--out", str(run)]
        assert "does not answer; where there is a network, run `hf download " in error_of(argv, capsys)
    assert not run.exists()


BEFORE_TORCH = """
import sys
from tubelet import cli

for argv in (["predict", "owner/name", "clip.mp4"], ["evaluate", "owner/name", "--data", "x"],
             ["train", "--data", "x", "--init", "owner/name"], ["convert", "huggingface", "owner/name", "out"],
             ["features", "owner/name", "x", "out"], ["features", "my.yaml", "x", "out", "--init", "owner/name"]):
    assert cli.main(argv) == 1, argv
print("torch" in sys.modules)
"""


def test_commands_are_told_before_torch_is_imported_which_takes_longer_than_the_hub_may(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"  # where nobody listens any more
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", BEFORE_TORCH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.stdout == "False\n", done.stderr
    assert done.stderr.count("does not answer; where there is a network") == 6


def test_an_upload_without_a_network_is_asked_once_and_the_local_way_is_named(silent: Silent, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        upload_folder(tmp_path, "owner/name", private=False)
    assert len(silent.connections) == 1
    assert_one_line(refused, "does not answer", "--dry-run FOLDER", "`hf upload owner/name FOLDER`")


def test_offline_mode_asks_nobody(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="not in the local cache, and HF_HUB_OFFLINE is set"):
        load("hf://owner/name")
    assert silent.connections == []


def cached(cache: Path, files: Path) -> Path:
    """A download of owner/name as huggingface_hub keeps it."""
    repo = cache / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "snapshots").mkdir()
    files.rename(repo / "snapshots" / COMMIT)
    return repo / "snapshots" / COMMIT


def test_what_was_downloaded_once_is_used_without_a_network_and_that_is_told(
    silent: Silent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tubelet")
    folder = cached(tmp_path / "cache", write_checkpoint(tmp_path / "best"))
    assert load("owner/name", "cpu").labels == load(folder, "cpu").labels
    assert f"hf://owner/name: the hub was not asked; using the copy in {folder}" in caplog.text


def test_first_weights_of_a_run_that_goes_on_are_read_from_their_copy(silent: Silent, tmp_path: Path) -> None:
    cached(tmp_path / "cache", write_checkpoint(tmp_path / "best"))
    fields = dict(first_weights("owner/name", suggests=True, prefers_copy=True))
    assert MODEL in fields["model"]
    assert silent.connections == []
    assert dict(first_weights("owner/name", suggests=True)) == fields
    assert len(silent.connections) == 1


STORY = """
import sys
import torch
import tubelet
from tubelet import cli
from tubelet.errors import TubeletError

checkpoint, seen = sys.argv[1], []
assert cli.main(["push", checkpoint, "me/mine", "--license", "mit"]) == 0
first = tubelet.load("me/mine", "cpu")
whole = tubelet.load("them/vivit", "cpu").model.state_dict()
for name in ("them/parts", "them/half"):
    weights = tubelet.load(name, "cpu").model.state_dict()
    assert weights.keys() == whole.keys() and all(value.dtype == torch.float32 for value in weights.values())
    bound = 0 if name == "them/parts" else 2**-8  # of bfloat16
    assert all(torch.all((weights[key] - value).abs() <= bound * value.abs()) for key, value in whole.items())
assert first.labels == tubelet.load(checkpoint, "cpu").labels
assert cli.main(["inspect", "hf://me/mine@main"]) == 0
assert tubelet.load("them/vivit", "cpu").record.provenance["path"] == "hf://them/vivit@" + sys.argv[2]
for wrong in ("me/unknown", "hf://me/mine@v9", "them/pickled"):
    try:
        tubelet.load(wrong, "cpu")
    except TubeletError as error:
        seen.append(str(error))
print("\\n".join(["REFUSED", *seen]))
"""


def test_a_pushed_checkpoint_and_a_huggingface_model_load_by_name(tmp_path: Path) -> None:
    """Upload, download, conversion on the way and refusals, against a server that speaks the hub's language."""
    model = saved(tmp_path / "hub" / "them" / "vivit", {"do_normalize": False})
    model.save_pretrained(tmp_path / "hub" / "them" / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "hub" / "them" / "parts").glob("model-*-of-*.safetensors"))) > 1
    model.to(torch.bfloat16).save_pretrained(tmp_path / "hub" / "them" / "half")
    saved(tmp_path / "hub" / "them" / "pickled")
    (tmp_path / "hub" / "them" / "pickled" / "model.safetensors").unlink()
    torch.save({"x": Payload(tmp_path / "created")}, tmp_path / "hub" / "them" / "pickled" / "pytorch_model.bin")
    (tmp_path / "hub" / "them" / "vivit" / "modeling_evil.py").write_text("raise SystemExit('this was run')")
    with local_hub(tmp_path / "hub") as address:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            **{"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_of_this_test"},
        }
        command = [sys.executable, "-c", STORY, str(write_checkpoint(tmp_path / "best")), COMMIT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pushed = sorted(p.name for p in (tmp_path / "hub" / "me" / "mine").iterdir())
    assert pushed == ["README.md", "model.safetensors", "tubelet.json"]
    assert "license: mit" in (tmp_path / "hub" / "me" / "mine" / "README.md").read_text()
    unknown, revision, pickled = done.stdout.partition("REFUSED\n")[2].splitlines()
    assert "me/unknown: no such folder here, and no model of this name on" in unknown
    assert "no revision 'v9'" in revision
    assert "refused, because its pickle asks for" in pickled
    assert not (tmp_path / "created").exists()
    assert not list((tmp_path / "home").rglob("*.py"))


def test_a_run_that_goes_on_asks_no_hub_for_weights_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "check_reachable", asked.append)
    check_hub("owner/name", tmp_path)
    assert asked == []
    check_hub("owner/name", tmp_path / "new")
    check_hub("owner/name")
    assert asked == ["owner/name"] * 2


@pytest.mark.parametrize(
    ("command", "place"), [("train", "clips-vivit_ti16x2_fe"), ("pretrain", "clips-pretraining-small")]
)
def test_a_run_that_goes_on_in_the_folder_that_it_chose_asks_no_hub(
    command: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "check_reachable", asked.append)
    monkeypatch.setattr("tubelet.commands.work.train.run", lambda *words, **named: 0)
    which = ["--model", "vivit_ti16x2_fe"] if command == "train" else ["pretraining/small"]
    words = [command, *which, "--data", "clips", "--init", "owner/name"]
    assert cli.main(words) == 0
    (tmp_path / "runs" / place).mkdir(parents=True)
    assert cli.main(words) == 0
    assert asked == ["owner/name"]  # where there was no run yet
    words = [command, "--data", "clips", "--init", "owner/name"]  # the weights name the model, and so the folder
    assert cli.main(words) == 0
    assert asked == ["owner/name"] * 2
    (tmp_path / "runs" / place / "recipe.yaml").write_text("init: {source: owner/name}\n")
    assert cli.main(words) == 0
    assert asked == ["owner/name"] * 2
