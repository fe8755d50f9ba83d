"""Bouts as programs for observation write them: every format gives the same films; what no label may be is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import assert_one_line, touch
from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm
from tubelet.data.layouts.bouts.write import boris_project as written_project
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError

Seen = set[tuple[str, float, float, str]]  # label, start, stop, subject
EXPECTED: Seen = {("groom", 1.5, 3.0, ""), ("rear", 2.0, 2.25, "")}


def seen(path: Path, config: ManifestConfig | None = None) -> Seen:
    (film,) = read_bouts(path, config).films
    assert film.path == "a.mp4"
    return {(b.label, b.start, b.stop, b.subject) for b in film.bouts}


def write(path: Path, text: str) -> Path:
    touch(path.parent, "a.mp4")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,start,stop,label\na.mp4,1.5,3.0,groom\na.mp4,2,2.25,rear\n",
        "path;start;stop;label\na.mp4;1,5;3,0;groom\na.mp4;2;2,25;rear\n",
        "path\tstart\tend\tlabel\na.mp4\t00:01.5\t0:00:03\tgroom\na.mp4\t00:02,0\t2.25\trear\n",
    ],
)
def test_times_are_seconds_with_point_or_comma_or_of_a_clock(text: str, tmp_path: Path) -> None:
    assert seen(write(tmp_path / "labels.csv", text)) == EXPECTED


def boris_project(events: list[list[object]], **fields: object) -> str:
    """A project with these events on the film's clock; the offset is in the times that are written."""
    coded = [[time + 7, *rest] for time, *rest in events]  # type: ignore[operator]
    observation = {"type": "MEDIA", "file": {"1": ["/elsewhere/a.mp4"], "2": []}, "events": coded, "time offset": 7.0}
    return json.dumps(
        {
            "behaviors_conf": {
                "0": {"code": "groom", "type": "State event"},
                "1": {"code": "rear", "type": "State event"},
                "2": {"code": "blink", "type": "Point event"},
            },
            "subjects_conf": {"0": {"name": "mouse"}},
            "observations": {"day 1": observation | fields},
        }
    )


EVENTS: list[list[object]] = [
    [1.5, "", "groom", "", ""],
    [2.0, "", "rear", "high", ""],
    [2.25, "", "rear", "high", ""],
    [3.0, "", "groom", "", ""],
]


def test_a_project_of_boris_pairs_events_and_finds_media_of_another_machine_by_name(tmp_path: Path) -> None:
    assert seen(write(tmp_path / "p.boris", boris_project(EVENTS))) == EXPECTED
    point = [*EVENTS, [4.0, "mouse", "blink", "", ""]]
    assert ("blink", 4.0, 4.0, "mouse") in seen(write(tmp_path / "q.boris", boris_project(point)))


def test_states_pair_by_their_modifiers_as_in_boris(tmp_path: Path) -> None:
    """Modifiers that overlap, or follow each other as BORIS switches them, make one bout of their behavior."""
    events: list[list[object]] = [
        [1.5, "", "groom", "face", ""],
        [2.0, "", "rear", "high", ""],
        [2.0, "", "groom", "tail", ""],
        [2.099, "", "rear", "high", ""],
        [2.1, "", "rear", "low", ""],
        [2.25, "", "rear", "low", ""],
        [2.5, "", "groom", "face", ""],
        [3.0, "", "groom", "tail", ""],
    ]
    assert seen(write(tmp_path / "p.boris", boris_project(events))) == EXPECTED
    apart = [[time + 3 * (time >= 2.1), *rest] for time, *rest in events[1:6] if rest[1] == "rear"]  # type: ignore[operator]
    assert seen(write(tmp_path / "q.boris", boris_project(apart))) == {
        ("rear", 2.0, 2.099, ""),
        ("rear", 5.1, 5.25, ""),
    }


