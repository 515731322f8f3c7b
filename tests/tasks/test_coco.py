"""Data sets in COCO's form: pairs of picture and category to detect, segment or count."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from visenv.tasks.coco import COCO

from visenv import ExpertSet
from visenv.answers import Answer, AnswerKind
from visenv.errors import BadValueError, UnknownNameError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import coco as fixture
from fixtures._playing import nothing, oracle_score, refused, refused_alone, rows, samples, truncate, truth

MODES = {"detect": AnswerKind.BOXES, "segment": AnswerKind.MASK, "count": AnswerKind.COUNT}
VAL = "annotations/instances_val2017.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def change(own: Path, edit: Callable[[Any], Any]) -> None:
    path = own / "coco" / VAL
    held = json.loads(path.read_text())
    edit(held)
    path.write_text(json.dumps(held))


@pytest.mark.parametrize("mode", MODES)
def test_every_split_and_mode_keeps_the_promises_of_a_task(root: Path, mode: str) -> None:
    check_task(lambda: COCO(root, mode=mode), num_samples=8)


@pytest.mark.parametrize("mode", MODES)
def test_pairs_of_picture_and_category(root: Path, mode: str) -> None:
    held = json.loads((root / "coco" / VAL).read_text())
    task = COCO(root, mode=mode)
    assert (task.kind, task.name) == (MODES[mode], "COCO") and isinstance(task, COCO)
    wanted: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for annotation in held["annotations"]:
        wanted.setdefault((annotation["image_id"], annotation["category_id"]), []).append(annotation)
    drawn = samples(task, "val")
    found = {(s.meta["image_id"], s.meta["category_id"]): s for s in drawn}
    assert list(found) == sorted(found) and len(found) == len(drawn) >= 12
    for key, objects in wanted.items():
        crowds = sum(a["iscrowd"] for a in objects)
        assert (key in found) == (crowds < len(objects) and (mode == "detect" or not crowds))
        if key in found:
            target = found[key].target
            assert target.num_objects == len(objects) and sum(target.crowd) == crowds
            assert bool(target.masks) == (mode == "segment")
    assert drawn[0].instruction == f"{mode.capitalize()} every {drawn[0].target.labels[0]}."


@pytest.mark.parametrize("mode", MODES)
def test_the_truth_and_nothing(root: Path, mode: str) -> None:
    task = COCO(root, mode=mode)
    for split in task.splits:
        drawn = samples(task, split)
        assert {task.profile.primary(r) for r in rows(task.profile, drawn, nothing)} == {0.0}
        best = {task.profile.primary(r) for r in rows(task.profile, drawn, truth)}
        assert best == {1.0}
        metrics = task.profile.aggregate(rows(task.profile, drawn, truth))
        if mode == "detect":
            assert metrics["AP"] == pytest.approx(1)
        for profile in task.also:
            assert profile.aggregate(rows(profile, drawn, truth))["AP"] == pytest.approx(1)


def test_the_oracle_scores_what_the_profile_gives_the_target(root: Path, experts: ExpertSet) -> None:
    for task in [COCO(root, mode=mode) for mode in MODES]:
        for split in task.splits:
            for sample in samples(task, split):
                own_value = task.profile.primary(task.profile.row(sample.target, truth(sample)))
                assert oracle_score(task, sample, experts) == pytest.approx(own_value, abs=1e-12)


def test_a_box_on_a_crowd_counts_neither_way(root: Path) -> None:
    task = COCO(root)
    sample = next(s for s in samples(task, "val") if s.target.crowd)
    plain = tuple(b for b, crowd in zip(sample.target.boxes_xyxy, sample.target.crowd, strict=True) if not crowd)
    label = sample.target.labels[:1]
    score = [
        task.profile.primary(task.profile.row(sample.target, Answer(boxes_xyxy=boxes, labels=label * len(boxes))))
        for boxes in (plain, sample.target.boxes_xyxy)
    ]
    assert score == [1.0, 1.0]


def test_a_file_of_ones_own(
    own: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path_factory.mktemp("mine")
    (own / "coco" / VAL).rename(mine / "labels.json")
    (own / "coco" / "val2017").rename(mine / "images")
    monkeypatch.delenv("VISENV_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(mine))
    task = COCO(annotations=str(mine / "labels.json"), mode="count")
    assert task.splits == ("val",) and task.num_samples("val", 1) >= 12
    check_task(lambda: COCO(annotations=str(mine / "labels.json"), mode="segment"))
    with pytest.raises(UnknownNameError):
        task.num_samples("train", 1)
    for other in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert type(other) is type(task) and other.splits == ("val",)
        assert other.sample("val", 1, 0).target == task.sample("val", 1, 0).target
    monkeypatch.setenv("HOME", str(mine))
    assert COCO(annotations="~/labels.json", images="~/images").sample("val", 1, 0).images
    refused(lambda: COCO(annotations=f"{mine}/gone.json").num_samples("val", 1), "gone.json")
    with pytest.raises(UnknownNameError, match="mode"):
        COCO(mode="paint")


def test_names_are_looked_up_in_the_benchmarks_folder_alone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "coco" / VAL).rename(own / "coco" / "labels.json")
    task = COCO(own, annotations="labels.json", images="val2017")
    assert task.splits == ("val",) and task.sample("val", 1, 0).images
    monkeypatch.delenv("VISENV_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own))
    monkeypatch.chdir(own / "coco")
    refused(lambda: COCO(annotations="labels.json").num_samples("val", 1), "labels.json", "VISENV_DATA")
    for name in ("../coco/labels.json", "", "a/../b"):
        with pytest.raises(BadValueError, match="inside the benchmark's folder"):
            COCO(own, annotations=name)
        with pytest.raises(BadValueError, match="`images`"):
            COCO(own, images=name)


def of_first(key: str, value: Any, *, of: str = "annotations") -> Callable[[Any], None]:
    def edit(held: Any) -> None:
        held[of][0][key] = value

    return edit


def twice(key: str) -> Callable[[Any], None]:
    return lambda held: held[key].append({**held[key][0], "name": "another name"})


UNUSABLE: list[tuple[Callable[[Any], Any], str]] = [
    (of_first("image_id", "5"), "image_id"),
    (of_first("category_id", None), "category_id"),
    (of_first("image_id", 2**63), "image_id"),
    (of_first("name", 5, of="categories"), "categories"),
    (of_first("height", None, of="images"), "`images` is 'id 8000: `height` is None"),
    (twice("images"), "image id"),
    (twice("categories"), "category id"),
    (lambda held: held.update(categories=5), "a list"),
    (lambda held: held["images"].append(held["annotations"][0]), "one of the annotations"),
    (lambda held: held["annotations"].append(held["images"][0]), "one of the pictures"),
    (lambda held: held.pop("images"), "images"),
    (lambda held: [a.update(image_id=5) for a in held["annotations"]], "`image_id` and `category_id`"),
]


@pytest.mark.parametrize(("edit", "word"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_a_file_with_an_object_that_cannot_be_placed_is_refused(
    own: Path, edit: Callable[[Any], Any], word: str
) -> None:
    change(own, edit)
    assert "Numbered" not in refused(lambda: COCO(own).num_samples("val", 1), word)


LEFT_OUT: list[tuple[Callable[[Any], Any], str]] = [
    (of_first("segmentation", 7), "neither a list"),
    (of_first("segmentation", {"size": [90, 120], "counts": "xx"}), "runs"),
    (of_first("segmentation", {"counts": "xx"}), "mask"),
    (of_first("segmentation", {"counts": [5, 5]}), "'size' is missing"),
    (of_first("segmentation", {"size": [10**9, 10**9], "counts": [10**18]}), "runs"),
    (of_first("bbox", [1, 1, -4, 5]), "bbox"),
    (of_first("bbox", [1, 1, 10**400, 5]), "int too large"),
    (of_first("iscrowd", [1]), "iscrowd"),
    (twice("annotations"), "two have this id"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("edit", "word"), LEFT_OUT, ids=range(len(LEFT_OUT)))
def test_an_annotation_that_cannot_be_used_spoils_its_own_pair_alone(
    own: Path, edit: Callable[[Any], Any], word: str, mode: str
) -> None:
    before = [(s.id, s.target) for s in samples(COCO(own, mode=mode), "val")]
    change(own, edit)
    task = COCO(own, mode=mode)
    assert refused_alone(task, "val", word) == [0] and task.num_samples("val", 1) == len(before)
    assert [(s.id, s.target) for s in [task.sample("val", 1, k) for k in range(1, len(before))]] == before[1:]
    assert not list(task.audit_split("val"))


def test_two_annotations_of_one_id_spoil_the_pairs_of_both(own: Path) -> None:
    change(own, lambda held: held["annotations"][3].update(id=held["annotations"][0]["id"]))
    first, other = (json.loads((own / "coco" / VAL).read_text())["annotations"][k] for k in (0, 3))
    task = COCO(own)
    bad = refused_alone(task, "val", "two have this id")
    pairs = {(a["image_id"], a["category_id"]) for a in (first, other)}
    assert len(pairs) == len(bad) == 2


@pytest.mark.parametrize(("key", "value"), [("image_id", 5), ("category_id", 5)])
def test_an_annotation_of_a_picture_or_category_that_is_not_listed_is_found(own: Path, key: str, value: int) -> None:
    number = json.loads((own / "coco" / VAL).read_text())["annotations"][0]["id"]
    change(own, of_first(key, value))
    task = COCO(own)
    assert [(f.kind, str(number) in f.where, " 5" in f.what) for f in task.audit_split("val")] == [("form", True, True)]
    assert not [f for k, e in enumerate(task.entries("val")) for f in task.audit_entry("val", k, e)]


@pytest.mark.parametrize("mode", ["detect", "count"])
def test_null_is_nothing(own: Path, mode: str) -> None:
    before = samples(COCO(own, mode=mode), "val")

    def edit(held: Any) -> None:
        for annotation in held["annotations"]:
            annotation.update(
                {"segmentation": None} if annotation["iscrowd"] else {"segmentation": None, "iscrowd": None}
            )

    change(own, edit)
    assert [s.target for s in samples(COCO(own, mode=mode), "val")] == [s.target for s in before]


@pytest.mark.parametrize("mode", ["segment", "count"])
@pytest.mark.parametrize("box", [None, [5, 5, 0, 9], [1, 1, 4000, 5]])
def test_boxes_that_cannot_be_used_are_made_from_masks_where_boxes_do_not_count(own: Path, mode: str, box: Any) -> None:
    before = COCO(own, mode=mode).sample("val", 1, 0)
    change(own, of_first("bbox", box))
    task = COCO(own, mode=mode)
    after = task.sample("val", 1, 0)
    assert after.target.masks == before.target.masks and after.target.num_objects == before.target.num_objects
    assert np.allclose(after.target.boxes_xyxy, before.target.boxes_xyxy, atol=1)
    assert ["bbox" in f.what for f in task.audit_entry("val", 0, task.entries("val")[0])] == [True]
    refused(lambda: COCO(own).sample("val", 1, 0), "bbox")


def test_a_part_without_area_is_left_out(own: Path) -> None:
    before = COCO(own, mode="segment").sample("val", 1, 0)
    for part in ([3, 3], [3, 3, 9, 9]):
        change(own, lambda held, part=part: held["annotations"][0]["segmentation"].insert(0, part))
        assert COCO(own, mode="segment").sample("val", 1, 0).target == before.target


DAMAGE: list[tuple[str, Callable[[Any], Any], str, str]] = [
    ("segment", of_first("segmentation", [[5, 5, 900, 5, 900, 900]]), "inside the picture", "outside"),
    ("segment", of_first("segmentation", []), "polygon", "unreadable"),
    ("segment", of_first("segmentation", [[1, 2, 3, 4]]), "polygon", "unreadable"),
    ("segment", of_first("segmentation", [[1, 2, 3, 4, 5, 10**400]]), "segmentation", "unreadable"),
    ("segment", of_first("segmentation", [[[1], 2, 3, 4, 5, 6]]), "segmentation", "unreadable"),
    ("detect", of_first("bbox", [1, 1, 4000, 5]), "inside the picture", "outside"),
    ("detect", of_first("bbox", [1, 1, 0, 5]), "above 0", "unreadable"),
    ("segment", of_first("segmentation", [[0, 0, 115, 1, 0, 2, 115, 3] * 300]), "outlines", "unreadable"),
    ("detect", of_first("width", 77, of="images"), "as its annotations say", "unreadable"),
    ("detect", of_first("file_name", "../val2017/x.jpg", of="images"), "inside the folder", "unreadable"),
    ("detect", of_first("file_name", "gone.jpg", of="images"), "gone.jpg", "missing"),
]


@pytest.mark.parametrize(("mode", "edit", "word", "kind"), DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_record_is_refused_and_found_and_spoils_no_other(
    own: Path, mode: str, edit: Callable[[Any], Any], word: str, kind: str
) -> None:
    change(own, edit)
    task = COCO(own, mode=mode)
    refused(lambda: task.sample("val", 1, 0), word)
    assert [f.kind for f in task.audit_entry("val", 0, task.entries("val")[0])] == [kind]
    assert task.sample("val", 1, 3).target.boxes_xyxy


def test_damaged_files_are_refused(own: Path) -> None:
    truncate(own / "coco" / "val2017" / f"{fixture.SPLITS['val']:012d}.jpg")
    refused(lambda: COCO(own).sample("val", 1, 0), ".jpg")
    truncate(own / "coco" / VAL)
    refused(lambda: COCO(own).num_samples("val", 1), "JSON")
    (own / "coco" / VAL).unlink()
    refused(lambda: COCO(own).num_samples("val", 1), "instances_val2017.json", "cocodataset.org")


@pytest.mark.parametrize(
    "options", ["mode=count", "mode=segment,annotations=annotations/instances_val2017.json,images=val2017"]
)
def test_by_name_with_options(root: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    monkeypatch.setenv("VISENV_DATA", str(root))
    check_task(f"COCO:{options}", num_samples=2)


@pytest.mark.parametrize(
    "given", [{"task": "COCO:mode=count"}, {"task_options": {"mode": "count"}}], ids=["task", "task_options"]
)
def test_environments_of_a_mode(
    root: Path, monkeypatch: pytest.MonkeyPatch, experts: ExpertSet, given: dict[str, Any]
) -> None:
    monkeypatch.setenv("VISENV_DATA", str(root))
    env = gym.make("visenv/COCO-v0", toolset="none", **given)
    submit = {"name": "submit_count", "arguments": {"count": 1}}
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    copied = pickle.loads(pickle.dumps(env.unwrapped))
    seen = []
    for one in (env, again, copied):
        assert one.unwrapped.task.kind is AnswerKind.COUNT
        observation, _ = one.reset(seed=4)
        assert observation["instruction"].startswith("Count every")
        seen.append((observation["instruction"], *one.step(submit)[1:4]))
    assert len(set(seen)) == 1
    vector = gym.make_vec("visenv/COCO-v0", num_envs=2, toolset="none", **given)
    vector.reset(seed=4)
    assert vector.step([submit, submit])[1][0] == seen[0][1] and vector.step([submit, submit])[0] is not None
    with pytest.raises(BadValueError, match="annotations, images, mode"):
        gym.make("visenv/COCO-v0", task_options={"colour": "red"})


def test_the_miniature_is_the_same_every_time(root: Path, own: Path) -> None:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        assert path.read_bytes() == (own / path.relative_to(root)).read_bytes()
