"""Files from anywhere: what could run code, leave its folder or take the machine's memory is refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exported_models import difference, export, opened, tiny

from support import assert_one_line, error_of
from tubelet.errors import CheckpointError
from tubelet.weights.exported.archive_safety import METADATA
from tubelet.weights.exported.record import DIGEST, PREFIX


@pytest.fixture
def edited(onnx_file: Path, tmp_path: Path) -> Callable[[Callable[[Any], None]], Path]:
    """Write a copy of the file with a change."""

    def write(change: Callable[[Any], None]) -> Path:
        model = onnx.load(onnx_file)
        change(model)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def first_weight(model: Any) -> Any:
    return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))


def put_outside(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = first_weight(model)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _unknown_operator(model: Any) -> None:
    branch = next(node for node in model.graph.node if node.op_type == "If").attribute[0].g
    branch.node[0].domain = "evil.library"


def _huge(model: Any) -> None:
    first_weight(model).dims[0] = 2**39


def _impossible(model: Any) -> None:
    first_weight(model).dims[0] = -5


def _other_labels(model: Any) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == "tubelet.record")
    entry.value = entry.value.replace("shut", "open the door")


def _no_metadata(model: Any) -> None:
    del model.metadata_props[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put_outside("../secret"), "lie outside of its folder"),
        (put_outside("/etc/hostname"), "lie outside of its folder"),
        (put_outside("link"), "lie outside of its folder"),
        (put_outside("short"), "reach beyond short"),
        (_unknown_operator, "of an unknown library"),
        (_huge, "needs .* bytes and has"),
        (_impossible, "impossible shape"),
        (_other_labels, "metadata was changed after the export"),
        (_no_metadata, "carries no protocol"),
    ],
)
def test_a_harmful_onnx_file_is_not_loaded(
    change: Callable[[Any], None], message: str, edited: Callable[[Callable[[Any], None]], Path], tmp_path: Path
) -> None:
    (tmp_path.parent / "secret").write_bytes(bytes(10**6))
    (tmp_path / "link").symlink_to(tmp_path.parent / "secret")
    (tmp_path / "short").write_bytes(b"few")
    with pytest.raises(CheckpointError, match=message) as caught:
        opened(edited(change))
    assert "\n" not in str(caught.value)


def test_what_is_no_exported_file_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.onnx", "model.pt2", "model.xml"):
        path = tmp_path / name
        assert "no such file" in error_of(["inspect", str(path)], capsys)
        path.write_bytes(b"nothing of the kind")
        path.with_suffix(".bin").write_bytes(b"")
        assert str(path) in error_of(["inspect", str(path)], capsys)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the tiny ViViT; not to be changed."""
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    export(*tiny("vivit"), path, format="torch", sizes=((24, 32),))
    return path


def test_an_archive_follows_batch_and_frames(archive: Path) -> None:
    model, _ = tiny("vivit")
    for batch, frames in ((1, 2), (2, 4), (3, 10)):
        assert difference(model, opened(archive), batch, frames, (24, 32)) < 1e-5


def test_an_archive_says_nothing_of_the_machine_that_wrote_it(archive: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            assert str(Path(__file__).parents[2]).encode() not in files.read(name), name


class Hostile:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "it ran")


def rewritten(archive: Path, out: Path, change: Callable[[dict[str, bytes], str], None]) -> Path:
    """A copy of an archive whose files, by name, were changed; ``change`` gets them and the root with a slash."""
    with zipfile.ZipFile(archive) as files:
        content = {name: files.read(name) for name in files.namelist()}
    root = next(iter(content)).partition("/")[0] + "/"
    change(content, root)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as files:
        for name, data in content.items():
            files.writestr(name, data)
    return out


def graph_text(old: str, new: str) -> Callable[[dict[str, bytes], str], None]:
    def change(content: dict[str, bytes], root: str) -> None:
        name = f"{root}models/model.json"
        text = content[name].decode()
        assert old in text
        content[name] = text.replace(old, new, 1).encode()

    return change


