"""``tubelet data get``: a MedMNIST3D set from its source; without a network, how to do it by hand."""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import error_of
from tubelet import cli
from tubelet.data import medmnist
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.recipe import DataConfig

ADRENAL = DataConfig(source="embedded:adrenalmnist3d").path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


def test_a_set_is_fetched_checked_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site/files").mkdir(parents=True)
    (tmp_path / "site/files/adrenalmnist3d.npz").write_bytes(ADRENAL.read_bytes())
    handler = partial(Quiet, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(medmnist, "RECORD", f"http://127.0.0.1:{server.server_port}")
        argv = ["data", "get", "medmnist3d/adrenalmnist3d", "--out", str(tmp_path / "data"), "--json"]
        assert cli.main(argv) == 0
        server.shutdown()
    facts = json.loads(capsys.readouterr().out)
    assert facts["splits"] == {"train": 1188, "val": 98, "test": 298}
    assert facts["classes"] == ["normal", "hyperplasia"]
    assert facts["license"] == "CC BY 4.0"
    assert (tmp_path / "data/adrenalmnist3d.npz").read_bytes() == ADRENAL.read_bytes()
    assert cli.main(argv) == 0  # no server any more: the file that is there suffices


def test_the_official_set_reads_under_its_class_names(tmp_path: Path) -> None:
    manifest = read_manifest(ADRENAL, ManifestConfig(layout="medmnist3d"))
    assert manifest.class_names == {"label": ("normal", "hyperplasia")}
    numbered = read_manifest(ADRENAL)
    assert [s.labels for s in manifest.samples] == [s.labels for s in numbered.samples]
    for name, part in (("organmnist3d", "(971, 161, 610)"), ("adrenalmnist", "did you mean 'adrenalmnist3d'?")):
        copy = tmp_path / f"{name}.npz"
        copy.write_bytes(ADRENAL.read_bytes())
        with pytest.raises(Exception, match=re.escape(part)):
            read_manifest(copy, ManifestConfig(layout="medmnist3d"))


def test_all_six_sets_are_described() -> None:
    assert len(medmnist.MEDMNIST3D) == 6
    sums = [md5 for known in medmnist.MEDMNIST3D.values() for md5 in known.md5.values()]
    assert len(set(sums)) == 12
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)
    assert medmnist.url("organmnist3d", 64) == f"{medmnist.RECORD}/files/organmnist3d_64.npz?download=1"


def test_offline_the_way_by_hand_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(medmnist, "RECORD", "http://127.0.0.1:9")
    line = error_of(["data", "get", "medmnist3d/organmnist3d", "--size", "64", "--out", str(tmp_path)], capsys)
    for part in ("organmnist3d_64.npz?download=1", str(tmp_path / "organmnist3d_64.npz"), "md5sum", "58a2205adf14"):
        assert part in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["medmnist3d/organmnist", "organmnist3d", "kinetics"])
def test_unknown_names_are_refused_with_the_nearest(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "medmnist3d/organmnist3d" in error_of(["data", "get", name], capsys)
