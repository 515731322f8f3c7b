"""gRefCOCO: several objects, one or none; masks (GRES) and boxes (GREC)."""

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
from visenv.tasks.grefcoco import GREC, GRES

from visenv import ExpertSet
from visenv.answers import Answer
from visenv.masks import Mask
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import grefcoco as fixture
from fixtures._playing import nothing, nowhere, oracle_score, refused, refused_alone, rows, samples, truncate, truth

REFERENCES, INSTANCES = "grefs(unc).json", "instances.json"


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
    held = json.loads(path.read_text())
    edit(held)
    path.write_text(json.dumps(held))


@pytest.mark.parametrize("task", [GRES, GREC])
def test_every_split_keeps_the_promises_of_a_task(root: Path, task: type[GRES]) -> None:
    check_task(lambda: task(root), num_samples=8)


def test_one_sample_for_each_sentence_with_all_its_instances(root: Path) -> None:
    references = json.loads((root / "grefcoco" / REFERENCES).read_text())
    instances = {a["id"]: a for a in json.loads((root / "grefcoco" / INSTANCES).read_text())["annotations"]}
    for split in GRES.splits:
        wanted = [(r, s["raw"]) for r in references if r["split"] == split for s in r["sentences"]]
        masked, boxed = samples(GRES(root), split), samples(GREC(root), split)
        assert len(wanted) == len(masked) == len(boxed) >= 12
        for (reference, raw), sample, other in zip(wanted, masked, boxed, strict=True):
            assert sample.instruction == other.instruction == raw
            meant = [instances[i] for i in reference["ann_id"] if i != -1 and not instances[i]["iscrowd"]]
            parts = [codes.decode(codes.frPyObjects(a["segmentation"], *sample.target.size_hw)).any(2) for a in meant]
            assert sample.target.masks == tuple(Mask.from_dense(p) for p in parts)
            assert sample.target.boxes_xyxy == other.target.boxes_xyxy and not other.target.masks
            edges = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in meant)]
            assert np.allclose(
                np.reshape(sample.target.boxes_xyxy, (-1, 4)), np.reshape(edges, (-1, 4)), atol=1e-9, rtol=0
            )
            assert sample.target.no_target == other.target.no_target == reference["no_target"]
            assert sample.cluster == str(reference["image_id"])
    sizes = {s: [x.target.num_objects for x in samples(GRES(root), s)] for s in ("val", "testA")}
    assert sizes["val"].count(1) == 0 and sizes["val"].count(0) == 8 and sizes["testA"].count(1) == 8


@pytest.mark.parametrize("make", [GRES, GREC])
def test_the_truth_and_nothing_score_as_with_the_authors(root: Path, make: type[GRES]) -> None:
    task = make(root)
    for split in task.splits:
        drawn = samples(task, split)
        right = task.profile.aggregate(rows(task.profile, drawn, truth))
        assert [task.profile.primary(r) for r in rows(task.profile, drawn, truth)] == [1.0] * len(drawn)
        assert (right["N_acc"], right["T_acc"]) == (1, 1)
        declared = rows(task.profile, drawn, nowhere)
        assert [task.profile.primary(r) for r in declared] == [float(s.target.no_target) for s in drawn]
        assert {k: task.profile.aggregate(declared)[k] for k in ("N_acc", "T_acc")} == {"N_acc": 1, "T_acc": 0}
        assert {task.profile.primary(r) for r in rows(task.profile, drawn, nothing)} == {0.0}
        for profile in task.also:
            assert profile.aggregate(rows(profile, drawn, truth))["T_acc"] == 1


def test_the_oracle_scores_what_the_profile_gives_the_target(root: Path, experts: ExpertSet) -> None:
    for task in (GRES(root), GREC(root)):
        for split in task.splits:
            for sample in samples(task, split):
                own_value = task.profile.primary(task.profile.row(sample.target, truth(sample)))
                assert oracle_score(task, sample, experts) == pytest.approx(own_value, abs=1e-12)


def test_an_empty_mask_is_no_declaration(root: Path) -> None:
    task = GRES(root)
    drawn = [s for s in samples(task, "val") if s.target.no_target]
    given = rows(task.profile, drawn, lambda s: Answer(masks=(Mask.empty(s.target.size_hw),)))
    assert [task.profile.primary(r) for r in given] == [0.0] * len(drawn)


def test_the_older_pickle_and_records_without_a_flag_are_read(own: Path) -> None:
    path = own / "grefcoco" / REFERENCES
    references = json.loads(path.read_text())
    wanted = [s.target.fingerprint for s in samples(GRES(own), "val")]
    for reference in references:
        del reference["no_target"]
    path.unlink()
    path.with_suffix(".p").write_bytes(pickle.dumps(references, 2))
    assert [s.target.fingerprint for s in samples(GRES(own), "val")] == wanted


def edit_first(**fields: Any) -> Callable[[Any], None]:
    return lambda held: held[0].update(fields)


