"""RefCOCO, RefCOCO+, RefCOCOg: REFER's files, and what happens when they are damaged; their pickles have tests of their own."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as codes
from visenv.tasks.refer import RefCOCO, RefCOCOg, RefCOCOPlus, base
from visenv.tasks.refer.pickles import load_plain_pickle
from visenv.tasks.refer.places import PICTURES

from visenv import ExpertSet
from visenv.errors import UnknownNameError
from visenv.masks import Mask
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import refcoco as fixture
from fixtures._playing import nothing, nowhere, oracle_score, refused, refused_alone, rows, samples, truncate, truth

TASKS = (RefCOCO, RefCOCOPlus, RefCOCOg)
UNC, INSTANCES = "refs(unc).p", "instances.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    """Change what a JSON file or a pickle holds; what ``edit`` returns replaces it, unless it is None."""
    held = json.loads(path.read_text()) if path.suffix == ".json" else load_plain_pickle(path)
    edited = edit(held)
    held = held if edited is None else edited
    if path.suffix == ".json":
        path.write_text(json.dumps(held))
    else:
        path.write_bytes(pickle.dumps(held, 2))


@pytest.mark.parametrize("task", TASKS)
def test_every_split_keeps_the_promises_of_a_task(root: Path, task: type[RefCOCO]) -> None:
    check_task(lambda: task(root), num_samples=6)


def test_one_sample_for_each_sentence_in_the_order_of_the_file(root: Path) -> None:
    references = load_plain_pickle(root / "refcoco" / UNC)
    for split in ("train", "val", "testA", "testB"):
        wanted = [
            (r["ref_id"], s["sent_id"], s["raw"]) for r in references if r["split"] == split for s in r["sentences"]
        ]
        drawn = samples(RefCOCO(root), split)
        assert [(s.meta["ref_id"], s.meta["sent_id"], s.instruction) for s in drawn] == wanted and len(wanted) == 16
    assert any("café" in s.instruction for s in samples(RefCOCO(root), "val"))
    assert {s.cluster for s in drawn} == {str(r["image_id"]) for r in references if r["split"] == "testB"}


def test_masks_are_the_reference_rasterisers_and_overlaps_are_known(root: Path) -> None:
    instances = json.loads((root / "refcoco" / INSTANCES).read_text())
    by_id = {a["id"]: a for a in instances["annotations"]}
    overlaps = 0
    for sample in samples(RefCOCO(root), "train"):
        annotation = by_id[sample.meta["ann_ids"][0]]
        parts = codes.decode(codes.frPyObjects(annotation["segmentation"], *sample.target.size_hw)).sum(2)
        assert sample.target.masks == (Mask.from_dense(parts > 0),)
        assert (sample.target.overlap or Mask.empty(sample.target.size_hw)) == Mask.from_dense(parts > 1)
        x, y, width, height = annotation["bbox"]
        assert sample.target.boxes_xyxy[0] == pytest.approx((x, y, x + width, y + height), abs=1e-9)
        assert sample.target.labels == ({1: "person", 53: "apple"}[annotation["category_id"]],)
        assert sample.files[0].name == fixture.file_name(annotation["image_id"])
        overlaps += sample.target.overlap is not None
    assert overlaps == 2


def test_partitions_are_kept_apart(root: Path) -> None:
    task = RefCOCO(root)
    pictures = {s: {x.meta["image_id"] for x in samples(task, s)} for s in task.splits}
    assert pictures["google_test"] == pictures["val"] | set() and pictures["google_train"] != pictures["train"]
    assert not any(pictures[a] & pictures[b] for a, b in (("train", "val"), ("val", "testA"), ("testA", "testB")))


@pytest.mark.parametrize("make", TASKS)
def test_the_truth_and_nothing_score_as_they_should(root: Path, make: type[RefCOCO]) -> None:
    task = make(root)
    for split in task.splits:
        drawn = samples(task, split)
        assert [task.profile.primary(r) for r in rows(task.profile, drawn, truth)] == [1.0] * len(drawn)
        for answer in (nothing, nowhere):
            assert [task.profile.primary(r) for r in rows(task.profile, drawn, answer)] == [0.0] * len(drawn)
        for profile in task.also:
            assert set(profile.aggregate(rows(profile, drawn, nothing)).values()) == {0.0}
            assert profile.aggregate(rows(profile, drawn, truth))


def test_the_oracle_scores_what_the_profile_gives_the_target(root: Path, experts: ExpertSet) -> None:
    for task in [make(root) for make in TASKS]:
        for split in task.splits:
            for sample in samples(task, split):
                own_value = task.profile.primary(task.profile.row(sample.target, truth(sample)))
                assert oracle_score(task, sample, experts) == pytest.approx(own_value, abs=1e-12)


# damaged files


def of_first(key: str, value: Any, *, of: str = "annotations") -> Callable[[Any], None]:
    """Change a field of the first record of instances.json."""

    def edit(held: Any) -> None:
        held[of][0][key] = value

    return edit


DAMAGE: list[tuple[str, Callable[[Any], Any], str]] = [
    (INSTANCES, of_first("segmentation", [[5, 5, 900, 5, 900, 900]]), "inside the picture"),
    (INSTANCES, of_first("segmentation", [[5, 5, 1e308, 5, 1e308, 9]]), "polygon"),
    (INSTANCES, of_first("segmentation", []), "polygon"),
    (INSTANCES, of_first("segmentation", [[1, 2, 3, 4]]), "polygon"),
    (INSTANCES, of_first("segmentation", [["a"] * 6]), "segmentation"),
    (INSTANCES, of_first("segmentation", {"size": [80, 96], "counts": [1, 2]}), "annotation"),
    (INSTANCES, of_first("segmentation", {"size": [2, 2], "counts": [0, 4]}), "size"),
    (INSTANCES, of_first("bbox", [1, 1]), "bbox"),
    (INSTANCES, of_first("iscrowd", 1), "crowd"),
    (INSTANCES, of_first("image_id", 1001), "annotation"),
    (INSTANCES, of_first("id", 77), "not in the file"),
    (INSTANCES, of_first("id", 10_001), "two have this id"),
    (INSTANCES, of_first("width", 97, of="images"), "as its annotations say"),
    (INSTANCES, of_first("file_name", "../../../etc/passwd", of="images"), "inside the folder"),
    (INSTANCES, of_first("file_name", "/etc/passwd", of="images"), "inside the folder"),
    (INSTANCES, of_first("file_name", "gone.jpg", of="images"), "gone.jpg"),
    (INSTANCES, of_first("file_name", "x" * 300, of="images"), "file name"),
    (INSTANCES, of_first("file_name", "a/" * 3_000 + "x.jpg", of="images"), "file name"),
    (INSTANCES, of_first("file_name", "\ud800.jpg", of="images"), "file name"),
    (INSTANCES, of_first("file_name", "a\0b.jpg", of="images"), "file name"),
    (INSTANCES, of_first("file_name", "C:\\x.jpg", of="images"), "file name"),
]


@pytest.mark.parametrize(("name", "edit", "word"), DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_record_is_refused_and_found_and_spoils_no_other(
    own: Path, name: str, edit: Callable[[Any], Any], word: str
) -> None:
    change(own / "refcoco" / name, edit)
    task = RefCOCO(own)
    index = 2 if "two have" in word else 0
    refused(lambda: task.sample("train", 1, index), word)
    found = list(task.audit_entry("train", index, task.entries("train")[index]))
    assert found and all("RefCOCO/train/1" in f.where for f in found)
    assert ("outside" in {f.kind for f in found}) == (word == "inside the picture")
    assert task.sample("train", 1, 4).target.masks


def without(key: str, *, of: str | None = None) -> Callable[[Any], None]:
    """Leave a field out of the first reference, or of its second sentence."""

    def edit(held: Any) -> None:
        del (held[0]["sentences"][1] if of else held[0])[key]

    return edit


BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    (INSTANCES, lambda held: held["annotations"], "COCO's form"),
    (INSTANCES, of_first("id", "one"), "annotations"),
    (INSTANCES, of_first("height", "high", of="images"), "images"),
    (INSTANCES, of_first("height", 10**9, of="images"), "images"),
    (INSTANCES, lambda held: {**held, "images": held["images"] * 2}, "once"),
    (UNC, lambda held: {"refs": held}, "list of references"),
    (UNC, lambda held: [*held, 7], "place 32"),
    (UNC, lambda held: [1, 2], "place 0"),
    (UNC, without("split"), "no field 'split'"),
    (UNC, lambda held: held[0].update(split=3), "split"),
    (UNC, without("sentences"), "no field 'sentences'"),
    (UNC, lambda held: held[0].update(sentences={}), "sentences"),
    (UNC, lambda held: held[0].update(ref_id=10**5000), UNC),
    (UNC, lambda held: [one.update(ann_id="7") for one in held] and None, "place 0"),
]


@pytest.mark.parametrize(("name", "edit", "word"), BROKEN, ids=range(len(BROKEN)))
def test_a_file_of_another_form_is_refused(own: Path, name: str, edit: Callable[[Any], Any], word: str) -> None:
    change(
        own / "refcoco" / name,
        lambda held: new if isinstance(new := edit(held), (list, dict)) and new is not held else None,
    )
    refused(lambda: RefCOCO(own).num_samples("train", 1), word)


def of_sentence(**fields: Any) -> Callable[[Any], None]:
    return lambda held: held[0]["sentences"][1].update(fields)


ALONE: list[tuple[Callable[[Any], Any], list[int], str]] = [
    (lambda held: held[0].update(ann_id="7"), [0, 1], "ann_id"),
    (lambda held: held[0].update(ann_id=[]), [0, 1], "ann_id"),
    (without("ann_id"), [0, 1], "no field 'ann_id'"),
    (without("image_id"), [0, 1], "place 0"),
    (lambda held: held[0].update(ref_id=None), [0, 1], "64 bits"),
    (lambda held: held[1].update(image_id="1000"), [2, 3], "64 bits"),
    (lambda held: held[0].update(sentences=[1, 2]), [0, 1], "sentence"),
    (of_sentence(sent_id=None), [1], "sent_id"),
    (of_sentence(raw=None, sent=None), [1], "text"),
    (without("sent_id", of="sentences"), [1], "sent_id"),
]


@pytest.mark.parametrize("form", ["p", "json"])
@pytest.mark.parametrize(("edit", "places", "word"), ALONE, ids=range(len(ALONE)))
def test_a_broken_reference_keeps_its_places_and_spoils_no_other(
    own: Path, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Any], Any], places: list[int], word: str, form: str
) -> None:
    before = samples(RefCOCO(own), "train")
    path = own / "refcoco" / UNC
    change(path, edit)
    if form == "json":
        path.with_suffix(".json").write_text(json.dumps(load_plain_pickle(path)))
        monkeypatch.setattr(RefCOCO, "files", {"unc": ("refs(unc).json",)})
    task = RefCOCO(own)
    assert refused_alone(task, "train", word) == places
    after = [task.sample("train", 1, k) for k in range(16) if k not in places]
    assert [s.id for s in after] == [s.id for s in before if s.index not in places]
    assert [s.target.fingerprint for s in after] == [s.target.fingerprint for s in before if s.index not in places]


def test_a_number_given_twice_is_read_and_found(own: Path) -> None:
    before = samples(RefCOCO(own), "train")
    change(own / "refcoco" / UNC, lambda held: held[1].update(ref_id=0))
    task = RefCOCO(own)
    assert [s.target.fingerprint for s in samples(task, "train")] == [s.target.fingerprint for s in before]
    [found] = task.audit_split("train")
    assert (found.kind, found.where) == ("form", UNC) and "ref_id 0 is given again" in found.what
    assert not list(task.audit_split("val"))


def test_a_split_that_the_file_lacks_is_missing(own: Path) -> None:
    path = own / "refcoco" / "refs(google).p"
    change(path, lambda held: [one for one in held if one["split"] != "test"])
    refused(lambda: RefCOCO(own).num_samples("google_test", 1), "'refs(google).p' has no split 'test', but", "'train'")
    change(path, lambda held: [])
    refused(lambda: RefCOCO(own).num_samples("google_test", 1), "no split 'test', but none at all", "lichengunc/refer")
    assert RefCOCO(own).num_samples("testA", 1) == 16


def test_an_audit_draws_nothing_on_a_picture_of_which_only_the_size_is_claimed(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(held: Any) -> None:
        held["images"][0].update(height=1, width=2**28)
        held["annotations"][0].update(segmentation=[[0, 0, 2**28, 1, 0, 1]])

    change(own / "refcoco" / INSTANCES, edit)
    task = RefCOCO(own)
    with monkeypatch.context() as patched:
        patched.setattr(base, "mask_of", lambda *given: pytest.fail("it would take gigabytes"))
        assert ["as its annotations say" in f.what for f in task.audit_entry("train", 0, task.entries("train")[0])] == [
            True
        ]
    monkeypatch.setattr(base, "mask_of", lambda *given: 1 / 0)  # whatever a decoder of masks may raise
    found = list(task.audit_entry("train", 4, task.entries("train")[4]))
    assert [(f.kind, f.what) for f in found] == [("form", "ZeroDivisionError: division by zero")]


def test_a_sentence_without_words_is_refused_and_the_cleaned_text_stands_in_for_a_missing_one(own: Path) -> None:
    def edit(held: Any) -> None:
        held[0]["sentences"][0].update(raw=" ", sent="the cleaned text")
        held[0]["sentences"][1].update(raw="\t", sent="")

    change(own / "refcoco" / UNC, edit)
    task = RefCOCO(own)
    assert task.sample("train", 1, 0).instruction == "the cleaned text"
    refused(lambda: task.sample("train", 1, 1), "sentence")


@pytest.mark.parametrize(("box", "kind"), [([1, 1, 0, 5], "form"), ([1, 1, 4000, 5], "outside"), (None, "form")])
def test_a_box_that_cannot_be_used_is_found_and_costs_no_mask(own: Path, box: Any, kind: str) -> None:
    before = RefCOCO(own).sample("train", 1, 0).target
    change(own / "refcoco" / INSTANCES, of_first("bbox", box))
    task = RefCOCO(own)
    found = task.sample("train", 1, 0).target
    assert found.masks == before.masks and found.boxes_xyxy == (tuple(map(float, before.masks[0].box_xyxy)),)
    assert [f.kind for f in task.audit_entry("train", 0, task.entries("train")[0])] == [kind]
    change(own / "refcoco" / INSTANCES, of_first("segmentation", [[20.0, 20.0, 20.1, 20.0, 20.1, 20.1]]))
    refused(lambda: RefCOCO(own).sample("train", 1, 0), "bbox")


def test_a_target_without_pixels_is_found(own: Path) -> None:
    change(own / "refcoco" / INSTANCES, of_first("segmentation", [[20.0, 20.0, 20.1, 20.0, 20.1, 20.1]]))
    task = RefCOCO(own)
    sample = task.sample("train", 1, 0)
    assert not sample.target.no_target and not sample.target.union.area_px
    assert [f.kind for f in task.audit_entry("train", 0, task.entries("train")[0])] == ["empty"]
    assert [task.profile.primary(r) for r in rows(task.profile, [sample], nothing)] == [0.0]


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_picture_that_is_cut_off_or_missing(own: Path, damage: Callable[[Path], None]) -> None:
    damage(own / fixture.PICTURES / fixture.file_name(1000))
    refused(lambda: RefCOCO(own).sample("train", 1, 0), fixture.file_name(1000))


def test_missing_files_mirrors_and_splits_are_told_apart(own: Path) -> None:
    with pytest.raises(UnknownNameError, match="testA"):
        RefCOCO(own).num_samples("testa", 1)
    (own / "refcoco" / UNC).unlink()
    refused(lambda: RefCOCO(own).num_samples("val", 1), UNC, "lichengunc/refer")
    assert RefCOCO(own).num_samples("google_val", 1) == 32
    (own / "refcoco" / "val-0000.parquet").write_bytes(b"")
    refused(lambda: RefCOCO(own).num_samples("val", 1), "merge splits")
    refused(lambda: RefCOCO(own / "nowhere").num_samples("val", 1), UNC)


@pytest.mark.parametrize("place", ["refer/data", "refer_seg"])
def test_other_arrangements_are_found(own: Path, place: str) -> None:
    target = own / place
    target.mkdir(parents=True)
    for name in ("refcoco", "images"):
        (own / name).rename(target / name)
    assert RefCOCO(own).sample("val", 1, 0).images


@pytest.mark.parametrize("place", PICTURES)
def test_pictures_are_found_in_each_folder_also_when_another_has_a_part_of_them(own: Path, place: str) -> None:
    name = fixture.file_name(1000)
    (own / place).mkdir(parents=True, exist_ok=True)
    moved = (own / fixture.PICTURES / name).rename(own / place / name)
    task = RefCOCO(own)
    assert task.sample("train", 1, 0).files == (moved,) and task.sample("train", 1, 4).files[0].is_file()
    moved.unlink()
    refused(lambda: RefCOCO(own).sample("train", 1, 0), f"{fixture.PICTURES}/{name}")


def test_annotations_are_read_once_and_a_picture_once(own: Path) -> None:
    task = RefCOCO(own)
    first = task.sample("train", 1, 0)
    for name in (UNC, INSTANCES):
        (own / "refcoco" / name).unlink()
    (own / fixture.PICTURES / fixture.file_name(1000)).unlink()
    assert task.sample("train", 1, 1).images[0] is first.images[0]
    assert task.sample("testB", 1, 3).target.masks and np.asarray(first.images[0].pixels).any()


def test_the_miniature_is_the_same_every_time(root: Path, own: Path) -> None:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        assert path.read_bytes() == (own / path.relative_to(root)).read_bytes()
