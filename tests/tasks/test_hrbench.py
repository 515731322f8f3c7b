"""HR-Bench: tables with pictures in them, read where they lie; four orders of the options share a picture."""

from __future__ import annotations

import base64
import sys
import tracemalloc
from pathlib import Path

import pytest
from visenv.tasks import hrbench, tsv
from visenv.tasks.hrbench import HRBench
from visenv.tasks.tsv import Cell, read_tsv

from visenv.answers import Answer
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import hrbench as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

TABLE = "HRBench/hr_bench_4k.tsv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def replace(root: Path, old: str, new: str, count: int = 1) -> None:
    path = root / TABLE
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def test_every_split_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: HRBench(root), num_samples=16)


def test_questions_and_groups(root: Path) -> None:
    drawn = samples(HRBench(root), "4k")
    assert [s.target.labels[0] for s in drawn[:5]] == ["single/0", "single/1", "single/2", "single/3", "cross/0"]
    assert len({s.cluster for s in drawn}) == 4
    for k in range(4):
        same = drawn[4 * k : 4 * k + 4]
        assert len({s.cluster for s in same}) == 1 and len({s.images[0] for s in same}) == 1
        assert len({s.target.options["ABCD".index(s.target.choice)] for s in same}) == 1
        assert {s.target.choice for s in same} == set("ABCD")
    assert drawn[4].instruction.startswith("Which\tcolour\nis it?\n(A) red\n(B) grün")
    assert drawn[0].images[0].size_wh == (128, 96)
    assert samples(HRBench(root), "8k")[0].images[0].size_wh == (256, 192)


def test_both_forms_give_the_same_samples(own: Path) -> None:
    pytest.importorskip("pyarrow", reason='Parquet files need pyarrow: pip install "visenv[data]"')
    for split in ("4k", "8k"):
        before = samples(HRBench(own), split)
        (own / "HRBench" / f"hr_bench_{split}.tsv").unlink()
        after = samples(HRBench(own), split)
        assert [(s.instruction, s.target, s.images, s.cluster) for s in before] == [
            (s.instruction, s.target, s.images, s.cluster) for s in after
        ]


def test_a_picture_is_decoded_once_for_its_four_orders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = hrbench.decode_picture
    monkeypatch.setattr(hrbench, "decode_picture", lambda d, w: (decoded.append(w), decode(d, w))[1])
    samples(HRBench(root), "4k")
    assert len(decoded) == 4


def test_truth_and_nothing(root: Path) -> None:
    task = HRBench(root)
    drawn = samples(task, "4k")
    best, none = (task.profile.aggregate(rows(task.profile, drawn, answer)) for answer in (truth, nothing))
    assert (best["accuracy"], best["FSP"], best["FCP"], none["accuracy"]) == (1.0, 1.0, 1.0, 0.0)
    always_a = task.profile.aggregate(rows(task.profile, drawn, lambda _: Answer(choice="A")))
    assert always_a["accuracy"] == 0.25


