"""BLINK: Parquet files by task, pictures decoded when asked for, macro accuracy; other orders of the pictures."""

from __future__ import annotations

import builtins
import contextlib
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from visenv.tasks import blink, embedded
from visenv.tasks.blink import BLINK
from visenv.tasks.orders import BLINKOrders

from visenv.answers import Answer
from visenv.errors import BadValueError, MissingExtraError, UnknownNameError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import blink as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

pa = pytest.importorskip("pyarrow", reason='Parquet files need pyarrow: pip install "visenv[data]"')
from pyarrow import parquet  # noqa: E402

FILE = "BLINK/Counting/val-00000-of-00001.parquet"


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
    """Change the first row of a file."""
    table = parquet.read_table(root / FILE)
    found = table.to_pylist()
    edit(found[0])
    parquet.write_table(pa.Table.from_pylist(found, schema=table.schema), root / FILE)


def png(size_wh: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("1", size_wh).save(buffer, "PNG")
    return buffer.getvalue()


def claiming(size_wh: tuple[int, int]) -> bytes:
    """Return a small file that says it is a large picture."""
    data = png((60, 60))
    header = b"IHDR" + struct.pack(">II", *size_wh) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def test_it_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: BLINK(root), num_samples=14)
    check_task(lambda: BLINKOrders(root), num_samples=14)


def test_questions(root: Path) -> None:
    drawn = samples(BLINK(root), "val")
    assert [s.target.labels[0] for s in drawn] == [task for task in fixture.TASKS for _ in range(2)]
    assert [s.meta["question"] for s in drawn[:2]] == ["val_Art_Style_1", "val_Art_Style_2"]
    assert {len(s.images) for s in drawn} == {1, 2, 3, 4}
    for sample in drawn:
        lines = [f"({letter}) {text}" for letter, text in zip("ABCD", sample.target.options, strict=False)]
        assert sample.instruction.splitlines()[1:] == lines
        assert sample.cluster == sample.images[0].hash[:16]
    assert len({s.target.choice for s in drawn}) > 1


def test_pictures_are_those_of_the_file(root: Path) -> None:
    task = BLINK(root)
    table = parquet.read_table(root / FILE).to_pylist()
    for index, row in ((2, table[0]), (3, table[1])):
        cells = [row[f"image_{k}"] for k in range(1, 5) if row[f"image_{k}"]]
        for image, cell in zip(task.sample("val", 1, index).images, cells, strict=True):
            assert (image.pixels == np.array(Pillow.open(io.BytesIO(cell["bytes"])).convert("RGB"))).all()


def test_truth_and_nothing(root: Path) -> None:
    task = BLINK(root)
    drawn = samples(task, "val")
    best, none = (task.profile.aggregate(rows(task.profile, drawn, answer)) for answer in (truth, nothing))
    assert (best["Total"], best["parsed"], none["Total"]) == (1.0, 1.0, 0.0)
    art = rows(task.profile, drawn, lambda s: truth(s) if s.target.labels[0] == "Art_Style" else Answer(choice="?"))
    assert task.profile.aggregate(art)["Total"] == pytest.approx(1 / 14)
    assert task.also[0].aggregate(rows(task.also[0], drawn, truth))["accuracy"] == 1.0


def test_hidden_answers_are_no_split(root: Path) -> None:
    with pytest.raises(UnknownNameError):
        BLINK(root).num_samples("test", 1)


def test_reading_holds_one_row_group_and_decodes_a_picture_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []
    decoded: list[str] = []
    group, decode = embedded._group, embedded.decode_picture
    monkeypatch.setattr(embedded, "_group", lambda p, f, g, c: (read.append((p.parent.name, g)), group(p, f, g, c))[1])
    monkeypatch.setattr("visenv.tasks.blink.decode_picture", lambda d, w: (decoded.append(w), decode(d, w))[1])
    task = BLINK(root)
    size = task.num_samples("val", 1)
    assert not decoded
    read.clear()
    for index in [i for i in range(size) for _ in range(2)]:
        task.sample("val", 1, index)
    assert len(read) == len(set(read)) and len(decoded) == len(set(decoded))


def test_row_groups_are_remembered_while_there_is_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    group = embedded._group
    monkeypatch.setattr(embedded, "_group", lambda p, f, g, c: (read.append(g), group(p, f, g, c))[1])
    path = root / FILE.replace("Counting", "Art_Style")  # of two groups
    expected = [row["image_1"] for row in parquet.read_table(path).to_pylist()]
    for limit, times in ((2**20, 2), (1, 20)):
        read.clear()
        cells = embedded.ParquetPictures(("image_1",), limit_bytes=limit)
        for k in range(20):
            assert cells.cell(embedded.Place(path, k % 2, 0), "image_1") == expected[k % 2]
            assert len(cells._held) == 1 or sum(t.nbytes for t in cells._held.values()) <= limit
        assert len(read) == times


def test_tasks_with_other_numbers_of_questions_are_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(blink.SUB_TASKS.values()) == BLINK.sizes["val"]
    [found] = BLINK(root).audit_split("val")
    assert found.kind == "size" and "Counting 2 of 120, Forensic_Detection 2 of 132" in found.what
    monkeypatch.setattr(blink, "SUB_TASKS", dict.fromkeys(blink.SUB_TASKS, 2))
    assert not list(BLINK(root).audit_split("val"))