def test_several_media_in_one_cell_are_refused_with_the_remedy(tmp_path: Path) -> None:
    text = TABULAR_OF_ROWS.replace(";", "\t").replace("/x/a.mp4", "a.mp4;b.mp4")
    with pytest.raises(DataError, match=r"'a.mp4;b.mp4' names several media on one clock; give the project file"):
        read_bouts(write(tmp_path / "t.tsv", text))


def test_media_in_sequence_have_a_clock_each(tmp_path: Path) -> None:
    media = {"file": {"1": ["b.mp4", "a.mp4"]}, "media_info": {"length": {"b.mp4": 2.5, "a.mp4": 9.0}}}
    touch(tmp_path, "b.mp4")
    films = read_bouts(write(tmp_path / "p.boris", boris_project(EVENTS, **media))).films
    assert {film.path: {(b.label, b.start, b.stop) for b in film.bouts} for film in films} == {
        "b.mp4": {("groom", 1.5, 2.5), ("rear", 2.0, 2.25)},
        "a.mp4": {("groom", 0.0, 0.5)},
    }


def test_an_observation_without_media_is_left_out_with_a_note(tmp_path: Path) -> None:
    project = json.loads(boris_project(EVENTS))
    project["observations"]["watched"] = {"type": "LIVE", "file": [], "events": [[1.0, "", "groom", "", ""]]}
    labels = read_bouts(write(tmp_path / "p.boris", json.dumps(project)))
    assert len(labels.films) == 1
    assert "'watched' has no film (LIVE)" in labels.notes[0]


TABULAR = (
    "Observation id\tday 1\t\t\t\t\nTime offset (s)\t10\t\t\t\t\n\t\t\t\t\t\n"
    "Time\tMedia file path\tTotal length\tSubject\tBehavior\tStatus\n"
    "11.5\ta.mp4\t60\tNo focal subject\tgroom\tSTART\n12\ta.mp4\t60\t\trear\tSTART\n"
    "12.25\ta.mp4\t60\t\trear\tSTOP\n13\ta.mp4\t60\tNo focal subject\tgroom\tSTOP\n"
)
AGGREGATED = (
    "Observation id,Media file,Subject,Behavior,Behavior type,Start (s),Stop (s)\n"
    "day 1,a.mp4,No focal subject,groom,STATE,1.500,3.000\nday 1,a.mp4,,rear,STATE,2.000,2.250\n"
)


# As newer versions write them: one header, the offset and modifiers in columns, decimal commas.
TABULAR_OF_ROWS = (
    "Observation id;Source;Time offset (s);Subject;Behavior;Modifier #1;Behavior type;Time;Media file name\n"
    "day 1;player #1:/x/a.mp4;0,5;;groom;;START;2,000;Not found\nday 1;/x/a.mp4;0,5;;rear;high;START;2,500;a.mp4\n"
    "day 1;/x/a.mp4;0,5;;rear;high;STOP;2,750;a.mp4\nday 1;/x/a.mp4;0,5;;groom;;STOP;3,500;a.mp4\n"
)
AGGREGATED_WITH_OFFSET = (
    "Observation id\tTime offset (s)\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\tMedia file name\n"
    "day 1\t100.0\t\tgroom\tSTATE\t101.500\t103.000\ta.mp4\nday 1\t100.0\t\trear\tSTATE\t102.000\t102.250\ta.mp4\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", TABULAR),
        ("g.csv", AGGREGATED),
        ("u.csv", TABULAR_OF_ROWS),
        ("h.tsv", AGGREGATED_WITH_OFFSET),
    ],
)
def test_exports_of_boris_give_the_same(name: str, text: str, tmp_path: Path) -> None:
    assert seen(write(tmp_path / name, text)) == EXPECTED