def test_the_table_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "big.tsv"
    cell = base64.b64encode(bytes(2**21)).decode()
    with path.open("w") as file:
        file.write("index\timage\n")
        for k in range(30):
            file.write(f"{k}\t{cell}\n")
    tracemalloc.start()
    found = [row["image"] for _, row in read_tsv(path, ("index", "image"), large=("image",))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(cell)  # of 30 cells
    assert isinstance(found[29], Cell) and found[29].read() == cell.encode()
    assert len({c.digest for c in found if isinstance(c, Cell)}) == 1


def test_quoted_cells_and_windows_line_ends(tmp_path: Path) -> None:
    cell = "QUJD" * 30
    path = tmp_path / "a.tsv"
    path.write_bytes(f'\ufeffindex\tquestion\timage\r\n"1"\t"a ""b""\nc"\t"{cell}"\r\n2\t{cell}\t{cell}\r\n'.encode())
    (_, first), (_, second) = read_tsv(path, ("index", "question", "image"), large=("image",))
    assert (first["index"], first["question"].replace("\r", "")) == ("1", 'a "b"\nc')
    assert first["image"].read() == second["image"].read() == cell.encode()
    assert second["question"] == cell


def test_damaged_tables(own: Path) -> None:
    task = HRBench(own)
    replace(own, "cycle_category\timage", "cycle_category\tpicture")
    refused(lambda: task.num_samples("4k", 1), "image")
    fixture.write(own)
    replace(own, "\tcycle_0\t", "\tcycle_0\textra\t")
    refused(lambda: task.num_samples("4k", 1), "row 1", "10")
    fixture.write(own)
    replace(own, "\tA\tsingle", "\tE\tsingle")
    assert len(refused_alone(HRBench(own), "4k", "a letter from A to D")) < 16
    fixture.write(own)
    replace(own, "\t12\n", "\t99\n")
    assert refused_alone(HRBench(own), "4k", "index of a row that has it") == [14]
    fixture.write(own)
    replace(own, "\n13\t", "\n12\t")
    refused(lambda: task.num_samples("4k", 1), "index of its own")
    for data in (b"", b"\xff\xfe\t\n", b"index\tindex\n", b'index\t"\n'):
        (own / TABLE).write_bytes(data)
        refused(lambda: task.num_samples("4k", 1), "hr_bench_4k.tsv")


def test_the_names_of_the_four_orders_mean_nothing(root: Path, own: Path) -> None:
    before = samples(HRBench(root), "4k")
    for k, name in enumerate(("9", "A first one", "b", "last")):
        replace(own, f"\tcycle_{k}\t", f"\t{name}\t", -1)
    assert [(s.id, s.target, s.cluster) for s in samples(HRBench(own), "4k")] == [
        (s.id, s.target, s.cluster) for s in before
    ]


@pytest.mark.parametrize(
    "edit", [("\tcycle_3\t", "\tcycle_2\t", -1), ("\tcycle_3\t", "\tx\t", 1), ("\tcycle_3\t", "\tcycle_1\t", 1)]
)
def test_a_table_without_four_orders_of_one_size_is_refused(own: Path, edit: tuple[str, str, int]) -> None:
    replace(own, *edit)
    refused(lambda: HRBench(own).num_samples("4k", 1), "cycle_category", "4 orders of equally many rows")


def test_marks_in_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("index\timage\n1\t\x010\n")
    refused(lambda: list(read_tsv(path, ("index", "image"), large=("image",))), "a.tsv")


def test_lines_beyond_the_limit(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsv, "MAX_LINE_BYTES", 500)
    refused(lambda: HRBench(own).num_samples("4k", 1), "at most 500 bytes")


def test_damaged_pictures(own: Path) -> None:
    text = (own / TABLE).read_text(encoding="utf-8")
    cell = text.split("\n")[1].split("\t")[-1]
    for broken, words in ((cell[:-5], "base64"), (cell[: len(cell) // 8 * 4], "readable picture"), ("A" * 400, "readable picture")):  # fmt: skip
        (own / TABLE).write_text(text.replace(cell, broken), encoding="utf-8")
        refused(lambda: HRBench(own).sample("4k", 1, 0), words)
    (own / TABLE).write_text(text.replace(cell, cell[:100] + "!" + cell[100:]), encoding="utf-8")
    assert 0 in refused_alone(HRBench(own), "4k", "image")


def test_a_file_that_changes_under_the_reader(own: Path) -> None:
    task = HRBench(own)
    task.num_samples("4k", 1)
    replace(own, "stop", "halt!")
    refused(lambda: task.sample("4k", 1, 8), "changed")


def test_missing_and_damaged_files(own: Path) -> None:
    for end in ("tsv", "parquet"):
        (own / "HRBench" / f"hr_bench_8k.{end}").unlink(missing_ok=True)
    refused(lambda: HRBench(own).num_samples("8k", 1), "hr_bench_8k.tsv", "DreamMr")
    pytest.importorskip("pyarrow", reason='Parquet files need pyarrow: pip install "visenv[data]"')
    (own / TABLE).unlink()
    truncate(own / "HRBench" / "hr_bench_4k.parquet")
    refused(lambda: HRBench(own).num_samples("4k", 1), "readable Parquet file")
