"""Lists of actions of EPIC-KITCHENS-100 as bouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import assert_one_line, touch
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import ConfigError, DataError

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def action(start: str, stop: str, verb: int, noun: int, video: str = "P01_01") -> str:
    return f"{video}_0,P01,{video},00:00:00.50,{start},{stop},9,99,a narration,v,{verb},n,{noun},\"['n', 'm']\",\"[1]\""


def annotations(folder: Path, *rows: str, name: str = "EPIC_100_train.csv") -> Path:
    touch(folder, "P01/videos/P01_01.MP4", "P01/videos/P01_02.MP4")
    (folder / "EPIC_100_verb_classes.csv").write_text('id,key,instances,category\n0,take,"[]",a\n1,wash,"[]",a\n')
    (folder / name).write_text("\n".join([HEADER, *rows]) + "\n")
    return folder / name


def test_a_list_of_actions_gives_bouts_of_verbs_with_the_split_of_its_name(tmp_path: Path) -> None:
    rows = [
        action("00:00:01.50", "00:00:03.00", 1, 2),
        action("00:00:02.00", "00:01:02.25", 0, 3),
        action("00:00:05.00", "00:00:06.00", 0, 4, "P01_02"),
    ]
    source = annotations(tmp_path, *rows, name="EPIC_100_validation.csv")
    for named in (source, tmp_path):  # the folder has files of classes too
        first, second = read_bouts(named).films
        assert (first.path, first.split) == ("P01/videos/P01_01.MP4", "val")
        assert [(b.label, b.start, b.stop) for b in first.bouts] == [("wash", 1.5, 3.0), ("take", 2.0, 62.25)]
        assert [(b.label, b.start, b.stop) for b in second.bouts] == [("take", 5.0, 6.0)]
    action_names = read_bouts(source, ManifestConfig(label_columns=("action",))).names
    assert action_names == ("take 3", "take 4", "wash 2")  # nouns have no file of classes here
    assert read_bouts(source, ManifestConfig(label_columns=("noun_class",))).names == ("2", "3", "4")


def test_actions_of_one_label_that_overlap_are_one_bout_with_a_note(tmp_path: Path) -> None:
    times = [("00:00:01", "00:00:05"), ("00:00:02", "00:00:03"), ("00:00:04", "00:00:07"), ("00:00:07", "00:00:08")]
    labels = read_bouts(annotations(tmp_path, *(action(a, b, 0, number) for number, (a, b) in enumerate(times))))
    assert [(b.start, b.stop) for b in labels.films[0].bouts] == [(1.0, 7.0), (7.0, 8.0)]
    assert labels.notes == ("EPIC_100_train.csv: 2 actions overlap others of the same label, and are one bout",)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (action("00:00:03", "00:00:01", 0, 0), ("1 malformed", "line 2")),
        (action("soon", "00:00:01", 0, 0), ("line 2", "'soon' is not a time")),
        (action("00:00:01", "00:00:02", 7, 0), ("line 2", "verb class 7 is not one of 0 to 1")),
        (action("00:00:01", "00:00:02", 0, 0, "P09_01"), ("1 films are missing", "P09_01")),
    ],
)
def test_an_unusable_action_is_refused_by_name(row: str, says: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_bouts(annotations(tmp_path, row))
    assert_one_line(caught, *says)


def test_a_column_that_no_action_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="have verb, noun and action"):
        read_bouts(annotations(tmp_path), ManifestConfig(label_columns=("colour",)))
