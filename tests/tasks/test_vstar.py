"""V* Bench: letters from the list of questions, or options put in an order of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.vstar import VStar, shuffled

from visenv.errors import UnknownNameError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import vstar as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

LIST = "VStar/test_questions.jsonl"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def right_text(sample: Any) -> str:
    return sample.target.options["ABCD".index(sample.target.choice)]


def test_every_split_keeps_the_promises_of_a_task(root: Path, own: Path) -> None:
    check_task(lambda: VStar(root), num_samples=12)
    (own / LIST).unlink()
    check_task(lambda: VStar(own, letters="shuffled"), num_samples=12)


def test_the_right_option_is_the_first_of_the_file_with_and_without_the_list(root: Path, own: Path) -> None:
    (own / LIST).unlink()
    for data, letters in ((root, "list"), (own, "shuffled")):
        task = VStar(data, letters=letters)
        letters = []
        for split in task.splits:
            for sample in samples(task, split):
                beside = json.loads((data / "VStar" / sample.cluster).with_suffix(".json").read_text())
                assert right_text(sample) == beside["options"][0]
                assert sorted(sample.target.options) == sorted(beside["options"])
                assert sample.instruction.startswith(beside["question"] + "\n(A) ")
                letters.append(sample.target.choice)
        assert len(set(letters)) == 4


def test_where_the_letters_come_from_is_chosen_and_said_and_never_a_matter_of_what_is_there(
    root: Path, own: Path
) -> None:
    listed, shuffled_ones = samples(VStar(root), "test"), samples(VStar(root, letters="shuffled"), "test")
    assert {s.meta["letters"] for s in listed} == {"test_questions.jsonl"}
    assert {s.meta["letters"] for s in (*shuffled_ones, *samples(VStar(root), "OCR"))} == {"shuffled"}
    same = [a.target.options == b.target.options for a, b in zip(listed, shuffled_ones, strict=True)]
    equal = [a.target.fingerprint == b.target.fingerprint for a, b in zip(listed, shuffled_ones, strict=True)]
    assert equal == same and not all(same)  # other letters are another target
    (own / LIST).unlink()
    refused(lambda: VStar(own).num_samples("test", 1), "test_questions.jsonl", "VStar:letters=shuffled")
    assert samples(VStar(own, letters="shuffled"), "test") == shuffled_ones
    with pytest.raises(UnknownNameError, match="letters=list"):
        VStar(own, letters="none")


def test_a_list_without_letters_is_an_older_download(own: Path) -> None:
    rows_ = [json.loads(line) for line in (own / LIST).read_text().splitlines()]
    (own / LIST).write_text("\n".join(json.dumps({k: v for k, v in r.items() if k != "label"}) for r in rows_))
    refused(lambda: VStar(own).num_samples("test", 1), "'label'", "VStar:letters=shuffled")


def test_groups_boxes_and_request(root: Path) -> None:
    drawn = samples(VStar(root), "test")
    assert [s.target.labels[0] for s in drawn] == ["direct_attributes"] * 6 + ["relative_position"] * 6
    assert fixture.REQUEST not in drawn[0].instruction
    last = json.loads((root / "VStar/relative_position/sa_1005.json").read_text())
    x, y, w, h = last["bbox"][0]
    assert drawn[11].meta["boxes_xyxy"][0] == (x, y, x + w, y + h)
    assert drawn[11].meta["objects"] == ("box", "lid")
    assert samples(VStar(root), "OCR")[0].meta["boxes_xyxy"] == ()


def test_truth_and_nothing(root: Path) -> None:
    task = VStar(root)
    drawn = samples(task, "test")
    best, none = (task.profile.aggregate(rows(task.profile, drawn, answer)) for answer in (truth, nothing))
    assert (best["accuracy"], best["relative_position"], none["accuracy"]) == (1.0, 1.0, 0.0)


def test_orders_hang_on_the_name_alone_and_every_letter_is_used() -> None:
    options = ("a", "b", "c", "d")
    names = [f"direct_attributes/sa_{k}.jpg" for k in range(400)]
    letters = [shuffled(options, name)[1] for name in names]
    assert all(70 < letters.count(letter) < 130 for letter in "ABCD")
    assert letters == [shuffled(options, name)[1] for name in names]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": "E"}, ("a letter from A to D",)),
        ({"label": None}, ("a letter from A to D",)),
        ({"text": "What?"}, ("a question and then lines",)),
        ({"text": "What?\n(B) b\n(A) a"}, ("in order",)),
        ({"text": "(A) a\n(B) b"}, ("a question",)),
        ({"image": "../../secret.jpg"}, ("inside the folder",)),
        ({"image": 3}, ("image of",)),
        ({"category": ""}, ("category of",)),
    ],
)
def test_damaged_list(own: Path, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    lines = (own / LIST).read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **fields})
    (own / LIST).write_text("\n".join(lines))
    assert refused_alone(VStar(own), "test", *words) == [0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.pop("options"), ("options",)),
        (lambda d: d.update(options=["a"]), ("2 to 26",)),
        (lambda d: d.update(options="ab"), ("a list of texts",)),
        (lambda d: d.update(question=""), ("question of",)),
        (lambda d: d.update(bbox=[[1, 2, 3]]), ("left, top, width, height",)),
        (lambda d: d.update(bbox=[[1, 2, 3, "x"]]), ("a number",)),
    ],
)
def test_damaged_annotation(own: Path, edit: Callable[[dict[str, Any]], Any], words: tuple[str, ...]) -> None:
    path = own / "VStar/GPT4V-hard/sa_1000.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    assert refused_alone(VStar(own), "GPT4V-hard", *words) == [0]


def test_missing_and_damaged_files(own: Path) -> None:
    truncate(own / "VStar/OCR/sa_1000.jpg")
    refused(lambda: VStar(own).sample("OCR", 1, 0), "readable picture")
    (own / "VStar/OCR/sa_1001.json").unlink()
    refused(lambda: VStar(own).sample("OCR", 1, 1), "sa_1001.json")
    (own / "VStar/direct_attributes/sa_1000.jpg").unlink()
    refused(lambda: VStar(own).sample("test", 1, 0), "sa_1000.jpg", "craigwu")
    refused(lambda: VStar(own / "elsewhere").num_samples("test", 1), "test_questions.jsonl")
    refused(lambda: VStar(own / "elsewhere").num_samples("OCR", 1), "OCR")