def test_other_orders(root: Path) -> None:
    task, given = BLINKOrders(root), BLINK(root)
    assert task.num_samples("val", 1) == 4 * 28
    moved = 0
    for index in range(28):
        first = given.sample("val", 1, index)
        for k in range(4):
            sample = task.sample("val", 1, 4 * index + k)
            order = sample.meta["order"]
            moved += order != tuple(range(len(order)))
            assert sample.images == tuple(first.images[j] for j in order)
            assert sample.cluster == first.cluster and sample.target.choice == first.target.choice
            right = first.target.options["ABCD".index(first.target.choice)]
            if right.startswith("the "):  # names a picture by its place: the same picture under its new place
                old = fixture.PLACES.index(right.split()[1])
                new = fixture.PLACES.index(sample.target.options["ABCD".index(sample.target.choice)].split()[1])
                assert sample.images[new] == first.images[old]
    assert moved > 30


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r.update(answer="hidden"), ("a letter from A to",)),
        (lambda r: r.update(answer="(E)"), ("a letter from A to",)),
        (lambda r: r.update(answer=None), ("a letter from A to",)),
        (lambda r: r.update(choices=["one"]), ("options", "2 to 26")),
        (lambda r: r.update(choices=None), ("a list of texts",)),
        (lambda r: r.update(choices=["a", None]), ("text of 1",)),
        (lambda r: r.update(idx=""), ("idx",)),
        (lambda r: r.update(sub_task="Jigsaw"), ("as the folder says",)),
        (lambda r: r.update(prompt="x" * 30_000), ("20000 characters",)),
    ],
)
def test_damaged_rows(own: Path, edit: Callable[[dict[str, Any]], Any], words: tuple[str, ...]) -> None:
    change(own, edit)
    assert refused_alone(BLINK(own), "val", *words) == [2]
    orders = BLINKOrders(own)
    assert orders.num_samples("val", 1) == 4 * 28
    refused(lambda: orders.sample("val", 1, 8), *words)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"bytes": None, "path": "/etc/passwd"}, "bytes of a picture"),
        ({"bytes": b"", "path": None}, "bytes of a picture"),
        ({"bytes": b"not a picture", "path": None}, "readable picture"),
        ({"bytes": png((60, 60))[:45], "path": None}, "readable picture"),
        ({"bytes": png((9000, 1)), "path": None}, "at most 8192 px"),
        ({"bytes": claiming((60_000, 60_000)), "path": None}, "picture"),
        ({"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "path": None}, "readable picture"),
        (None, "number of pictures"),
    ],
    ids=["a path only", "empty", "text", "cut", "too wide", "a bomb", "PostScript", "none at all"],
)
def test_damaged_pictures(own: Path, cell: Any, words: str) -> None:
    change(own, lambda r: r.update({f"image_{k}": cell if k == 1 else None for k in range(1, 5)}))
    refused(lambda: BLINK(own).sample("val", 1, 2), words)


def test_damaged_and_missing_files(own: Path) -> None:
    truncate(own / FILE)
    refused(lambda: BLINK(own).num_samples("val", 1), "readable Parquet file")
    parquet.write_table(pa.table({"idx": ["a"]}), own / FILE)
    refused(lambda: BLINK(own).num_samples("val", 1), "'choices'")
    (own / FILE).unlink()
    refused(lambda: BLINK(own).num_samples("val", 1), "Counting", "huggingface.co")


def test_a_split_of_which_nothing_can_be_used_is_refused(own: Path) -> None:
    for path in (own / "BLINK").rglob("val-*.parquet"):
        table = parquet.read_table(path)
        hidden = pa.array(["hidden"] * table.num_rows)
        parquet.write_table(table.set_column(table.column_names.index("answer"), "answer", hidden), path)
    refused(lambda: BLINK(own).num_samples("val", 1), "val_Art_Style_1", "a letter from A to")


def test_files_of_a_split_that_are_missing_or_twice_there(own: Path) -> None:
    path = own / FILE
    path.rename(path.with_name("val-00001-of-00003.parquet"))
    refused(lambda: BLINK(own).num_samples("val", 1), "2 of 3 files of a split are missing")
    for name in ("val-00000-of-00001-ab.parquet", "val-00000-of-00001-cd.parquet"):
        (path.with_name(name)).write_bytes((path.with_name("val-00001-of-00003.parquet")).read_bytes())
    refused(lambda: BLINK(own).num_samples("val", 1), "those of one download")


def test_pages_of_the_file_that_are_overwritten(own: Path) -> None:
    data = bytearray((own / FILE).read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(20):
        broken = data.copy()
        at = int(rng.integers(4, len(data) - 40))
        broken[at : at + 30] = rng.bytes(30)
        (own / FILE).write_bytes(broken)
        with contextlib.suppress(BadValueError):  # the only error that damage may raise; not every byte is looked at
            samples(BLINK(own), "val")


def test_limits_on_rows_and_groups(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_GROUP_BYTES", 10)
    refused(lambda: BLINK(own).sample("val", 1, 2), "at most 10 bytes in a row group")
    monkeypatch.setattr(embedded, "MAX_ROWS", 1)
    refused(lambda: BLINK(own).num_samples("val", 1), "at most 1 rows")


def test_without_pyarrow_the_error_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"visenv\[data\]"):
        BLINK(root).num_samples("val", 1)
