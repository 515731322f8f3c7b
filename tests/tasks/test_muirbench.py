"""MuirBench: tags become names, a question and its counterpart are one cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.muirbench import MuirBench, named_pictures
from visenv.tasks.orders import MuirBenchOrders

from visenv.answers import Answer
from visenv.testing import check_task
from visenv.wrappers import consistency

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import muirbench as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

pa = pytest.importorskip("pyarrow", reason='Parquet files need pyarrow: pip install "visenv[data]"')
from pyarrow import parquet  # noqa: E402

FILE = "MuirBench/data/test-00000-of-00002.parquet"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def change(root: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the first row."""
    table = parquet.read_table(root / FILE)
    found = table.to_pylist()
    edit(found[0])
    parquet.write_table(pa.Table.from_pylist(found, schema=table.schema), root / FILE)


def test_it_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: MuirBench(root), num_samples=12)
    check_task(lambda: MuirBenchOrders(root), num_samples=12)


def test_questions_options_and_pairs(root: Path) -> None:
    drawn = samples(MuirBench(root), "test")
    assert [s.meta["question"] for s in drawn] == [str(k + 1) for k in range(12)]
    assert {s.target.labels[0] for s in drawn} == set(fixture.TASKS)
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert first.cluster == second.cluster
        assert second.target.options["ABCD".index(second.target.choice)] == fixture.NOT_THERE
    assert len({s.cluster for s in drawn}) == 6
    assert all("<image>" not in s.instruction for s in drawn)
    retrieval = next(s for s in drawn if s.target.labels[0] == "Visual Retrieval")
    assert retrieval.instruction.splitlines()[:2] == ["Which picture shows the same disc as <img_0>?", "(A) <img_1>"]
    assert retrieval.target.options[0] == "<image>"  # as the authors' parser of replies wants it


def test_tags_are_numbered_in_order() -> None:
    assert named_pictures("<image><image> a <image>") == "<img_0><img_1> a <img_2>"
    assert named_pictures("none") == "none"


def test_truth_and_nothing(root: Path) -> None:
    task = MuirBench(root)
    drawn = samples(task, "test")
    best, none = (task.profile.aggregate(rows(task.profile, drawn, answer)) for answer in (truth, nothing))
    assert (best["accuracy"], none["accuracy"], best["Visual Retrieval"]) == (1.0, 0.0, 1.0)
    texts = rows(task.profile, drawn, lambda s: Answer(choice=f"The answer is ({s.target.choice})."))
    assert task.profile.aggregate(texts)["accuracy"] == 1.0


def test_other_orders_keep_the_picture_of_each_name(root: Path) -> None:
    task, given = MuirBenchOrders(root), MuirBench(root)
    scores, questions = [], []
    for index in range(12):
        first = given.sample("test", 1, index)
        for k in range(4):
            sample = task.sample("test", 1, 4 * index + k)
            places = {old: new for new, old in enumerate(sample.meta["order"])}
            expected = first.instruction
            for old, new in places.items():
                expected = expected.replace(f"img_{old}>", f"IMG_{new}>")
            assert sample.instruction == expected.replace("IMG", "img")
            scores.append(task.profile.primary(task.profile.row(sample.target, Answer(choice=first.target.choice))))
            questions.append(sample.meta["given"])
    assert consistency(questions, scores)["all_right"] == 1.0


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r.update(answer="Z"), ("a letter from A",)),
        (lambda r: r.update(options=["one"] * 30), ("2 to 26",)),
        (lambda r: r.update(question=None), ("question of 1",)),
        (lambda r: r.update(task=""), ("task of 1",)),
        (lambda r: r.update(task="Jigsaw"), ("'Jigsaw'", "Visual Grounding")),  # it would count in no task's accuracy
        (lambda r: r.update(idx=None), ("idx",)),
    ],
)
def test_damaged_rows(own: Path, edit: Callable[[dict[str, Any]], Any], words: tuple[str, ...]) -> None:
    change(own, edit)
    assert refused_alone(MuirBench(own), "test", *words) == [0]


def test_every_task_counts_in_any_spelling(own: Path) -> None:
    change(own, lambda r: r.update(task="counting "))
    task = MuirBench(own)
    assert task.profile.aggregate(rows(task.profile, samples(task, "test")[:1], truth))["Counting"] == 1.0


@pytest.mark.parametrize("pictures", [None, [], [{"bytes": b"x", "path": None}]])
def test_fewer_pictures_than_tags(own: Path, pictures: Any) -> None:
    change(own, lambda r: r.update(image_list=pictures, question="Is <image> like <image>?"))
    refused(lambda: MuirBench(own).sample("test", 1, 0), "one for each <image>")


def test_other_layouts_of_the_same_data(own: Path) -> None:
    before = samples(MuirBench(own), "test")
    table = pa.concat_tables([parquet.read_table(p) for p in sorted((own / "MuirBench/data").iterdir())])
    numbered = table.set_column(0, "idx", pa.array([int(v) for v in table["idx"].to_pylist()]))
    for path in (own / "MuirBench/data").iterdir():
        path.unlink()
    parquet.write_table(numbered, own / "MuirBench" / "test-00000-of-00001.parquet")
    after = samples(MuirBench(own), "test")
    assert [(s.target, s.images, s.cluster) for s in before] == [(s.target, s.images, s.cluster) for s in after]


def test_damaged_and_missing_files(own: Path) -> None:
    truncate(own / FILE)
    refused(lambda: MuirBench(own).num_samples("test", 1), "readable Parquet file")
    for path in (own / "MuirBench/data").iterdir():
        path.unlink()
    refused(lambda: MuirBench(own).num_samples("test", 1), "no test file", "huggingface.co")