ALONE: list[tuple[Callable[[Any], Any], str]] = [
    (edit_first(no_target=True), "no_target"),
    (edit_first(ann_id=[-1]), "no_target"),
    (edit_first(ann_id=[-1, 50000]), "ann_id"),
    (edit_first(ann_id="x"), "ann_id"),
    (edit_first(ann_id=[1.5]), "ann_id"),
    (edit_first(ann_id=[10**4000]), "ann_id"),
    (edit_first(image_id=10**4000), "64 bits"),
    (edit_first(sentences=[{"sent_id": 1}, 7]), "sentence"),
    (lambda held: held[0].pop("ann_id"), "no field 'ann_id'"),
]


@pytest.mark.parametrize(("edit", "word"), ALONE, ids=range(len(ALONE)))
def test_a_broken_reference_keeps_its_place(own: Path, edit: Callable[[Any], Any], word: str) -> None:
    before = samples(GRES(own), "train")
    change(own / "grefcoco" / REFERENCES, edit)
    task = GRES(own)
    lost = refused_alone(task, "train", word)
    assert lost[0] == 0 and task.num_samples("train", 1) == len(before) - 2 + len(lost)
    assert task.sample("train", 1, len(lost)).target == before[2].target


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (edit_first(sentences={}), "sentences"),
        (lambda held: held[0].pop("split"), "no field 'split'"),
        (lambda held: held[0].pop("sentences"), "no field 'sentences'"),
        (lambda held: held.append(7), "place"),
    ],
    ids=range(4),
)
def test_references_whose_number_is_not_known_are_refused(own: Path, edit: Callable[[Any], Any], word: str) -> None:
    change(own / "grefcoco" / REFERENCES, edit)
    refused(lambda: GRES(own).num_samples("train", 1), word)


def test_an_older_file_with_numbers_given_twice_and_without_the_test_splits(own: Path) -> None:
    def edit(held: Any) -> None:
        held[:] = [r for r in held if r["split"] in ("train", "val")]
        held[1]["ref_id"] = held[0]["ref_id"]

    before = samples(GRES(own), "train")
    change(own / "grefcoco" / REFERENCES, edit)
    for task in (GRES(own), GREC(own)):
        refused(lambda task=task: task.num_samples("testA", 1), "has no split 'testA', but 'train', 'val'", "gRefCOCO")
        assert [f.kind for f in task.audit_split("train")] == ["form", "size"] and not list(task.audit_split("val"))
    assert [s.target.fingerprint for s in samples(GRES(own), "train")] == [s.target.fingerprint for s in before]


def test_sizes_that_nobody_states_are_compared_with_what_others_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = GRES(root).audit_split("testB")
    assert found.kind == "size" and "32 samples on disk" in found.what and "17,086 or 16,063" in found.what
    monkeypatch.setattr(GRES, "unsure_sizes", {"testB": (5, 32)})
    assert not list(GRES(root).audit_split("testB")) and "testB" not in GRES.sizes


def test_references_that_cannot_be_joined_are_refused_and_found(own: Path) -> None:
    first = 10 * fixture.FIRST
    for ids, word in (([first + 9], "not of a crowd"), ([123], "not in the file"), ([first + 10], "picture")):
        change(own / "grefcoco" / REFERENCES, edit_first(ann_id=ids))
        task = GRES(own)
        refused(lambda task=task: task.sample("train", 1, 0), word)
        assert [f.kind for f in task.audit_entry("train", 0, task.entries("train")[0])] == ["unreadable"]
        assert task.sample("train", 1, 2).target.num_objects == 2  # the next reference; its crowd is left out


def test_a_box_without_area_is_refused_where_boxes_count(own: Path) -> None:
    before = GRES(own).sample("train", 1, 0)
    change(own / "grefcoco" / INSTANCES, lambda held: held["annotations"][0].update(bbox=[5, 5, 0, 9]))
    task = GREC(own)
    refused(lambda: task.sample("train", 1, 0), "bbox", "above 0")
    assert [f.kind for f in task.audit_entry("train", 0, task.entries("train")[0])] == ["form"]
    masks = GRES(own)
    assert [f.kind for f in masks.audit_entry("train", 0, masks.entries("train")[0])] == ["form"]
    found = masks.sample("train", 1, 0).target
    assert found.masks == before.target.masks and np.allclose(found.boxes_xyxy[0], found.masks[0].box_xyxy)


def test_damaged_files_are_refused(own: Path) -> None:
    truncate(own / fixture.PICTURES / fixture.file_name(fixture.FIRST))
    refused(lambda: GRES(own).sample("train", 1, 0), fixture.file_name(fixture.FIRST))
    truncate(own / "grefcoco" / INSTANCES)
    refused(lambda: GRES(own).num_samples("train", 1), INSTANCES)
    (own / "grefcoco" / INSTANCES).unlink()
    refused(lambda: GRES(own).num_samples("train", 1), INSTANCES, "FudanCVL/gRefCOCO")
    truncate(own / "grefcoco" / REFERENCES)
    refused(lambda: GRES(own).num_samples("train", 1), REFERENCES, "JSON")


def test_the_miniature_is_the_same_every_time(root: Path, own: Path) -> None:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        assert path.read_bytes() == (own / path.relative_to(root)).read_bytes()
