"""What users hand over by mistake: one clear line that says what came, what was expected and what to do.

No traceback, exit code 1, and nothing half-written: a run folder that did not come to be is not left behind, and
whatever was there before is as it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from support import MODEL, TINY, TRAIN_TINY, content_of, error_of
from tubelet import cli
from tubelet.data.synthetic import CLASSES
from tubelet.data.video.packet_index_store import STORE_NAME


def train(*options: str, tiny: bool = True) -> list[str]:
    return ["train", *(TRAIN_TINY if tiny else ()), "--out", "runs/new", *options]


def place(*names: str, content: bytes = b"") -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return make


def place_texts(*names: str) -> Callable[[Path], object]:
    """Files that are no videos, of different contents."""

    def make(folder: Path) -> None:
        for name in names:
            place(name, content=f"{name} is not a video".encode())(folder)

    return make


def table(*lines: str, name: str = "labels.csv") -> Callable[[Path], object]:
    return place(name, content="\n".join(lines).encode())


def volumes(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / "data.npz", **arrays)


def only_class(name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        for other in CLASSES:
            if other != name:
                for split in ("train", "val", "test"):
                    shutil.rmtree(folder / "videos" / split / other)

    return make


def nothing(folder: Path) -> None: ...


def recipe(**groups: object) -> Callable[[Path], object]:
    text = yaml.safe_dump({"model": {"name": MODEL, **TINY}, "data": {"source": "videos"}, **groups})
    return place("recipe.yaml", content=text.encode())


IMAGES = np.zeros((4, 4, 16, 16), np.uint8)
LABELS = np.array([[0], [1], [0], [1]])
OBJECTS = np.array([[{"a": 1}], [None]], dtype=object)
REAL = [f"videos/train/{name}/0000.mp4,{name}" for name in ("left", "right")]

# name: (what is made in the folder, the command there, parts of the message)
CASES: dict[str, tuple[Callable[[Path], object], list[str], list[str]]] = {
    "empty folder": (
        lambda folder: (folder / "empty").mkdir(),
        train("--data", "empty"),
        ["empty: no videos or .npy volumes in class folders; expected empty/<class>/clip.mp4"],
    ),
    "class folders without videos": (
        place("docs/left/readme.txt", "docs/right/readme.txt"),
        train("--data", "docs"),
        ["docs: no videos or .npy volumes in class folders"],
    ),
    "videos without class folders": (
        place("flat/a.mp4", "flat/b.mp4"),
        train("--data", "flat"),
        ["expected flat/<class>/clip.mp4"],
    ),
    "one class only": (
        only_class("left"),
        train("--data", "videos"),
        ["videos: only one class, 'left'", "expected at least two"],
    ),
    "nonexistent data": (
        nothing,
        train("--data", "nowhere"),
        ["nowhere: does not exist; expected a folder, a .csv file or a MedMNIST .npz file"],
    ),
    "data of an unknown kind": (
        place("data.json", content=b"{}"),
        train("--data", "data.json"),
        ["data.json: is not a data set; expected a folder, a .csv file or a MedMNIST .npz file"],
    ),
    "label column missing": (
        table("path,class", *REAL),
        train("--data", "labels.csv"),
        ["labels.csv: no column 'label'; columns present: path, class; name the label column with --label-column"],
    ),
    "label missing in a row": (
        table("path,label", *REAL, "videos/train/up/0000.mp4,"),
        train("--data", "labels.csv"),
        ["labels.csv: 1 malformed rows; line 4: 'label' is empty"],
    ),
    "csv that names missing files": (
        table("path,label", *REAL, "videos/train/up/gone.mp4,up"),
        train("--data", "labels.csv"),
        ["1 of its files do not exist", "videos/train/up/gone.mp4; correct the paths or set the root folder"],
    ),
    "csv without rows": (table("path,label"), train("--data", "labels.csv"), ["no rows below the header"]),
    "csv that is no text": (
        place("labels.csv", content=b"\xff\xfe\x00\x01"),
        train("--data", "labels.csv"),
        ["labels.csv: cannot be read as CSV", "expected UTF-8 text with commas"],
    ),
    "csv with two heads and a row without any label": (
        table("path,verb,noun", "videos/train/left/0000.mp4,a,b", "videos/train/up/0000.mp4,,"),
        train("--data", "labels.csv", "--data.manifest.label_columns", "verb,noun"),
        ["labels.csv: 1 malformed rows; line 3: 'verb' and 'noun' are empty"],
    ),
    "several labels per video in two columns": (
        table("path,verb,noun", "videos/train/left/0000.mp4,a,b", "videos/train/up/0000.mp4,c,d"),
        train(
            *("--data", "labels.csv", "--data.manifest.label_columns", "verb,noun"),
            *("--data.manifest.label_separator", "|"),
        ),
        ["label_separator must not be empty and takes one label column, got '|' and verb, noun"],
    ),
    "csv without training rows": (
        table("path,label,split", *(f"{row},test" for row in REAL)),
        train("--data", "labels.csv"),
        ["no 'train' split; this data has test"],
    ),
    "text files named .mp4": (
        place_texts(*(f"fake/{split}/{name}/0.mp4" for split in ("train", "val") for name in "ab")),
        train("--data", "fake"),
        [
            "of 2 training videos cannot be read, more than failure_budget=0.01 allows",
            "0.mp4: expected a video",
        ],
    ),
    "zero-byte files": (
        place(*(f"fake/{split}/{name}/0.mp4" for split in ("train", "val") for name in "ab")),
        train("--data", "fake"),
        ["0.mp4: the file is empty (0 bytes); replace it or leave it out"],
    ),
    "npz with wrong keys": (
        volumes(x=IMAGES, y=LABELS),
        train("--data", "data.npz"),
        ["data.npz: holds arrays x, y; expected train_images and train_labels, and the same for val and test"],
    ),
    "npz with labels that do not fit": (
        volumes(train_images=IMAGES, train_labels=LABELS[:3]),
        train("--data", "data.npz"),
        [
            "train_images has shape (4, 4, 16, 16) and train_labels int64 (3, 1); "
            "expected (N, T, H, W) and integers (N, 1)"
        ],
    ),
    "npz with pickled objects": (
        volumes(train_images=IMAGES, train_labels=OBJECTS),
        train("--data", "data.npz"),
        ["data.npz: 'train_labels' holds pickled Python objects, which are never read; expected numbers"],
    ),
    "npz with pixels that are not uint8": (
        volumes(**{f"{s}_images": IMAGES / 255.0 for s in ("train", "val")}, train_labels=LABELS, val_labels=LABELS),
        train("--data", "data.npz", "--protocol.frame_stride", "1"),
        ["of 4 training videos cannot be read", "holds float64; expected uint8 from 0 to 255"],
    ),
    "npz that is no archive": (
        place("data.npz", content=b"not an archive"),
        train("--data", "data.npz"),
        ["data.npz: not an .npz archive of arrays", "expected the file of np.savez"],
    ),
    "recipe with a misspelt key": (
        recipe(trainig={"num_epochs": 1}),
        train("recipe.yaml", tiny=False),
        ["recipe recipe.yaml: unknown key 'trainig'; did you mean 'training'?"],
    ),
    "recipe with a misspelt key in a group": (
        recipe(training={"num_epoch": 1}),
        train("recipe.yaml", tiny=False),
        ["unknown key 'training.num_epoch'; did you mean 'num_epochs'?"],
    ),
    "recipe with a key that stands twice": (
        place("recipe.yaml", content=b"seed: 1\nseed: 2\n"),
        train("recipe.yaml", tiny=False),
        ["recipe.yaml: not valid YAML: key 'seed' stands twice (line 2)"],
    ),
    "recipe that is no YAML": (
        place("recipe.yaml", content=b"model: [\n"),
        train("recipe.yaml", tiny=False),
        ["recipe.yaml: not valid YAML:"],
    ),
    "unknown recipe": (
        nothing,
        train("folder/defualt", tiny=False),
        ["no recipe 'folder/defualt'; did you mean 'folder/default'? (or a YAML file's path; --data names videos)"],
    ),
    "unknown model": (
        nothing,
        train("--data", "videos", "--model", "vivit_ti16x2_ef", tiny=False),
        ["unknown model 'vivit_ti16x2_ef'; did you mean 'vivit_ti16x2_fe'? (`tubelet models` lists them)"],
    ),
    "patches that do not fit the clip": (
        nothing,
        train("--data", "videos", "--model.tubelet_size", "3,8,8"),
        ["tubelet_size t=3 does not divide 4"],
    ),
    "crop larger than the frame": (
        nothing,
        train("--data", "videos", "--protocol.resize_short_side", "8"),
        ["protocol: crop_size (16, 16) must be positive and its shorter side at most resize_short_side=8"],
    ),
    "flips for volumes only": (
        nothing,
        train("--data", "videos", "--augment.volume_flips", "true"),
        ["volume_flips: for volumes only, but", ".mp4 is a video"],
    ),
    "flip map with an unknown class": (
        nothing,
        train(
            *("--data", "videos", "--augment.flip_probability", "0.5"),
            *("--augment.flip_label_map", "{left: rihgt, rihgt: left}"),
        ),
        ["flip_label_map names 'rihgt', which is no class; did you mean 'right'?"],
    ),
    "class names that miss a class": (
        nothing,
        train("--data", "videos", "--data.manifest.class_names", "{label: [left, right]}"),
        ["is not among the 2 class names of 'label'"],
    ),
    "run folder that is not empty": (
        place("runs/new/notes.txt", content=b"mine"),
        train("--data", "videos"),
        ["runs/new: not empty and not a run; give another --out"],
    ),
    "run folder that is a file": (
        place("runs/new"),
        train("--data", "videos"),
        ["runs/new: is a file, expected a folder"],
    ),
    "nothing to resume": (
        nothing,
        ["train", "--resume", "runs/new"],
        ["runs/new: no run to resume here (expected a folder with recipe.yaml)"],
    ),
    "shipped data that does not exist": (
        lambda folder: recipe(data={"source": "embedded:adrenal"})(folder),
        train("recipe.yaml", tiny=False),
        ["no embedded data 'adrenal'"],
    ),
}


@pytest.fixture
def workplace(videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with good ``videos`` and a good checkpoint ``best``."""
    shutil.copytree(videos, tmp_path / "videos")
    shutil.copytree(checkpoint, tmp_path / "best")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_index(content: dict[str, bytes]) -> dict[str, bytes]:
    """Where the packets of the videos lie may be remembered beside them; nothing else may be left."""
    return {name: data for name, data in content.items() if Path(name).name != STORE_NAME}