EAF = """<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT>
<HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///x/a.mp4" TIME_ORIGIN="500"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="2500"/>
<TIME_SLOT TIME_SLOT_ID="t3" TIME_VALUE="1500"/><TIME_SLOT TIME_SLOT_ID="t4" TIME_VALUE="1750"/></TIME_ORDER>
<TIER TIER_ID="behavior" LINGUISTIC_TYPE_REF="d"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1"
TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>groom</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>
</ANNOTATION></TIER>
<TIER TIER_ID="rear" LINGUISTIC_TYPE_REF="d"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2"
TIME_SLOT_REF1="t3" TIME_SLOT_REF2="t4"><ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def test_a_file_of_elan_counts_from_its_time_origin(tmp_path: Path) -> None:
    assert seen(write(tmp_path / "x.eaf", EAF)) == EXPECTED


SECOND_TIER = """<TIER TIER_ID="rear" LINGUISTIC_TYPE_REF="d">"""


def test_a_tier_below_another_is_read_and_one_without_times_is_noted(tmp_path: Path) -> None:
    below = EAF.replace(SECOND_TIER, SECOND_TIER.replace(">", ' PARENT_REF="behavior">'))
    assert below != EAF
    assert seen(write(tmp_path / "x.eaf", below)) == EXPECTED
    assert read_bouts(tmp_path / "x.eaf").notes == ()
    divided = below.replace('<TIME_SLOT TIME_SLOT_ID="t4" TIME_VALUE="1750"/>', '<TIME_SLOT TIME_SLOT_ID="t4"/>')
    labels = read_bouts(write(tmp_path / "y.eaf", divided))
    assert labels.names == ("groom",)
    assert labels.notes == ("tier 'rear' (below 'behavior') has annotations without times of their own: left out",)
    alone = divided.replace(' PARENT_REF="behavior"', "")
    with pytest.raises(DataError, match="annotation a2 of tier 'rear' has no time; align it in ELAN"):
        read_bouts(write(tmp_path / "z.eaf", alone))


def test_tiers_that_share_a_word_are_subjects(tmp_path: Path) -> None:
    """A tier per animal: what one does may cross what the other does."""
    both = {("groom", 1.5, 3.0, "behavior"), ("groom", 2.0, 2.25, "rear")}
    value = EAF.replace("<ANNOTATION_VALUE/>", "<ANNOTATION_VALUE>groom</ANNOTATION_VALUE>")
    assert seen(write(tmp_path / "x.eaf", value)) == both
    named = value.replace(SECOND_TIER, SECOND_TIER.replace(">", ' PARTICIPANT="m2">'))
    assert {subject for *_, subject in seen(write(tmp_path / "y.eaf", named))} == {"behavior", "m2"}
    grid = LONG.replace('"rear"', '"groom"')
    assert seen(write(tmp_path / "a.TextGrid", grid)) == {("groom", 1.5, 3.0, "one"), ("groom", 2.0, 2.25, "two")}


def test_classes_that_are_written_nearly_alike_are_noted(tmp_path: Path) -> None:
    rows = "a.mp4,1,2,Red\na.mp4,3,4,red\na.mp4,5,6,Blue\n"
    (note,) = read_bouts(write(tmp_path / "labels.csv", f"path,start,stop,label\n{rows}")).notes
    assert note == "different classes, written nearly alike: 'Red' and 'red'; write one way what is one"
    (tmp_path / "more.csv").write_text("path,start,stop,label\na.mp4,7,8,blue\n")
    assert "'Blue' and 'blue'; 'Red' and 'red'" in read_bouts(tmp_path).notes[-1]
    manifest = read_manifest(tmp_path / "labels.csv", ManifestConfig(layout="bouts"), is_checked=False)
    assert note in manifest.notes


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "one"
        xmin = 0
        xmax = 5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = ""
        intervals [2]:
            xmin = 1.5
            xmax = 3
            text = "groom"
        intervals [3]:
            xmin = 3
            xmax = 5
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "two"
        xmin = 0
        xmax = 5
        intervals: size = 1
        intervals [1]:
            xmin = 2
            xmax = 2.25
            text = "rear"
"""
SHORT = (
    '"ooTextFile"\n"TextGrid"\n0\n5\n<exists>\n2\n"IntervalTier"\n"one"\n0\n5\n1\n1.5\n3\n"groom"\n'
    '"IntervalTier"\n"two"\n0\n5\n1\n2\n2.25\n"rear"\n'
)


