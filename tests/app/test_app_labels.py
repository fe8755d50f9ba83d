"""Labels: saved after every edit, undone over sessions, never lost to another tab, a kill or another program."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tubelet.app.history import History, Mark
from tubelet.app.labels import Asked, Changed, LabelStore
from tubelet.app.library import FilmFile, Library
from tubelet.app.reading import About
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.errors import DataError

ABOUT = About(
    timestamps=np.arange(100) / 10,
    duration_seconds=10.0,
    fps=10.0,
    width=32,
    height=32,
    codec="h264",
    plays=True,
    notes=(),
)


@pytest.fixture
def film(tmp_path: Path) -> FilmFile:
    (tmp_path / "films").mkdir()
    (tmp_path / "films/day.mp4").write_bytes(b"film")
    return Library(tmp_path / "films", tmp_path / "uploads").all()[0]


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels", tmp_path / "labels/.tubelet/history")


def added(label: str, start: float, stop: float) -> Asked:
    return Asked(what=f"add {label}", add=(Mark(start=start, stop=stop, label=label),))


def stretches(history: History) -> list[tuple[str, float, float]]:
    return [(mark.label, mark.start, mark.stop) for mark in sorted(history.marks)]


def test_an_edit_is_in_the_table_at_the_times_of_frames(store: LabelStore, film: FilmFile) -> None:
    history = store.edit(film, ABOUT, 0, added("run", 1.234, 2.01))
    assert stretches(history) == [("run", 1.2, 2.0)]
    (read,) = read_bouts(store.table(film)).films
    assert (store.folder / read.path).resolve() == film.path.resolve()
    assert [(b.label, b.start, b.stop) for b in read.bouts] == stretches(history)


def test_what_meets_of_one_label_becomes_one_stretch(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    store.edit(film, ABOUT, 1, added("spin", 1.5, 4))
    history = store.edit(film, ABOUT, 2, added("run", 1.5, 3))
    assert stretches(history) == [("run", 1.0, 3.0), ("spin", 1.5, 4.0)]
    assert stretches(store.undo(film, ABOUT, 3)) == [("run", 1.0, 2.0), ("spin", 1.5, 4.0)]


def test_undo_and_redo_reach_over_sessions(store: LabelStore, film: FilmFile, tmp_path: Path) -> None:
    for number in range(3):
        store.edit(film, ABOUT, number, added(f"b{number}", number, number + 0.5))
    later = LabelStore(tmp_path / "labels", tmp_path / "labels/.tubelet/history")
    for version in range(3, 6):
        history = later.undo(film, ABOUT, version)
    assert not history.marks
    assert not later.table(film).exists()
    with pytest.raises(DataError, match="nothing to undo"):
        later.undo(film, ABOUT, 6)
    for version in range(6, 9):
        history = later.redo(film, ABOUT, version)
    assert [label for label, _, _ in stretches(history)] == ["b0", "b1", "b2"]


def test_the_later_of_two_tabs_is_told_and_changes_nothing(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    before = store.table(film).read_bytes()
    with pytest.raises(Changed, match="changed elsewhere"):
        store.edit(film, ABOUT, 0, added("spin", 3, 4))
    assert store.table(film).read_bytes() == before
    history = store.edit(film, ABOUT, 1, added("spin", 3, 4))
    assert [label for label, _, _ in stretches(history)] == ["run", "spin"]


def test_a_kill_between_history_and_table_loses_nothing(
    store: LabelStore, film: FilmFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))

    def killed(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    def interrupted(work: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("tubelet.app.labels.write_atomically", killed)
            with pytest.raises(KeyboardInterrupt):
                work()

    for version, work in (
        (1, lambda: store.edit(film, ABOUT, 1, added("spin", 3, 4))),
        (2, lambda: store.undo(film, ABOUT, 2)),
    ):
        interrupted(work)
        history = store.read(film, ABOUT)
        assert history.version == version + 1
        (read,) = read_bouts(store.table(film)).films
        assert [(b.label, b.start, b.stop) for b in read.bouts] == stretches(history)


def test_half_a_line_of_history_is_left_out(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    file = next((store.folder / ".tubelet/history").iterdir())
    with file.open("a") as stream:
        stream.write('{"step": "edit", "what": "add sp')
    assert store.edit(film, ABOUT, 1, added("spin", 3, 4)).version == 2
    assert [label for label, _, _ in stretches(store.read(film, ABOUT))] == ["run", "spin"]


def test_changes_of_another_program_count_as_an_edit(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    table = store.table(film)
    table.write_text(table.read_text().replace("run", "walk"))
    history = store.read(film, ABOUT)
    assert stretches(history) == [("walk", 1.0, 2.0)]
    assert stretches(store.undo(film, ABOUT, history.version)) == [("run", 1.0, 2.0)]
    table.write_text("nonsense")
    with pytest.raises(DataError, match=r"labels cannot be read: .*mend or remove"):
        store.read(film, ABOUT)
    assert table.read_text() == "nonsense"


def test_an_older_table_that_comes_back_is_the_change_of_another_program(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    older = store.table(film).read_bytes()
    store.edit(film, ABOUT, 1, added("spin", 3, 4))
    store.table(film).write_bytes(older)
    with pytest.raises(Changed):
        store.edit(film, ABOUT, 2, added("rest", 5, 6))
    assert store.table(film).read_bytes() == older
    history = store.read(film, ABOUT)
    assert stretches(history) == [("run", 1.0, 2.0)]
    assert stretches(store.undo(film, ABOUT, history.version)) == [("run", 1.0, 2.0), ("spin", 3.0, 4.0)]
    store.table(film).unlink()
    history = store.read(film, ABOUT)
    assert not history.marks
    assert not store.table(film).exists()


def test_columns_that_came_with_a_table_stay_through_edits(store: LabelStore, film: FilmFile) -> None:
    store.folder.mkdir()
    rows = ["path,start,stop,label,subject,observer,score,split,weather"]
    rows += ["../films/day.mp4,1,2,run,m1,ann,0.91,train,sun", "../films/day.mp4,1.5,2.5,run,m2,bob,0.5,train,=rain"]
    store.table(film).write_text("\n".join(rows) + "\n")
    history = store.read(film, ABOUT)
    (first, second) = sorted(history.marks)
    history = store.edit(film, ABOUT, history.version, added("spin", 3, 4))
    moved = Mark(start=1.0, stop=3.0, label="run", cells=first.cells)
    store.edit(film, ABOUT, history.version, Asked(what="move run", add=(moved,), remove=(first,)))
    with store.table(film).open(newline="") as stream:
        one, two, new = csv.DictReader(stream)
    assert (one["subject"], one["observer"], one["split"], one["weather"]) == ("m1", "ann", "train", "sun")
    assert (two["subject"], two["score"], two["weather"]) == ("m2", "0.5", "'=rain")
    assert (new["label"], new["subject"], new["split"]) == ("spin", "", "train")
    assert read_bouts(store.table(film)).films[0].split == "train"
    assert sorted(store.read(film, ABOUT).marks)[1] == second


def test_a_film_without_labels_has_no_table(store: LabelStore, film: FilmFile) -> None:
    history = store.edit(film, ABOUT, 0, added("run", 1, 2))
    store.edit(film, ABOUT, 1, Asked(what="remove run", remove=tuple(history.marks)))
    assert not store.table(film).exists()
    assert not store.is_labeled(film)
    assert stretches(store.undo(film, ABOUT, 2)) == [("run", 1.0, 2.0)]
    assert store.table(film).exists()


def test_a_header_alone_labels_nothing(store: LabelStore, film: FilmFile) -> None:
    store.folder.mkdir()
    store.table(film).write_text("path,start,stop,label\n")
    assert not store.read(film, ABOUT).marks
    assert stretches(store.edit(film, ABOUT, 1, added("run", 1, 2))) == [("run", 1.0, 2.0)]


def test_rows_of_other_films_are_not_lost_in_a_table(store: LabelStore, film: FilmFile) -> None:
    (film.path.parent / "night.mp4").write_bytes(b"film")
    store.folder.mkdir()
    text = "path,start,stop,label\n../films/day.mp4,1,2,run\n../films/night.mp4,1,2,run\n"
    store.table(film).write_text(text)
    with pytest.raises(DataError, match=r"names other films than day\.mp4"):
        store.edit(film, ABOUT, 0, added("spin", 3, 4))
    assert store.table(film).read_text() == text


def test_texts_that_spreadsheets_would_run_are_quoted_and_read_back(store: LabelStore, film: FilmFile) -> None:
    cells = {"=1+1": "'=1+1", "+a": "'+a", "-b": "'-b", "@c": "'@c", "'=d": "''=d", "'f": "'f", "-1": "-1"}
    for number, name in enumerate(cells):
        store.edit(film, ABOUT, number, added(name, number, number + 0.5))
    with store.table(film).open(newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == list(cells.values())
    (read,) = read_bouts(store.table(film)).films
    assert [bout.label for bout in read.bouts] == list(cells)


def test_of_two_servers_one_at_a_time_edits(store: LabelStore, film: FilmFile) -> None:
    stores = [store, LabelStore(store.folder, store.folder / ".tubelet/history")]

    def edit(one: LabelStore, label: str, version: int, start: threading.Barrier, told: list[str]) -> None:
        start.wait()
        try:
            one.edit(film, ABOUT, version, added(label, 1, 2))
        except Changed:
            told.append(label)

    for version in range(20):
        start, told = threading.Barrier(2), list[str]()
        work = [(one, f"{version}-{i}", version, start, told) for i, one in enumerate(stores)]
        threads = [threading.Thread(target=edit, args=words) for words in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 1
        assert store.read(film, ABOUT).version == version + 1
    assert not list(store.folder.rglob("run.lock"))


def test_what_is_no_stretch_is_refused(store: LabelStore, film: FilmFile) -> None:
    for asked in (added("run", 2, 1), added("run", 50, 60), added("  ", 1, 2), added("a\nb", 1, 2)):
        with pytest.raises(DataError):
            store.edit(film, ABOUT, 0, asked)
    assert not store.table(film).exists()


def test_films_of_one_name_have_tables_of_their_own(tmp_path: Path, store: LabelStore) -> None:
    for folder in ("films/a", "films/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "day.mp4").write_bytes(b"film")
    one, two = Library(tmp_path / "films", tmp_path / "uploads").all()
    assert store.table(one) != store.table(two)


def test_links_out_of_the_folder_are_no_films(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "outside.mp4").write_bytes(b"film")
    (tmp_path / "films/own.mp4").write_bytes(b"film")
    os.symlink(tmp_path / "outside.mp4", tmp_path / "films/link.mp4")
    os.symlink(tmp_path / "films/own.mp4", tmp_path / "films/inner.mp4")
    library = Library(tmp_path / "films", tmp_path / "uploads")
    assert [film.name for film in library.all()] == ["inner.mp4", "own.mp4"]
    inner = next(film for film in library.all() if film.name == "inner.mp4")
    (tmp_path / "films/inner.mp4").unlink()
    os.symlink(tmp_path / "outside.mp4", tmp_path / "films/inner.mp4")
    with pytest.raises(Exception, match="no such film"):
        library.get(inner.id)


def test_the_history_is_plain_lines(store: LabelStore, film: FilmFile) -> None:
    store.edit(film, ABOUT, 0, added("run", 1, 2))
    line, saved = next((store.folder / ".tubelet/history").iterdir()).read_text().splitlines()
    assert json.loads(saved) == {"step": "saved"}
    assert json.loads(line)["added"] == [{"start": 1.0, "stop": 2.0, "label": "run", "kind": "label"}]
