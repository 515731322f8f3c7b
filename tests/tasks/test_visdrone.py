"""VisDrone-DET: rows as the toolkit reads them, what is not scored told apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from visenv.tasks.visdrone import CATEGORIES, VisDrone, read_annotation

from visenv.answers import Answer
from visenv.errors import UnknownNameError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import visdrone as fixture
from fixtures._playing import nothing, refused, rows, samples, truncate, truth


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def annotations(root: Path, split: str = "val") -> list[Path]:
    return sorted((root / "VisDrone" / f"VisDrone2019-DET-{split}" / "annotations").iterdir())


def test_every_split_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: VisDrone(root), num_samples=4)


def test_rows_become_boxes_flags_and_regions(root: Path) -> None:
    task = VisDrone(root)
    for split in task.splits:
        for sample, path in zip(samples(task, split), annotations(root, split), strict=True):
            given = [list(map(int, r.strip(",").split(","))) for r in path.read_text().split()]
            kept = [r for r in given if 1 <= r[5] <= 10 and r[3]]
            target = sample.target
            assert [CATEGORIES.index(name) + 1 for name in target.labels] == [r[5] for r in kept]
            assert target.boxes_xyxy == tuple((r[0], r[1], r[0] + r[2], r[1] + r[3]) for r in kept)
            assert target.crowd == (tuple(r[4] == 0 for r in kept) if any(r[4] == 0 for r in kept) else ())
            assert len(target.ignore_boxes_xyxy) == sum(r[5] == 0 for r in given)
            assert len(sample.meta["others_xyxy"]) == sum(r[5] == 11 for r in given)
    drawn = samples(task, "val")
    assert drawn[1].target.no_target and drawn[5].target.no_target and drawn[5].target.ignore_boxes_xyxy
    assert "awning-tricycle" in drawn[0].instruction and "others" not in drawn[0].instruction


def test_truth_and_nothing(root: Path) -> None:
    task = VisDrone(root)
    drawn = samples(task, "val")
    assert set(map(task.profile.primary, rows(task.profile, drawn, truth))) == {1.0}
    assert not any(map(task.profile.primary, rows(task.profile, drawn, nothing)))
    best = task.profile.aggregate(rows(task.profile, drawn, truth))
    empty = task.profile.aggregate(rows(task.profile, drawn, lambda _: Answer(no_target=True)))
    assert best["AP"] > 60 and empty["AP"] == 0  # below 100: the toolkit counts what is ignored as missed
    for profile in task.also:
        assert profile.aggregate(rows(profile, drawn, truth))


def test_a_split_without_annotations_is_none(root: Path) -> None:
    with pytest.raises(UnknownNameError):
        VisDrone(root).num_samples("test-challenge", 1)


@pytest.mark.parametrize(
    "row",
    ["1,2,3", "1,2,3,4,1,4,0,x", "1,2,3,4,2,4,0,0", "1,2,3,4,1,12,0,0", "1,2,3,4,1,-1,0,0", "1.5,2,3,4,1,4,0,0", "1,2,3,4,1,4,0,0,0", "1e9,2,3,4,1,4,0,0", "٣,2,3,4,1,4,0,0", f"{'9' * 5000},2,3,4,1,4,0,0"],
)  # fmt: skip
def test_damaged_rows(tmp_path: Path, row: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"1,2,3,4,1,4,0,0\n{row}\n", encoding="utf-8")
    refused(lambda: read_annotation(path), "a.txt, line 2")


def test_damaged_files(own: Path, tmp_path: Path) -> None:
    first = annotations(own)[0]
    picture = first.parents[1] / "images" / f"{first.stem}.jpg"
    truncate(picture)
    refused(lambda: VisDrone(own).sample("val", 1, 0), "readable picture")
    first.write_bytes(b"\xff\xfe1,2")
    refused(lambda: VisDrone(own)._annotation("val", picture.name), "UTF-8")
    task = VisDrone(own)
    assert task.num_samples("val", 1) == 12
    first.unlink()
    refused(lambda: task.sample("val", 1, 0), "readable picture")
    refused(lambda: task._annotation("val", picture.name), first.name)
    refused(lambda: VisDrone(tmp_path / "elsewhere").num_samples("train", 1), "VisDrone2019-DET-train")


def test_archives_without_a_folder_of_their_own(root: Path, own: Path) -> None:
    data = own / "VisDrone"
    folder = data / "VisDrone2019-DET-test-dev"
    folder.rename(data / "taken out")
    refused(
        lambda: VisDrone(own).num_samples("test-dev", 1),
        "unzip VisDrone2019-DET-test-dev.zip -d VisDrone2019-DET-test-dev",
    )
    for part in ("images", "annotations"):  # unpacked right here: it could be any split
        (data / "taken out" / part).rename(data / part)
    refused(lambda: VisDrone(own).num_samples("test-dev", 1), "nothing says which split", "unzip")
    (folder / folder.name).mkdir(parents=True)  # unpacked with -d, and it has a folder after all
    for part in ("images", "annotations"):
        (data / part).rename(folder / folder.name / part)
    for mine, theirs in zip(samples(VisDrone(own), "test-dev"), samples(VisDrone(root), "test-dev"), strict=True):
        assert (mine.id, mine.cluster, mine.target, mine.images) == (
            theirs.id,
            theirs.cluster,
            theirs.target,
            theirs.images,
        )


def test_the_audit_names_what_was_left_out_and_what_lies_outside(own: Path) -> None:
    path = annotations(own)[1]
    path.write_text("190,10,100,10,1,4,0,0\n")
    task = VisDrone(own)
    found = [f for k, e in enumerate(task.read("val")) for f in task.audit_entry("val", k, e)]
    assert [(f.kind, "left out" in f.what) for f in found if "d_0000001" in f.where or "/1/1" in f.where] == [
        ("outside", False)
    ]
    assert [f.where for f in found if f.kind == "empty"] == [f"{annotations(own)[3].stem}.jpg: 40,30,12,0,1,4,0,0,"]
    assert task.sample("val", 1, 1).target.boxes_xyxy == ((190.0, 10.0, 290.0, 20.0),)
