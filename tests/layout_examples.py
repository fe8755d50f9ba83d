"""A small example of every layout, written from its official description, with the rows it holds and a way to spoil
one line of it. Files have any content: layouts are read without opening videos.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from support import touch

Rows = list[tuple[str, tuple[str, ...], str, float | None, float | None]]  # path, labels, split, start, end


@dataclass(frozen=True, kw_only=True)
class Example:
    """``write`` makes the files and returns what is read: a folder or a file."""

    layout: str
    write: Callable[[Path], Path]
    rows: Rows
    classes: dict[str, tuple[str, ...]]
    spoil: tuple[str, int, str]  # file, line (from 1; 0 appends one), what to write there
    says: tuple[str, ...]  # what the error about that line must hold
    options: dict[str, object] = field(default_factory=dict)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def frames(root: Path, folder: str, count: int = 3, name: str = "{:05d}.jpg") -> None:
    touch(root, *(f"{folder}/{name.format(number + 1)}" for number in range(count)))


def kinetics(root: Path) -> Path:
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    train = ["abseiling,-AbC_1,0,10,train,0", '"air drumming",xyz,5,15,train,0', "abseiling,gone,1,11,train,1"]
    text(root / "annotations/train.csv", header, *train)
    text(root / "annotations/val.csv", header, "abseiling,---v,59,69,validate,0")
    touch(root, "train/abseiling/-AbC_1_000000_000010.mp4", "train/air drumming/xyz_000005_000015.mkv")
    touch(root, "val/---v_000059_000069.mp4")
    return root


def something_v2(root: Path) -> Path:
    entries = [
        {"id": "7", "label": "putting a cup", "template": "Putting [something] down", "placeholders": ["a cup"]},
        {"id": "8", "label": "holding it", "template": "Holding [something]", "placeholders": ["it"]},
    ]
    name = "something-something-v2-"
    text(root / f"labels/{name}train.json", "[", ",\n".join(json.dumps(entry) for entry in entries), "]")
    text(root / f"labels/{name}validation.json", json.dumps([{"id": "9", "template": "Holding [something]"}]))
    text(root / f"labels/{name}test.json", '[{"id":"10"}, {"id":"11"}]')
    text(root / f"labels/{name}test-answers.csv", "10;Holding something")
    text(root / f"labels/{name}labels.json", '{"Putting something down": "1", "Holding something": "0"}')
    touch(root, *(f"20bn-something-something-v2/{number}.webm" for number in (7, 8, 9, 10, 11)))
    return root


def something_v1(root: Path) -> Path:
    name = "something-something-v1-"
    text(root / f"{name}labels.csv", "Turning something upside down", "Holding something")
    text(root / f"{name}train.csv", "100;Holding something", "24;Turning something upside down")
    text(root / f"{name}validation.csv", "31;Holding something")
    text(root / f"{name}test.csv", "32")
    for number in (100, 24, 31, 32):
        frames(root, f"20bn-something-something-v1/{number}")
    return root


def epic(root: Path) -> Path:
    header = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class"
    text(
        root / "a/EPIC_100_train.csv",
        header,
        "P01_01_0,P01,P01_01,00:00:00.14,00:00:03.37,open,1,door,2",
        "P01_01_1,P01,P01_01,01:02:03.50,01:02:04.00,take,0,door,2",
        "P02_101_0,P02,P02_101,00:00:01.00,00:00:02.00,open,1,tap,0",
    )
    text(root / "a/EPIC_100_validation.csv", header, "P01_01_2,P01,P01_01,00:00:05.00,00:00:06.00,take,0,plate,1")
    text(root / "a/EPIC_100_noun_classes.csv", "id,key,instances,category", "0,tap,[],x", "1,plate,[],x", "2,door,[],x")
    text(root / "a/EPIC_100_verb_classes.csv", "id,key,instances,category", "0,take,[],x", "1,open,[],x")
    text(root / "a/EPIC_100_video_info.csv", "video_id,duration,fps,resolution", "P02_101,20.0,50.0,1920x1080")
    touch(root, "P01/videos/P01_01.MP4")
    frames(root, "P02/rgb_frames/P02_101", name="frame_{:010d}.jpg")
    return root


def moments(root: Path) -> Path:
    text(root / "moments_categories.txt", "clapping,0", "adult+female+singing,1")
    text(
        root / "trainingSet.csv", "clapping/a_1.mp4,clapping,4,0", "adult+female+singing/b.mp4,adult+female+singing,3,1"
    )
    text(root / "validationSet.csv", "clapping/c.mp4,clapping,3,0", "clapping/gone.mp4,clapping,3,0")
    touch(root, "training/clapping/a_1.mp4", "training/adult+female+singing/b.mp4", "validation/clapping/c.mp4")
    return root


def activitynet(root: Path) -> Path:
    def video(subset: str, *segments: tuple[str, float, float]) -> dict[str, object]:
        annotations = [{"label": label, "segment": [start, end]} for label, start, end in segments]
        return {"duration": 92.2, "subset": subset, "url": "", "annotations": annotations}

    database = {
        "5n7N": video("training", ("Discus throw", 24.5, 38.1), ("Discus throw", 97.0, 115.25)),
        "gone": video("training", ("Archery", 1.0, 2.0)),
        "--0e": video("training", ("Dodgeball", 5.4, 11.6)),
        "vvv": video("validation", ("Discus throw", 0.0, 3.0)),
        "ttt": video("testing"),
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in database.items())
    text(root / "activity_net.v1-3.min.json", '{"version": "VERSION 1.3", "database": {', lines, '}, "taxonomy": []}')
    touch(root, "v_5n7N.mp4", "Dodgeball/v_--0e.mp4", "other/v_--0e.mp4", "vvv.mkv")
    return root


def cvat(root: Path) -> Path:
    """Tags on frames 0, 1, 2 and 4 of a task that begins at frame 10 and takes every second one; a track of another."""

    def document(source: str, subset: str, body: str) -> str:
        labels = "".join(f"<label><name>{name}</name></label>" for name in ("run", "sit", "jump"))
        meta = f"<id>1</id><source>{source}</source><subset>{subset}</subset><labels>{labels}</labels>"
        more = "<start_frame>10</start_frame><frame_filter>step=2</frame_filter>" if body.startswith("<image") else ""
        return f"<annotations><version>1.1</version><meta><task>{meta}{more}</task></meta>{body}</annotations>"

    tags = {0: "run", 1: "run", 2: "run", 3: "sit", 4: "run"}
    images = "".join(f'<image id="{n}" name="frame_{n:06}"><tag label="{name}"/></image>' for n, name in tags.items())
    boxes = "".join(f'<box frame="{n}" outside="{int(n > 4)}" xtl="1"/>' for n in range(3, 6))
    text(root / "one/annotations.xml", document("day 1.mp4", "Train", images))
    text(root / "two/annotations.xml", document("day2.mkv", "Validation", f'<track id="0" label="sit">{boxes}</track>'))
    touch(root, "films/day 1.mp4", "films/day2.mkv")
    return root


def label_studio(root: Path) -> Path:
    def task(video: str, *results: tuple[str, dict[str, object]], **more: object) -> str:
        result = [{"type": kind, "value": value} for kind, value in results]
        return json.dumps({"data": {"video": video}, "annotations": [{"result": result, **more}]})

    def ranges(label: str, start: int, end: int) -> tuple[str, dict[str, object]]:
        return "timelinelabels", {"timelinelabels": [label], "ranges": [{"start": start, "end": end}]}

    choice = ("choices", {"choices": ["walk"]})
    tasks = [
        task("/data/upload/1/0a1b2c3d-clip.mp4", choice),
        task("s3://bucket/film-2.mp4", ranges("run", 1, 25), ranges("walk", 26, 30)),
        task("cancelled.mp4", choice, was_cancelled=True),
        task("none.mp4"),
    ]
    text(root / "train.json", "[", ",\n".join(tasks), "]")
    touch(root, "a/clip.mp4", "film-2.mp4")
    return root


def roboflow(root: Path) -> Path:
    """Two frames a second: 0 to 2 of a film walk, 4 walks and 5 sits; each film in one split; a copy of a frame."""
    names = ["walk/day1_mp4-0", "walk/day1_mp4-1", "walk/day1_mp4-2", "walk/day1_mp4-4", "sit/day1_mp4-5"]
    touch(root, *(f"train/{name}_jpg.rf.0a1b.jpg" for name in names), "train/walk/day1_mp4-2_jpg.rf.Zz9.jpg")
    touch(root, "valid/sit/night_MOV-0003_png.rf.b.jpg", "valid/sit/portrait_jpg.rf.c.jpg")
    touch(root, "README.roboflow.txt", "films/day1.mp4", "films/night.mov")
    return root


def roboflow_table(root: Path) -> Path:
    marks = ["day1_mp4-0_jpg.rf.a.jpg, 1, 0", "day1_mp4-1_jpg.rf.b.jpg, 1, 1", "day1_mp4-2_jpg.rf.c.jpg, 1, 1"]
    text(root / "train/_classes.csv", "filename, walk, talk", *marks)
    text(root / "valid/_classes.csv", "filename, walk, talk", "night_mov-3_jpg.rf.d.jpg, 0, 1")
    touch(root, "day1.mp4", "night.mov")
    return root


def ucf101(root: Path) -> Path:
    text(root / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup", "2 ApplyLipstick")
    train = ["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1", "ApplyLipstick/v_ApplyLipstick_g08_c01.avi 2"]
    text(root / "ucfTrainTestlist/trainlist02.txt", *train)
    text(root / "ucfTrainTestlist/testlist02.txt", "ApplyLipstick/v_ApplyLipstick_g01_c01.avi")
    text(root / "ucfTrainTestlist/trainlist01.txt", "other split")
    touch(root, *(f"UCF-101/{line.split()[0]}" for line in train), "mp4/v_ApplyLipstick_g01_c01.mp4")
    return root


def hmdb51(root: Path) -> Path:
    text(root / "splits/brush_hair_test_split1.txt", "April 09_a#1.avi 1 ", "b.avi 2 ", "c.avi 0 ")
    text(root / "splits/wave_test_split1.txt", "b.avi 1 ")
    touch(root, "brush_hair/April 09_a#1.avi", "brush_hair/b.avi", "brush_hair/c.avi", "wave/b.avi")
    return root


def pyslowfast(root: Path) -> Path:
    text(root / "train.csv", "k/air drumming/a.mp4 0", "k/b 2.mp4 2")
    text(root / "val.csv", "k/c.mp4 2")
    touch(root, "k/air drumming/a.mp4", "k/b 2.mp4", "k/c.mp4")
    return root


def rawframes(root: Path) -> Path:
    text(root / "sth_train_list.txt", "some/one 3 0", "some/two 12 6 1")
    text(root / "sth_val_list.txt", "some/three 3 1")
    for name in ("one", "two", "three"):
        frames(root, f"some/{name}", name="img_{:05d}.jpg")
    text(root / "names.txt", "walk", "run")
    return root


def tsv(root: Path) -> Path:
    lines = ("path\tverb\tnoun\tsplit\tstart", "a.mp4\tcut\tapple, red\ttrain\t1.5", "b.mp4\twash\tcup\ttraining\t")
    text(root / "d.tsv", *lines)
    touch(root, "a.mp4", "b.mp4")
    return root / "d.tsv"


def folders(root: Path) -> Path:
    touch(root, "train/a/1.mp4", "train/b/2.nii.gz", "train/b/3.npy")
    frames(root, "validation/a/clip one", 2, "frame-{}.JPG")
    return root


def npz(root: Path) -> Path:
    arrays = {f"{split}_images": np.zeros((2, 3, 4, 5), np.uint8) for split in ("train", "val")}
    np.savez(root / "x.npz", **arrays, **{f"{split}_labels": np.array([[0], [1]]) for split in ("train", "val")})
    return root / "x.npz"


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def webdataset(root: Path) -> Path:
    tar(root / "train-000000.tar", {"0.mp4": b"00", "0.cls": b"1\n", "d/1.seg.mp4": b"1" * 600, "d/1.cls": b"0"})
    tar(root / "val/000000.tar", {"2.json": b'{"label": 1, "start_seconds": 2, "end_seconds": 4.5}', "2.mp4": b"2"})
    return root


EXAMPLES = [
    Example(
        layout="kinetics",
        write=kinetics,
        rows=[
            ("train/abseiling/-AbC_1_000000_000010.mp4", ("abseiling",), "train", None, None),
            ("train/air drumming/xyz_000005_000015.mkv", ("air drumming",), "train", None, None),
            ("val/---v_000059_000069.mp4", ("abseiling",), "val", None, None),
        ],
        classes={"label": ("abseiling", "air drumming")},
        spoil=("annotations/train.csv", 3, "air drumming,xyz,five,15,train,0"),
        says=("1 malformed rows; line 3", "'five' is not a time"),
    ),
    Example(
        layout="something-something-v2",
        write=something_v2,
        rows=[
            ("20bn-something-something-v2/10.webm", ("Holding something",), "test", None, None),
            ("20bn-something-something-v2/7.webm", ("Putting something down",), "train", None, None),
            ("20bn-something-something-v2/8.webm", ("Holding something",), "train", None, None),
            ("20bn-something-something-v2/9.webm", ("Holding something",), "val", None, None),
        ],
        classes={"label": ("Holding something", "Putting something down")},
        spoil=("labels/something-something-v2-train.json", 3, '{"id": "8", "template": "Eating [something]"}'),
        says=("line 3", "template 'Eating something' of video 8 is not among the 2 labels"),
    ),
    Example(
        layout="something-something-v1",
        write=something_v1,
        rows=[
            ("20bn-something-something-v1/100", ("Holding something",), "train", None, None),
            ("20bn-something-something-v1/24", ("Turning something upside down",), "train", None, None),
            ("20bn-something-something-v1/31", ("Holding something",), "val", None, None),
        ],
        classes={"label": ("Turning something upside down", "Holding something")},
        spoil=("something-something-v1-train.csv", 2, "24;"),
        says=("line 2", "'24;' is not id;template"),
    ),
    Example(
        layout="epic-kitchens-100",
        write=epic,
        rows=[
            ("P01/videos/P01_01.MP4", ("door", "open"), "train", 0.14, 3.37),
            ("P01/videos/P01_01.MP4", ("door", "take"), "train", 3723.5, 3724.0),
            ("P02/rgb_frames/P02_101", ("tap", "open"), "train", 1.0, 2.0),
            ("P01/videos/P01_01.MP4", ("plate", "take"), "val", 5.0, 6.0),
        ],
        classes={"noun": ("tap", "plate", "door"), "verb": ("take", "open")},
        spoil=("a/EPIC_100_train.csv", 4, "P02_101_0,P02,P02_101,00:00:01.00,00:00:02.00,open,1,tap,3"),
        says=("line 4", "noun class 3 is not one of 0 to 2"),
    ),
    Example(
        layout="moments-in-time",
        write=moments,
        rows=[
            ("training/clapping/a_1.mp4", ("clapping",), "train", None, None),
            ("training/adult+female+singing/b.mp4", ("adult+female+singing",), "train", None, None),
            ("validation/clapping/c.mp4", ("clapping",), "val", None, None),
        ],
        classes={"label": ("clapping", "adult+female+singing")},
        spoil=("trainingSet.csv", 1, "clapping/a_1.mp4,clapping"),
        says=("line 1", "2 cells, expected filename,label"),
    ),
    *(
        Example(
            layout=layout,
            write=activitynet,
            rows=[
                ("v_5n7N.mp4", ("Discus throw",), "train", 24.5, 38.1),
                ("v_5n7N.mp4", ("Discus throw",), "train", 97.0, 115.25),
                ("Dodgeball/v_--0e.mp4", ("Dodgeball",), "train", 5.4, 11.6),
                ("vvv.mkv", ("Discus throw",), "val", 0.0, 3.0),
            ],
            classes={"label": ("Archery", "Discus throw", "Dodgeball")},
            spoil=(
                "activity_net.v1-3.min.json",
                3,
                '"gone": {"subset": "training", "annotations": [{"label": "Archery", "segment": [3, 2]}]},',
            ),
            says=("line 3", "video gone", "ends at 2.0 s"),
        )
        for layout in ("activitynet", "hacs")
    ),
    Example(
        layout="cvat",
        write=cvat,
        rows=[
            ("films/day 1.mp4", ("run",), "train", None, None),
            ("films/day 1.mp4", ("run",), "train", None, None),
            ("films/day 1.mp4", ("sit",), "train", None, None),
            ("films/day2.mkv", ("sit",), "val", None, None),
        ],
        classes={"label": ("jump", "run", "sit")},
        spoil=("", 0, ""),
        says=(),
    ),
    Example(
        layout="label-studio",
        write=label_studio,
        rows=[
            ("a/clip.mp4", ("walk",), "train", None, None),
            ("film-2.mp4", ("run",), "train", None, None),
            ("film-2.mp4", ("walk",), "train", None, None),
        ],
        classes={"label": ("run", "walk")},
        spoil=("train.json", 2, '{"id": 1, "video": "clip.mp4", "label": "walk"},'),
        says=("line 2", "export as JSON, not as JSON-MIN"),
    ),
    Example(
        layout="roboflow",
        write=roboflow,
        rows=[
            ("films/day1.mp4", ("walk",), "train", 0.0, 1.5),
            ("films/day1.mp4", ("walk",), "train", 2.0, 2.5),
            ("films/day1.mp4", ("sit",), "train", 2.5, 3.0),
            ("films/night.mov", ("sit",), "val", 1.5, 2.0),
        ],
        classes={"label": ("sit", "walk")},
        spoil=("", 0, ""),
        says=(),
        options={"frame_fps": 2.0},
    ),
    Example(
        layout="ucf101",
        write=ucf101,
        rows=[
            ("mp4/v_ApplyLipstick_g01_c01.mp4", ("ApplyLipstick",), "test", None, None),
            ("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", ("ApplyEyeMakeup",), "train", None, None),
            ("UCF-101/ApplyLipstick/v_ApplyLipstick_g08_c01.avi", ("ApplyLipstick",), "train", None, None),
        ],
        classes={"label": ("ApplyEyeMakeup", "ApplyLipstick")},
        spoil=("ucfTrainTestlist/trainlist02.txt", 2, "ApplyLipstick/v_ApplyLipstick_g08_c01.avi 1"),
        says=("line 2", "has index 2 in classInd.txt, here 1"),
        options={"official_split": 2},
    ),
    Example(
        layout="hmdb51",
        write=hmdb51,
        rows=[
            ("brush_hair/April 09_a#1.avi", ("brush_hair",), "train", None, None),
            ("brush_hair/b.avi", ("brush_hair",), "test", None, None),
            ("wave/b.avi", ("wave",), "train", None, None),
        ],
        classes={"label": ("brush_hair", "wave")},
        spoil=("splits/brush_hair_test_split1.txt", 2, "b.avi 3"),
        says=("line 2", "'b.avi 3' is not a video and 0, 1 or 2"),
    ),
    Example(
        layout="list",
        write=pyslowfast,
        rows=[
            ("k/air drumming/a.mp4", ("0",), "train", None, None),
            ("k/b 2.mp4", ("2",), "train", None, None),
            ("k/c.mp4", ("2",), "val", None, None),
        ],
        classes={"label": ("0", "1", "2")},
        spoil=("train.csv", 2, "k/b.mp4"),
        says=("line 2", "'k/b.mp4' has no label"),
    ),
    Example(
        layout="list",
        write=rawframes,
        rows=[
            ("some/one", ("walk",), "train", None, 0.1),
            ("some/two", ("run",), "train", 0.4, 0.6),
            ("some/three", ("run",), "val", None, 0.1),
        ],
        classes={"label": ("walk", "run")},
        spoil=("sth_train_list.txt", 1, "some/one 3 1 4 5"),
        says=("line 1", "5 cells; expected 'frames count label'"),
        options={"frame_fps": 30.0, "class_file": "names.txt"},
    ),
    Example(
        layout="csv",
        write=tsv,
        rows=[
            ("a.mp4", ("cut", "apple, red"), "train", 1.5, None),
            ("b.mp4", ("wash", "cup"), "train", None, None),
        ],
        classes={"verb": ("cut", "wash"), "noun": ("apple, red", "cup")},
        spoil=("d.tsv", 3, "b.mp4\twash\tcup"),
        says=("line 3", "3 cells, expected 5"),
        options={"label_columns": ("verb", "noun")},
    ),
    Example(
        layout="webdataset",
        write=webdataset,
        rows=[
            ("train-000000.tar", ("1",), "train", None, None),
            ("train-000000.tar", ("0",), "train", None, None),
            ("val/000000.tar", ("1",), "val", 2.0, 4.5),
        ],
        classes={"label": ("0", "1")},
        spoil=("", 0, ""),
        says=(),
    ),
    Example(
        layout="folders",
        write=folders,
        rows=[
            ("train/a/1.mp4", ("a",), "train", None, None),
            ("train/b/2.nii.gz", ("b",), "train", None, None),
            ("train/b/3.npy", ("b",), "train", None, None),
            ("validation/a/clip one", ("a",), "val", None, None),
        ],
        classes={"label": ("a", "b")},
        spoil=("", 0, ""),
        says=(),
    ),
    Example(
        layout="npz",
        write=npz,
        rows=[
            ("x.npz", ("0",), "train", None, None),
            ("x.npz", ("1",), "train", None, None),
            ("x.npz", ("0",), "val", None, None),
            ("x.npz", ("1",), "val", None, None),
        ],
        classes={"label": ("0", "1")},
        spoil=("", 0, ""),
        says=(),
    ),
]