def test_a_hostile_archive_is_refused_before_torch_loads_it(archive: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    as_tensor = io.BytesIO()
    torch.save({"x": Hostile(proof)}, as_tensor)

    def pickled_weight(content: dict[str, bytes], root: str) -> None:
        name = f"{root}data/weights/model_weights_config.json"
        config = json.loads(content[name])
        entry = next(iter(config["config"].values()))
        entry["use_pickle"] = True
        content[name] = json.dumps(config).encode()
        content[f"{root}data/weights/{entry['path_name']}"] = as_tensor.getvalue()

    def pickled_inputs(content: dict[str, bytes], root: str) -> None:
        content[f"{root}data/sample_inputs/model.pt"] = as_tensor.getvalue()

    def opaque_constant(content: dict[str, bytes], root: str) -> None:
        config = {"config": {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False}}}
        content[f"{root}data/constants/model_constants_config.json"] = json.dumps(config).encode()
        content[f"{root}data/constants/opaque_obj_0"] = pickle.dumps(Hostile(proof))

    def compiled(content: dict[str, bytes], root: str) -> None:
        content[f"{root}data/aotinductor/model/model.so"] = b"code"

    def twice(content: dict[str, bytes], root: str) -> None:
        content[f"{root}MODELS/model.json"] = b"{}"

    run = f"__import__('pathlib').Path({str(proof)!r}).write_text('it ran')"
    changes = {
        "as a pickle": pickled_weight,
        "no plain tensors": pickled_inputs,
        "opaque_obj_0": opaque_constant,
        "aotinductor": compiled,
        "several files of one name": twice,
        "calls 'torch.serialization.os.system'": graph_text(
            "torch.ops.aten.layer_norm.default", "torch.serialization.os.system"
        ),
        "computes a shape by": graph_text('"expr_str": "', f'"expr_str": "{run} or '),
        "checks its inputs by": graph_text('"guards_code": [', f'"guards_code": [{json.dumps(run)}, '),
    }
    for message, change in changes.items():
        with pytest.raises(CheckpointError, match=message):
            opened(rewritten(archive, tmp_path / "model.pt2", change))
        assert not proof.exists(), message


def test_a_hostile_pickle_would_run_without_the_check(archive: Path, tmp_path: Path) -> None:
    """The reason for it: torch itself runs what it finds."""
    proof, content = tmp_path / "ran", io.BytesIO()
    torch.save({"x": Hostile(proof)}, content)

    def pickled_inputs(files: dict[str, bytes], root: str) -> None:
        files[f"{root}data/sample_inputs/model.pt"] = content.getvalue()

    torch.export.load(rewritten(archive, tmp_path / "model.pt2", pickled_inputs))
    assert proof.exists()


def test_changed_metadata_of_an_archive_is_noticed(archive: Path, tmp_path: Path) -> None:
    def other_labels(content: dict[str, bytes], root: str) -> None:
        name = f"{root}extra/{METADATA}"
        content[name] = content[name].replace(b"shut", b"close")

    with pytest.raises(CheckpointError, match="metadata was changed after the export"):
        opened(rewritten(archive, tmp_path / "model.pt2", other_labels))


def test_an_openvino_file_without_its_weights_says_so(tmp_path: Path, onnx_file: Path) -> None:
    shutil.copy(onnx_file, tmp_path / "model.xml")
    with pytest.raises(CheckpointError, match=r"its weights model.bin are missing; keep both files in one folder"):
        opened(tmp_path / "model.xml")


def _negated(model: Any) -> None:
    tensor = first_weight(model)
    values = np.frombuffer(tensor.raw_data, dtype=np.float32)
    tensor.raw_data = (-values).tobytes()


def _rewired(model: Any) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Identity")
    node.op_type = "Neg"


@pytest.mark.parametrize("change", [_negated, _rewired])
def test_weights_and_operators_that_were_changed_are_refused(
    edited: Callable[[Callable[[Any], None]], Path], change: Callable[[Any], None]
) -> None:
    with pytest.raises(CheckpointError, match="its weights or its graph were changed after the export") as caught:
        opened(edited(change))
    assert_one_line(caught)


def test_what_onnx_itself_writes_again_is_the_same_file(edited: Callable[[Callable[[Any], None]], Path]) -> None:
    assert opened(edited(lambda model: None)).exported.weights_sha256 is not None


def test_a_file_without_a_digest_of_its_weights_loads_with_a_note(
    edited: Callable[[Callable[[Any], None]], Path], caplog: pytest.LogCaptureFixture
) -> None:
    def as_earlier(model: Any) -> None:
        texts = {entry.key: entry.value for entry in model.metadata_props}
        del texts[f"{PREFIX}weights_sha256"], texts[DIGEST]
        texts[DIGEST] = hashlib.sha256(json.dumps(dict(sorted(texts.items()))).encode()).hexdigest()
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, texts)

    with caplog.at_level("INFO", "tubelet"):
        assert opened(edited(as_earlier)).exported.weights_sha256 is None
    assert "holds no digest of its weights" in caplog.text


def test_an_archive_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    export(*tiny("vivit"), path, format="torch")
    new = tmp_path / "new.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as changed:
        weight = max((i for i in old.infolist() if "/weights/weight_" in i.filename), key=lambda i: i.file_size)
        for info in old.infolist():
            content = old.read(info)
            changed.writestr(info, bytes(len(content)) if info.filename == weight.filename else content)
    assert opened(path).exported.weights_sha256 is not None
    with pytest.raises(CheckpointError, match="its weights or its graph were changed after the export"):
        opened(new)


def test_openvino_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "model.xml"
    export(*tiny("vivit"), path, format="openvino")
    assert opened(path).exported.weights_sha256 is not None
    weights = bytearray(path.with_suffix(".bin").read_bytes())
    weights[len(weights) // 2] ^= 0x40
    path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(CheckpointError, match="its weights or its graph were changed after the export"):
        opened(path)