@pytest.mark.parametrize("text", [LONG, SHORT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_both_forms_of_textgrid_hold_the_same(text: str, encoding: str, tmp_path: Path) -> None:
    write(tmp_path / "a.TextGrid", "").write_text(text, encoding=encoding)
    assert seen(tmp_path / "a.TextGrid") == EXPECTED


def test_activitynet_and_calms21_are_told_apart(tmp_path: Path) -> None:
    entry = {"subset": "training", "annotations": [{"label": "groom", "segment": [1.5, 3.0]}]}
    assert seen(write(tmp_path / "x.json", json.dumps({"database": {"a": entry}}))) == {("groom", 1.5, 3.0, "")}
    vocab = {"attack": 0, "mount": 2, "other": 3}
    sequence = {"annotations": [3, 0, 0, 3, 2], "metadata": {"vocab": vocab}}
    for name in ("task1/test/a",):
        (film,) = read_bouts(write(tmp_path / "y.json", json.dumps({"annotator-id_0": {name: sequence}}))).films
    assert film.split == "test"
    assert film.observers == ("annotator-id_0",)
    assert [(b.label, b.start, b.stop, b.unit) for b in film.bouts] == [
        ("attack", 1, 3, "frames"),
        ("mount", 4, 5, "frames"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        ",background,groom,rear\n0,1,0,0\n1,0,1,0\n2,0,1,1\n3,-1,-1,-1\n",
        "Frame,nose_x,groom,rear\n0,7.5,0,0\n1,7.5,1,0\n2,8.0,1,1\n3,8.0,-1,-1\n",
    ],
)
def test_a_matrix_gives_bouts_in_frames_and_unlabeled_frames(text: str, tmp_path: Path) -> None:
    (film,) = read_bouts(write(tmp_path / "a_labels.csv", text)).films
    assert {(b.label, b.start, b.stop, b.unit) for b in film.bouts} == {
        ("groom", 1, 3, "frames"),
        ("rear", 2, 3, "frames"),
        ("ignore", 3, 4, "frames"),
    }


HEADER = "path,start,stop,label,subject,observer\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER}a.mp4,3,1,groom,,\n", ("1 unusable", "line 2", "'groom' ends at 1, before its start at 3")),
        (f"{HEADER}a.mp4,1,3,groom,m,\na.mp4,2,4,groom,m,\n", ("line 3", "of m from 2 seconds", "line 2 ends at 3")),
        (f"{HEADER}a.mp4,1,3,groom,,\na.mp4,4,,groom,,\n", ("'groom' is a stretch in line 2 and a point in line 3",)),
        (f"{HEADER}gone.mp4,1,3,groom,,\n", ("line 2", "media 'gone.mp4' not found")),
        (f"{HEADER}a.mp4,x,3,groom,,\n", ("line 2", "'x' is not a time")),
        (f"{HEADER}a.mp4,1,3,,,\n", ("line 2", "'label' is empty")),
        ("path,label\na.mp4,groom\n", ("no column 'start'",)),
    ],
)
def test_an_unusable_row_is_refused_by_name(text: str, says: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_bouts(write(tmp_path / "labels.csv", text))
    assert_one_line(caught, *says)


def test_bouts_of_two_subjects_behaviors_or_observers_may_cross(tmp_path: Path) -> None:
    rows = "a.mp4,1,3,groom,m,A\na.mp4,2,4,groom,n,A\na.mp4,2,4,rear,m,A\na.mp4,2,4,groom,m,B\na.mp4,3,5,groom,m,A\n"
    (film,) = read_bouts(write(tmp_path / "labels.csv", HEADER + rows)).films
    assert len(film.bouts) == 5
    assert film.observers == ("A", "B")
    assert film.of_observer("B").bouts == (
        Bout(label="groom", start=2, stop=4, subject="m", observer="B", where="line 5"),
    )


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (EVENTS[:3], ("day 1", "event 1", "'groom' starts at 1.5 s and never stops")),
        ([[1.0, "rat", "groom", "", ""]], ("day 1", "unknown subject 'rat'; known: mouse")),
        ([[1.0, "", "sleep", "", ""]], ("day 1", "event 1", "'sleep' is not in the ethogram")),
        (
            [[1.0, "", "rear", "high", ""], [2.0, "", "rear", "", ""]],
            ("event 1", "'rear' with modifiers 'high'", "never"),
        ),
        ([[-1.0, "", "groom", "", ""], [2.0, "", "groom", "", ""]], ("event 1", "6 s, less the time offset of 7 s")),
        ([[float("nan"), "", "blink", "", ""]], ("day 1", "event 1: the time is nan; expected seconds")),
    ],
)
def test_a_project_is_refused_by_observation_and_event(
    events: list[list[object]], says: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read_bouts(write(tmp_path / "p.boris", boris_project(events)))
    assert_one_line(caught, *says)


def test_an_export_with_unpaired_events_or_several_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 7: START of 'rear' where STOP is due"):
        read_bouts(
            write(
                tmp_path / "t.tsv", TABULAR.replace("12.25\ta.mp4\t60\t\trear\tSTOP", "12.25\ta.mp4\t60\t\trear\tSTART")
            )
        )
    touch(tmp_path, "b.mp4")
    with pytest.raises(DataError, match=r"'day 1' has 2 media on one clock; give the project file"):
        read_bouts(write(tmp_path / "g.csv", AGGREGATED.replace("a.mp4,,rear", "b.mp4,,rear")))


def test_films_are_split_whole_and_by_group(tmp_path: Path) -> None:
    names = [f"f{number}.mp4" for number in range(12)]
    touch(tmp_path, *names)
    rows = [f"{name},1,2,{'groom' if n % 2 else 'rear'},m{n // 2},g{n // 3}" for n, name in enumerate(names)]
    text = "path,start,stop,label,subject,group\n" + "\n".join([*rows, *(row.replace("1,2", "5,6") for row in rows)])
    manifest = read_manifest(write(tmp_path / "labels.csv", text), ManifestConfig(layout="bouts"))
    assert len(manifest) == 12
    assert manifest.splits == ("train", "val", "test")
    assert manifest.class_names == {"label": ("background", "groom", "rear")}
    groups = {name: {s.group for s in manifest.split(name).samples} for name in manifest.splits}
    assert sum(len(found) for found in groups.values()) == len(set().union(*groups.values())) == 4


def test_hidden_files_of_a_folder_hold_no_bouts(tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", "path,start,stop,label\na.mp4,1.5,3,groom\na.mp4,2,2.25,rear\n")
    (tmp_path / ".notes.json").write_text("{}")
    (tmp_path / "._labels.csv").write_bytes(b"\0\xff")
    assert seen(tmp_path) == EXPECTED


def test_labels_in_an_old_stretch_that_is_ignored_are_named(tmp_path: Path) -> None:
    """The labels before and the project of ``tubelet suggest`` in one folder: the one says what the other ignores."""
    write(tmp_path / "before.csv", "path,start,stop,label,split\na.mp4,0,10,ignore,val\na.mp4,12,13,run,val\n")
    bouts = [Bout(label=name, start=start, stop=stop) for name, start, stop in (("run", 12, 13), ("spin", 2, 3.5))]
    film = WrittenFilm(path=str(tmp_path / "a.mp4"), duration_seconds=20, fps=25, bouts=bouts)
    (tmp_path / "suggestions.boris").write_text(written_project({"a": film}, ("run", "spin"), "labels"))
    labels = read_bouts(tmp_path)
    assert [(film.path, film.split) for film in labels.films] == [("a.mp4", "val")]
    (note,) = labels.notes
    assert "count nowhere: a.mp4: 'spin' from 2 in 0 to 10 seconds; remove the mark" in note
    (tmp_path / "before.csv").unlink()
    assert read_bouts(tmp_path).notes == ()
