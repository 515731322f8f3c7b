"""ReasonSeg: its files as LISA reads them, and what happens when they are damaged."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from visenv.tasks.reasonseg import ReasonSeg

from visenv import ExpertSet
from visenv.answers import Answer
from visenv.errors import UnknownNameError
from visenv.masks import Mask, union_masks
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import reasonseg as fixture
from fixtures._playing import nothing, nowhere, oracle_score, refused, rows, samples, truncate, truth

GOLDEN = Path(__file__).parents[1] / "golden" / "reasonseg_lisa_raster.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def change(root: Path, **fields: Any) -> None:
    """Change fields of the first file of val."""
    path = root / "ReasonSeg" / "val" / "val_000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_every_split_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: ReasonSeg(root), num_samples=14)


def test_texts_pictures_and_targets(root: Path) -> None:
    task = ReasonSeg(root)
    assert [task.num_samples(s, 1) for s in task.splits] == [12, 12, 14]
    drawn = samples(task, "train")
    assert drawn[0].instruction == fixture.QUESTIONS[0] and len(drawn[0].meta["texts"]) == 3
    assert drawn[0].meta["is_sentence"] is True and drawn[1].meta["is_sentence"] is False
    assert drawn[fixture.CP1252].instruction == "Who would order a café crème – and pay in €?"
    assert len({s.cluster for s in drawn}) == len(drawn)
    ignored = [s.target.ignore is not None for s in drawn]
    assert [i for i, has in enumerate(ignored) if has] == [2, 3, 5, 10]
    assert all(not s.target.union.intersection_px(s.target.ignore) for s in drawn if s.target.ignore)


def test_a_turned_picture_is_upright_under_its_polygons(root: Path) -> None:
    sample = ReasonSeg(root).sample("val", 1, fixture.EXIF)
    with Pillow.open(sample.files[0]) as stored:
        assert stored.size == sample.images[0].size_wh[::-1]
    inside = sample.images[0].pixels[sample.target.union.to_dense()].mean(0)
    assert np.abs(inside - (220, 200, 40)).max() < 25  # the colour that the fixture fills the polygon with


def test_the_truth_and_nothing_score_as_with_lisa(root: Path) -> None:
    task = ReasonSeg(root)
    for split in task.splits:
        drawn = samples(task, split)
        assert [task.profile.primary(r) for r in rows(task.profile, drawn, truth)] == [1.0] * len(drawn)
        metrics = task.profile.aggregate(rows(task.profile, drawn, truth))
        assert metrics["gIoU"] == pytest.approx(1, abs=1e-4) and metrics["cIoU"] == pytest.approx(1, abs=1e-6)
        assert set(task.profile.aggregate(rows(task.profile, drawn, nothing)).values()) == {0.0}
        for profile in task.also:
            assert profile.aggregate(rows(profile, drawn, truth))["gIoU"] is not None
    empty = [s for s in samples(task, "test") if s.target.no_target]
    assert [s.index for s in empty] == [fixture.NOTHING, fixture.ONLY_IGNORE]
    assert [task.profile.primary(r) for r in rows(task.profile, empty, nowhere)] == [1.0, 1.0]
    assert [task.profile.primary(r) for r in rows(task.profile, empty, lambda _: Answer())] == [1.0, 1.0]


def test_the_oracle_scores_what_the_profile_gives_the_target(root: Path, experts: ExpertSet) -> None:
    for task in (ReasonSeg(root),):
        for split in task.splits:
            for sample in samples(task, split):
                own_value = task.profile.primary(task.profile.row(sample.target, truth(sample)))
                assert oracle_score(task, sample, experts) == pytest.approx(own_value, abs=1e-12)


def test_ignored_pixels_count_neither_way(root: Path) -> None:
    task = ReasonSeg(root)
    sample = task.sample("val", 1, 2)
    assert sample.target.ignore is not None
    both = union_masks([sample.target.union, sample.target.ignore], sample.target.size_hw)
    assert task.profile.primary(task.profile.row(sample.target, Answer(masks=(both,)))) == 1.0


def test_files_give_the_masks_that_lisa_draws(tmp_path: Path) -> None:
    for case in json.loads(GOLDEN.read_text())["cases"]:
        folder = tmp_path / case["name"] / "ReasonSeg" / "val"
        folder.mkdir(parents=True)
        height, width = case["input"]["size"]
        Pillow.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / "one.jpg")
        held = case["input"].get("annotation")
        raw = json.dumps(held).encode() if held else base64.b64decode(case["input"]["file_base64"])
        (folder / "one.json").write_bytes(raw)
        sample = ReasonSeg(tmp_path / case["name"]).sample("val", 1, 0)
        wanted = case["expected"]
        assert sample.target.union == Mask.from_json(wanted["target"]), case["name"]
        assert (sample.target.ignore or Mask.empty((height, width))) == Mask.from_json(wanted["ignore"]), case["name"]
        assert sample.meta["texts"] == wanted["text"] and sample.meta["is_sentence"] == wanted["is_sentence"]


def test_lisas_own_arrangement_is_found(own: Path) -> None:
    (own / "reason_seg").mkdir()
    (own / "ReasonSeg").rename(own / "reason_seg" / "ReasonSeg")
    assert ReasonSeg(own).num_samples("val", 1) == 12


SQUARE = [[10.0, 10.0], [60.0, 10.0], [60.0, 60.0], [10.0, 60.0]]
DAMAGE: list[tuple[dict[str, Any], str]] = [
    ({"shapes": [{"label": "target", "points": [[5, 5], [900, 5], [900, 900]]}]}, "upright (EXIF)"),
    ({"shapes": [{"label": "target", "points": [[5, 5], [1e300, 5], [9, 9]]}]}, "points"),
    ({"shapes": [{"label": "target", "points": [[5, 5], ["a", 5], [9, 9]]}]}, "points"),
    ({"shapes": [{"label": 3, "points": SQUARE}]}, "label"),
    ({"shapes": "none"}, "shapes"),
    ({"text": "not a list"}, "list of texts"),
    ({"text": []}, "at least one text"),
    ({"text": [" "]}, "text"),
    ({"is_sentence": "yes"}, "is_sentence"),
]


@pytest.mark.parametrize(("fields", "word"), DAMAGE)
def test_a_damaged_file_is_refused_and_found_and_spoils_no_other(own: Path, fields: dict[str, Any], word: str) -> None:
    change(own, **fields)
    task = ReasonSeg(own)
    refused(lambda: task.sample("val", 1, 0), word)
    assert [f.where for f in task.audit_entry("val", 0, task.entries("val")[0])] == ["val/val_000.json"]
    assert task.sample("val", 1, 1).target.masks


def test_polygons_of_the_picture_turned_are_refused(own: Path) -> None:
    picture = own / "ReasonSeg" / "val" / "val_000.jpg"
    pixels = np.zeros((100, 140, 3), np.uint8)
    Pillow.fromarray(pixels.transpose(1, 0, 2)).save(picture)
    change(own, shapes=[{"label": "target", "points": [[5, 5], [138, 5], [138, 90]]}])
    refused(lambda: ReasonSeg(own).sample("val", 1, 0), "EXIF")


def test_what_is_drawn_past_the_border_is_cut_off_and_found(own: Path) -> None:
    change(
        own,
        shapes=[{"label": "target", "points": [[-9, 10], [60, 10], [60, 60], [-9, 60]]}, {"label": "x", "points": []}],
    )
    task = ReasonSeg(own)
    assert task.sample("val", 1, 0).target.boxes_xyxy == ((0.0, 10.0, 61.0, 61.0),)
    assert [f.kind for f in task.audit_entry("val", 0, "val_000")] == ["form", "outside"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1, 2]", b"[" * 100_000, b'{"text": [NaN]}', b"\xff\xfe\x81\x8d", b"1" * 10_000], ids=range(7)
)
def test_what_is_no_json_is_refused(own: Path, raw: bytes) -> None:
    (own / "ReasonSeg" / "val" / "val_000.json").write_bytes(raw)
    refused(lambda: ReasonSeg(own).sample("val", 1, 0), "val_000.json")


@pytest.mark.parametrize(("damage", "kind"), [(truncate, "unreadable"), (Path.unlink, "missing")])
def test_a_picture_that_is_cut_off_or_lost_while_the_task_is_open(
    own: Path, damage: Callable[[Path], None], kind: str
) -> None:
    task = ReasonSeg(own)
    assert task.num_samples("val", 1) == 12
    damage(own / "ReasonSeg" / "val" / "val_003.jpg")
    refused(lambda: task.sample("val", 1, 3), "val_003.jpg")
    assert [f.kind for f in task.audit_entry("val", 3, "val_003")] == [kind]


def test_what_no_one_draws_is_refused_before_it_is_drawn(own: Path) -> None:
    zigzag = [[(k % 2) * 90 + k / 500, (k * 7) % 90] for k in range(5_001)]
    for shapes in ([zigzag], [zigzag[:3]] * 501, [zigzag[:4000]] * 2):
        change(own, shapes=[{"label": "target", "points": points} for points in shapes])
        started = time.perf_counter()
        refused(lambda: ReasonSeg(own).sample("val", 1, 0), "points" if len(shapes) != 2 else "outlines")
        assert time.perf_counter() - started < 1


def test_a_picture_that_is_a_program_is_not_run(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = own / "gs"
    program.write_text(f"#!/bin/sh\ntouch {own}/ran\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(own), prepend=":")
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (own / "ReasonSeg" / "val" / "val_003.jpg").write_text(script)
    refused(lambda: ReasonSeg(own).sample("val", 1, 3), "val_003.jpg")
    assert not (own / "ran").exists()


def test_missing_folders_and_mirrors_are_told_apart(tmp_path: Path) -> None:
    refused(lambda: ReasonSeg(tmp_path).num_samples("val", 1), "val/NAME.json", "LISA")
    (tmp_path / "ReasonSeg").mkdir()
    (tmp_path / "ReasonSeg" / "test-0000.parquet").write_bytes(b"")
    refused(lambda: ReasonSeg(tmp_path).num_samples("val", 1), "mirror", "ignored pixels")
    with pytest.raises(UnknownNameError, match="testA"):
        ReasonSeg(tmp_path).num_samples("testA", 1)


def test_the_miniature_is_the_same_every_time(root: Path, own: Path) -> None:
    for path in sorted(root.rglob("*.*")):
        assert path.read_bytes() == (own / path.relative_to(root)).read_bytes()