def refusal_that_leaves_all_as_it_was(argv: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = without_index(content_of(folder))
    folders = {path for path in folder.rglob("*") if path.is_dir()}
    said = error_of(argv, capsys)
    assert without_index(content_of(folder)) == before
    assert {path for path in folder.rglob("*") if path.is_dir()} == folders
    return said


@pytest.mark.parametrize("case", CASES)
def test_training_refuses_with_one_line_and_leaves_nothing_behind(
    case: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, argv, parts = CASES[case]
    make(workplace)
    said = refusal_that_leaves_all_as_it_was(argv, workplace, capsys)
    for part in parts:
        assert part in said


def damage_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        state = load_file(folder / "best" / "model.safetensors")
        change(state)
        save_file(state, folder / "best" / "model.safetensors")

    return make


def damage_record(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        file = folder / "best" / "tubelet.json"
        record = json.loads(file.read_text(encoding="utf-8"))
        change(record)
        file.write_text(json.dumps(record), encoding="utf-8")

    return make


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "missing tensor": (
        damage_weights(lambda state: state.pop("head.bias")),
        "best",
        ["best/model.safetensors: weights do not fit the model: head.bias is missing; nothing was loaded"],
    ),
    "extra tensor": (
        damage_weights(lambda state: state.update(extra=torch.zeros(1))),
        "best",
        ["extra is not part of ViViTFactorizedEncoder; nothing was loaded"],
    ),
    "weights cut short": (
        lambda folder: (folder / "best" / "model.safetensors").write_bytes(b"\x00" * 50),
        "best",
        ["best/model.safetensors: cannot be read", "copy the checkpoint again"],
    ),
    "no weights": (
        lambda folder: (folder / "best" / "model.safetensors").unlink(),
        "best",
        ["best/model.safetensors: cannot be read"],
    ),
    "unknown record key": (
        damage_record(lambda record: record.update(lables=["a"])),
        "best",
        ["best/tubelet.json: cannot be read as a tubelet record: unknown key 'tubelet.json.lables'"],
    ),
    "no checkpoint": (
        nothing,
        "videos",
        ["videos: no checkpoint here (expected a folder with model.safetensors and tubelet.json)"],
    ),
    "run folder instead of its checkpoint": (
        lambda folder: shutil.copytree(folder / "best", folder / "run" / "best"),
        "run",
        ["run: no checkpoint here", "did you mean run/best?"],
    ),
}


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_damaged_checkpoint_is_refused_with_one_line(
    case: str, command: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, checkpoint, parts = CHECKPOINTS[case]
    make(workplace)
    source = ["videos/test/left/0000.mp4"] if command == "predict" else ["--data", "videos", "--out", "results"]
    said = refusal_that_leaves_all_as_it_was([command, checkpoint, *source, "--device", "cpu"], workplace, capsys)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty (0 bytes)"), (b"not a video", "expected a video"), (None, "expected a video")],
    ids=["zero bytes", "text", "half"],
)
def test_a_file_that_is_no_video_is_named_and_nothing_is_written(
    content: bytes | None, message: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = workplace / "videos" / "test" / "left" / "0000.mp4"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    argv = ["predict", "best", str(file), "--num-workers", "0", "--device", "cpu"]
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"predict: error: {file}: ")
    assert message in lines[0]
    assert lines[1] == "tubelet: error: 1 of 1 files could not be read"


def test_an_empty_run_folder_that_the_user_made_stays_empty(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "runs" / "new").mkdir(parents=True)
    place(*(f"fake/{split}/{name}/0.mp4" for split in ("train", "val") for name in "ab"))(workplace)
    refusal_that_leaves_all_as_it_was(train("--data", "fake"), workplace, capsys)
    assert list((workplace / "runs" / "new").iterdir()) == []
