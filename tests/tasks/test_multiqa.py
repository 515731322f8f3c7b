"""MultiQA: a plain folder of questions, strict about what could mean two things."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.multiqa import MultiQA

from visenv.errors import BadValueError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import multiqa as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

FILE = "MultiQA/questions.jsonl"


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
    """Change the first record."""
    lines = (root / FILE).read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **fields})
    (root / FILE).write_text("\n".join(lines), encoding="utf-8")


def test_it_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: MultiQA(root), num_samples=12)


def test_answers_in_three_forms(root: Path) -> None:
    drawn = samples(MultiQA(root), "test")
    assert [s.target.choice for s in drawn] == ["ABCDE"[k % (2 + k % 4)] for k in range(12)]
    assert [s.meta["question"] for s in drawn[:2]] == ["0", "q1"]
    assert [len(s.images) for s in drawn[:6]] == [1, 2, 3, 4, 1, 3]
    assert drawn[5].images[0] == drawn[5].images[2]
    assert {s.target.labels[0] for s in drawn} == {"all", "g0", "g1"}
    assert drawn[1].instruction.splitlines()[1:] == ["(A) img_0", "(B) img_1", "(C) none of them"]


def test_truth_and_nothing(root: Path) -> None:
    task = MultiQA(root)
    drawn = samples(task, "test")
    best, none = (task.profile.aggregate(rows(task.profile, drawn, answer)) for answer in (truth, nothing))
    assert (best["accuracy"], none["accuracy"]) == (1.0, 0.0)


def test_another_folder(own: Path) -> None:
    (own / "MultiQA").rename(own / "mine")
    task = MultiQA(own, folder="mine")
    again = pickle.loads(pickle.dumps(task))
    assert again.sample("test", 1, 3).images == task.sample("test", 1, 3).images
    refused(lambda: MultiQA(own).num_samples("test", 1), "questions.jsonl")
    for folder in ("../mine", "/etc", ""):
        with pytest.raises(BadValueError, match="inside"):
            MultiQA(own, folder=folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"answer": "Q"}, ("one option's letter",)),
        ({"answer": 2}, ("index from 0",)),
        ({"answer": -1}, ("index from 0",)),
        ({"answer": True}, ("index from 0",)),
        ({"answer": None}, ("index from 0",)),
        ({"answer": "A", "options": ["B", "A"]}, ("one option's letter",)),
        ({"answer": "x", "options": ["x", "x"]}, ("one option's letter",)),
        ({"options": ["only one"]}, ("2 to 26",)),
        ({"options": {"A": "x"}}, ("a list of texts",)),
        ({"images": "a.png"}, ("a list of texts",)),
        ({"images": ["../a.png"]}, ("inside the folder",)),
        ({"images": ["/etc/passwd"]}, ("inside the folder",)),
        ({"images": ["C:\\a.png"]}, ("inside the folder",)),
        ({"id": 1.5}, ("id of",)),
        ({"question": ""}, ("question of",)),
        ({"group": 3}, ("group of",)),
        ({"anwser": "A"}, ("anwser", "no fields but")),
    ],
)
def test_a_damaged_record_keeps_its_place_and_spoils_no_other(
    own: Path, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    change(own, **fields)
    assert refused_alone(MultiQA(own), "test", *words) == [0]


def test_an_id_given_twice_is_refused(own: Path) -> None:
    change(own, id="q1")
    refused(lambda: MultiQA(own).num_samples("test", 1), "id of its own")


def test_questions_without_pictures_and_with_too_many(own: Path) -> None:
    for images in ([], ["images/0_0.png"] * 65):
        change(own, images=images)
        refused(lambda: MultiQA(own).sample("test", 1, 0), "number of pictures")


def test_missing_and_damaged_files(own: Path) -> None:
    truncate(own / "MultiQA/images/1_0.png")
    refused(lambda: MultiQA(own).sample("test", 1, 1), "readable picture")
    (own / "MultiQA/images/0_0.png").unlink()
    refused(lambda: MultiQA(own).sample("test", 1, 0), "0_0.png")
    (own / FILE).write_text("{\n")
    refused(lambda: MultiQA(own).num_samples("test", 1), "line 1")
