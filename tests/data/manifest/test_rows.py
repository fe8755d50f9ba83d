"""The columns of a manifest give back the rows they were made of, and count what a walk over the rows counts."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.balanced_sampler import balanced_shares, draw_balanced
from tubelet.data.manifest import manifest as manifest_module
from tubelet.data.manifest import recorded_split
from tubelet.data.manifest.columns.rows import Rows
from tubelet.data.manifest.columns.texts import Texts, codes_of
from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest, Sample, SplitOrigin
from tubelet.data.manifest.recorded_split import RecordedSplit, as_recorded, split_facts

HEADS = {"verb": ("open", "close", "wash"), "noun": ("door", "cup")}


def rows_of(seed: int, number: int = 60, *, multi_label: bool = False) -> tuple[Sample, ...]:
    """Rows of a few files, with all that rows may state."""
    rng = random.Random(seed)

    def some(*values: Any) -> Any:
        return rng.choice((None, *values))

    rows = []
    for _ in range(number):
        labels = (
            tuple(rng.sample(range(3), rng.randrange(3)))
            if multi_label
            else (rng.randrange(-1, 3), rng.choice((-1, 0, 1)))
        )
        rows.append(
            Sample(
                path=rng.choice(("a.mp4", "é/b.mp4", "c.tar", "d\udcff.mp4", "e f,\ng.npz")),
                labels=labels,
                split=rng.choice(("val", "train", "test")),
                start_seconds=some(0.0, 0.1),
                end_seconds=some(7, 2.5),  # a whole number stays one
                fps=some(25.0),
                entry=some("x.mp4@512+9", "y.mp4@512+9"),
                start_frame=some(0, 3),
                end_frame=some(2**40),
                group=some("one", "two", "three"),
            )
        )
    return tuple(rows)


def manifest_of(rows: tuple[Sample, ...], root: Path = Path(), **fields: Any) -> Manifest:
    names = {"label": HEADS["verb"]} if fields.get("multi_label") else HEADS
    return Manifest(root=root, samples=rows, class_names=names, layout="csv", **fields)


@pytest.mark.parametrize("multi_label", [False, True])
def test_rows_come_back_as_they_were(multi_label: bool) -> None:
    rows = rows_of(0, multi_label=multi_label)
    columns = Rows.of(rows)
    assert list(columns) == list(rows)
    assert [repr(row) for row in columns] == [repr(row) for row in rows]  # 7 is not 7.0
    assert [columns[place] for place in (0, 7, -1)] == [rows[place] for place in (0, 7, -1)]
    assert columns[5:40:3][2:] == rows[5:40:3][2:]
    assert columns == rows == columns
    assert columns != rows[1:]
    with pytest.raises(IndexError):
        columns[60]
    assert Rows.of(()) == ()
    assert list(columns.of_split("val")) == [row for row in rows if row.split == "val"]
    assert columns.of_split("train").splits == {"train"}
    assert not columns.of_split("val").of_split("test")


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_a_walk_over_the_rows(seed: int) -> None:
    for several in (False, True):
        whole = manifest_of(rows_of(seed, 25, multi_label=several), multi_label=several)
        for manifest in (whole, *(whole.split(name) for name in whole.splits)):
            rows = tuple(manifest.samples)
            assert manifest.num_groups == len(set(units_of(rows)))
            assert manifest.rows.num_files == len({(row.path, row.entry) for row in rows})
            number = Counter((row.path, row.entry) for row in rows)
            assert manifest.rows.of_repeated_files() == tuple(r for r in rows if number[r.path, r.entry] > 1)
            for head, (name, classes) in enumerate(manifest.class_names.items()):
                found = [labels_of(row.labels, head, multi_label=several) for row in rows]
                counts = Counter(label for labels in found for label in labels)
                assert manifest.class_counts(name) == {known: counts[i] for i, known in enumerate(classes)}
                assert manifest.label_sets(head) == {tuple(labels) for labels in found}


def test_the_fingerprint_is_that_of_versions_that_kept_objects(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        rows = tuple(Sample(path=f"{i}.mp4", labels=(i,), split="train", start_frame=i or None) for i in range(number))
        digest = hashlib.sha256(repr((HEADS, rows)).encode())
        for row in rows:
            (tmp_path / row.path).write_bytes(b"1234")
            digest.update(f"{row.path} 4".encode())
        assert manifest_of(rows, tmp_path).fingerprint == digest.hexdigest()[:16]


def test_of_many_rows_no_file_is_looked_at_and_an_earlier_fingerprint_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(1)
    monkeypatch.setattr(manifest_module, "MAX_LOOKED_AT", 50)
    found = manifest_of(rows, tmp_path / "nowhere").fingerprint
    assert found.startswith("rows-")
    other = Sample(path="a.mp4", labels=(0, 0), split="train")
    changed = [(*rows[:-1], other), rows[::-1], rows[1:]]
    assert found not in [manifest_of(of, tmp_path).fingerprint for of in changed]
    assert found != Manifest(tmp_path, rows, {**HEADS, "noun": ("cup", "door")}, "csv").fingerprint
    plain = tuple(Sample(path=f"{i}.mp4", labels=(0, 1), split="train") for i in range(60))
    for row in plain:
        (tmp_path / row.path).touch()
    now = manifest_of(plain, tmp_path)
    assert now.is_of_fingerprint(now.fingerprint_with_files)
    assert now.is_of_fingerprint(now.fingerprint)
    assert not now.is_of_fingerprint("0" * 16)
    assert not now.is_of_fingerprint("rows-" + "0" * 16)


def test_a_row_takes_few_bytes_beside_its_path() -> None:
    number, length = 50_000, len("class_012/video_00000012.mp4")
    rows = tuple(
        Sample(path=f"class_{i % 400:03d}/video_{i:08d}.mp4", labels=(i % 400,), split="train") for i in range(number)
    )
    manifest = manifest_of(())
    tracemalloc.start()
    try:
        manifest = manifest_of(rows)
        train = manifest.split("train")
        bytes_per_row = tracemalloc.get_traced_memory()[0] / number
    finally:
        tracemalloc.stop()
    assert len(train) == number
    assert length < bytes_per_row < 60 + length


def test_texts_are_numbered_by_what_they_are_also_where_hashes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a", "b", "", "a", "é", "b", "a"]
    for _ in range(2):
        codes = codes_of([Texts.of(texts), None, Texts.of("0001000")]).tolist()
        pairs = list(zip(texts, "0001000", strict=True))
        assert [codes[i] == codes[j] for i in range(7) for j in range(7)] == [a == b for a in pairs for b in pairs]
        monkeypatch.setattr("tubelet.data.manifest.columns.texts.hash", lambda text: 0, raising=False)


def test_a_balanced_order_is_that_of_drawing_row_after_row() -> None:
    shares = balanced_shares(manifest_of(rows_of(3)))
    expected, seen = [], Counter[int]()
    for row in np.random.default_rng(5).choice(len(shares), size=len(shares), p=shares).tolist():
        expected.append(row + seen[row] * 3 * len(shares))
        seen[row] += 1
    assert draw_balanced(shares, np.random.default_rng(5), 3).tolist() == expected


def test_the_split_of_many_rows_is_recorded_by_longer_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(Sample(path=f"{i}.mp4", labels=(0, 0), split="val" if i % 3 else "train") for i in range(60))
    manifest = manifest_of(rows, split_origin=SplitOrigin(made=("val",)))
    assert "digest_bytes" not in split_facts(manifest)
    monkeypatch.setattr(recorded_split, "MAX_LOOKED_AT", 50)
    facts = {"data_fingerprint": "", "split": split_facts(manifest)}
    _, recorded = as_recorded(ManifestConfig(), facts)
    assert recorded == RecordedSplit.of(manifest)
    assert recorded is not None
    assert recorded.digest_bytes == 10
    assert list(recorded.splits_of(row.path.encode() for row in rows)) == [row.split for row in rows]
