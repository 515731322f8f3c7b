"""Copies on the Hugging Face hub: those that lose nothing give the same samples, the others are refused and say what is lost."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from visenv.tasks import mirror_rows
from visenv.tasks.blink import BLINK
from visenv.tasks.hrbench import HRBench
from visenv.tasks.mirrors import check_shards
from visenv.tasks.muirbench import MuirBench
from visenv.tasks.orders import BLINKOrders, MuirBenchOrders
from visenv.tasks.reasonseg import ReasonSeg
from visenv.tasks.refer import RefCOCO, RefCOCOg, RefCOCOPlus
from visenv.tasks.vstar import VStar

from visenv import make_task
from visenv.errors import BadValueError, MissingDataError, MissingExtraError, UnknownNameError
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))

datasets = pytest.importorskip("datasets", reason='mirrors need datasets: pip install "visenv[hub]"')
import pyarrow as pa  # noqa: E402  # comes with it
from fixtures import _refcoco_mirror as fixture  # noqa: E402
from fixtures import blink, hrbench, muirbench, refcoco, vstar  # noqa: E402
from fixtures._playing import refused, samples, truncate  # noqa: E402
from pyarrow import parquet  # noqa: E402

HUB_ID = "jxu124/refcoco-benchmark"
COMMIT = "2f2f892835bbf44b4db81f1c4ad6d46a3e9e4359"
STEM = "refcoco_unc_val"
CASES = [
    *((RefCOCO, s) for s in ("val", "testA", "testB", "google_val", "google_test")),
    *((RefCOCOPlus, s) for s in ("val", "testA", "testB")),
    *((RefCOCOg, s) for s in ("val", "test", "google_val")),
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError(f"the network was asked for {args[:3]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """REFER's files, and a copy of the mirror in the folder ``mirror``."""
    root = tmp_path_factory.mktemp("data")
    refcoco.write(root)
    fixture.write(root, root / "mirror")
    return root


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy of the mirror's first split alone."""
    fixture.write_rows(tmp_path / "data", STEM, fixture.rows_of(root / "mirror", STEM))
    return tmp_path


def change(folder: Path, edit: Callable[[list[dict[str, Any]]], Any], schema: pa.Schema = fixture.SCHEMA) -> None:
    """Change the rows of the first split."""
    rows = fixture.rows_of(folder, STEM)
    edit(rows)
    fixture.write_rows(folder / "data", STEM, rows, schema)


def content(sample: Any) -> tuple[Any, ...]:
    """Return all of a sample but the files that it is from."""
    return sample.id, sample.instruction, sample.target, sample.cluster, sample.meta, sample.images


# RefCOCO, RefCOCO+, RefCOCOg


@pytest.mark.parametrize(("make", "split"), CASES, ids=[f"{c.name}/{s}" for c, s in CASES])
def test_the_samples_are_those_of_refers_own_files_in_their_order(root: Path, make: type[RefCOCO], split: str) -> None:
    official, mirrored = samples(make(root), split), samples(make(root, mirror=str(root / "mirror")), split)
    assert len(official) >= 16
    assert [content(s) for s in mirrored] == [content(s) for s in official]
    assert [s.target.fingerprint for s in mirrored] == [s.target.fingerprint for s in official]
    assert any(s.target.overlap for s in mirrored) or split != "val"


def test_it_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: RefCOCOg(root, mirror=str(root / "mirror")), num_samples=2)


def test_what_the_mirror_leaves_out_is_said(root: Path) -> None:
    task = RefCOCO(root, mirror=str(root / "mirror"))
    assert task.splits == ("val", "testA", "testB", "google_val", "google_test") != RefCOCO.splits
    for call in (lambda: task.num_samples("train", 1), lambda: task.sample("google_train", 1, 0)):
        with pytest.raises(UnknownNameError, match="leaves it out: read REFER's own files"):
            call()
    with pytest.raises(UnknownNameError, match="Use one of these"):
        task.num_samples("testC", 1)


def test_by_name_and_in_another_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISENV_DATA", str(root))
    (root / "refcoco" / "copy").symlink_to(root / "mirror")  # as the hub's cache has links
    task = make_task("RefCOCO:mirror=copy")  # in the benchmark's own folder
    again = pickle.loads(pickle.dumps(task))
    assert again.splits == task.splits and content(again.sample("val", 1, 3)) == content(task.sample("val", 1, 3))
    for given in ("2017", "x" * 5000, "a\0b", "~nobody/copy"):
        with pytest.raises(BadValueError, match="the folder of a copy"):
            make_task(f"RefCOCO:mirror={given}")


def test_the_picture_may_be_told_of_with_each_reference_or_at_the_end_of_any_folder(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a [copy]"
    rows = fixture.rows_of(root / "mirror", STEM)
    for row in rows:
        row["ref_list"] = [{**one, "image_info": row["image_info"]} for one in row["ref_list"]]
    parts = pa.struct([("ann_info", fixture.ANNOTATION), ("ref_info", fixture.REFERENCE), ("image_info", fixture.INFO)])
    fixture.write_rows(
        folder, STEM, rows, pa.schema([("ref_list", pa.list_(parts)), ("image", fixture.IMAGE)]), shards=1
    )
    found, official = samples(RefCOCO(mirror=str(folder)), "val"), samples(RefCOCO(root), "val")
    assert [content(s) for s in found] == [content(s) for s in official]


def test_no_path_is_followed_and_neither_card_nor_script_is_looked_at(own: Path, root: Path) -> None:
    mark = own / "mark"
    script = f"open({str(mark)!r}, 'w').close()\n"
    for name in (f"{own.name}.py", "refcoco-benchmark.py", "data/data.py"):
        (own / name).write_text(script)
    (own / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: [/etc/passwd]\n---\n")
    secret = root / refcoco.PICTURES / refcoco.file_name(1004)
    change(own, lambda rows: rows[0].update(image={"bytes": None, "path": str(secret)}))
    task = RefCOCO(mirror=str(own))
    bad = rows_without_picture(task)
    assert bad and not mark.exists()
    for index in bad:
        refused(lambda index=index: task.sample("val", 1, index), "bytes of a picture")  # type: ignore[misc]
    assert len(bad) < task.num_samples("val", 1)


def rows_without_picture(task: RefCOCO) -> list[int]:
    return [i for i, e in enumerate(task.entries("val")) if any(True for _ in task.audit_entry("val", i, e))]


def turned(row: dict[str, Any]) -> None:
    """Give a picture an EXIF tag that turns it upside down."""
    buffer = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 3
    Pillow.open(io.BytesIO(row["image"]["bytes"])).save(buffer, "JPEG", exif=exif)
    row["image"].update(bytes=buffer.getvalue())


RECORD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda row: row["ref_list"][0]["ann_info"].update(segmentation=None), "no polygon"),
    (
        lambda row: row["ref_list"][0]["ann_info"].update(segmentation=[[5.0, 5, 900, 5, 900, 900]]),
        "inside the picture",
    ),
    (lambda row: row["ref_list"][0]["ann_info"].update(bbox=[1.0, 1.0]), "bbox"),
    (lambda row: row["ref_list"][0]["ann_info"].update(id=7), "not in the file"),
    (lambda row: row["ref_list"][0]["ann_info"].update(image_id=7), "one of picture"),
    (lambda row: row["ref_list"][0]["ref_info"]["sentences"][0].update(raw="\t", sent=""), "text of 1"),
    (lambda row: row["image_info"].update(width=97), "as its annotations say"),
    (lambda row: row["image"].update(bytes=row["image"]["bytes"][:200]), "readable picture"),
    (turned, "EXIF orientation 3"),
]


@pytest.mark.parametrize(("edit", "word"), RECORD, ids=range(len(RECORD)))
def test_a_damaged_record_spoils_no_other(own: Path, edit: Callable[[dict[str, Any]], Any], word: str) -> None:
    change(own, lambda rows: edit(rows[0]))
    task = RefCOCO(mirror=str(own))
    bad = rows_without_picture(task)
    assert 1 <= len(bad) <= 4
    for index in bad:
        refused(lambda index=index: task.sample("val", 1, index), word)  # type: ignore[misc]


def second(rows: list[dict[str, Any]]) -> Any:
    return rows[1]["ref_list"][0]


FORM: list[tuple[Callable[[list[dict[str, Any]]], Any], str]] = [
    (lambda rows: second(rows)["ref_info"].update(split="train"), "only 'val'"),
    (lambda rows: second(rows)["ref_info"].update(ref_id=rows[0]["ref_list"][0]["ref_info"]["ref_id"]), "ref_id"),
    (lambda rows: second(rows)["ref_info"].update(ann_id=None), "ann_id"),
    (lambda rows: second(rows)["ref_info"]["sentences"][0].update(sent_id=None), "sent_id"),
    (lambda rows: second(rows).update(ref_info=None), "REFER's form"),
    (lambda rows: second(rows).update(ann_info=None), "`ann_info`"),
    (lambda rows: rows[1].update(image_info=None), "`image_info`"),
    (lambda rows: rows[1]["image_info"].update(height=None), "file_name, height and width"),
    (lambda rows: rows[1].update(ref_list=None), "a list of references"),
    (lambda rows: rows[1].update(image_info={**rows[0]["image_info"], "width": 5}), "the same record in every row"),
]


@pytest.mark.parametrize(("edit", "word"), FORM, ids=range(len(FORM)))
def test_a_copy_of_another_form_is_refused(own: Path, edit: Callable[[Any], Any], word: str) -> None:
    change(own, edit)
    refused(lambda: RefCOCO(mirror=str(own)).num_samples("val", 1), word)


def test_damaged_missing_and_double_files(own: Path) -> None:
    def ask() -> int:
        return RefCOCO(mirror=str(own)).num_samples("val", 1)

    first, other = sorted((own / "data").iterdir())
    assert ask() == 16
    kept = first.read_bytes()
    truncate(first)
    refused(ask, "readable Parquet file")
    first.write_bytes(kept)
    weird = first.with_name(f"{STEM}-x::y.parquet")
    weird.write_bytes(kept)
    refused(ask, "a name of letters")
    weird.unlink()
    first.with_name(f"{STEM}-00000-of-00002-ffff.parquet").write_bytes(kept)
    refused(ask, "those of one download")
    first.with_name(f"{STEM}-00000-of-00002-ffff.parquet").unlink()
    other.unlink()
    refused(ask, "1 of 2 files", "number 00001", "lichengunc/refer")
    first.unlink()
    refused(ask, f"{STEM}-*.parquet", "lichengunc/refer")


def test_a_file_that_was_replaced_by_one_of_the_same_age_is_read_anew(own: Path) -> None:
    for path in (own / "data").iterdir():
        os.utime(path, (1e9, 1e9))
    assert RefCOCO(mirror=str(own)).sample("val", 1, 0).instruction != "another"

    def edit(rows: list[dict[str, Any]]) -> None:
        for one in (s for row in rows for r in row["ref_list"] for s in r["ref_info"]["sentences"]):
            one["raw"] = "another"

    change(own, edit)
    for path in (own / "data").iterdir():
        os.utime(path, (1e9, 1e9))
    assert RefCOCO(mirror=str(own)).sample("val", 1, 0).instruction == "another"


def test_files_beyond_the_limits(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_ROWS", "MAX_GROUP_BYTES"):
        with monkeypatch.context() as limit:
            limit.setattr(mirror_rows, name, 1)
            refused(lambda: RefCOCO(mirror=str(own)).num_samples("val", 1), "bytes a row group")


def test_shards_that_claim_any_number_are_counted_no_further(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="files of a split are missing"):
        check_shards("T", [tmp_path / "a-00000-of-99999.parquet"], "there")
    check_shards("T", [tmp_path / "val.parquet"], "there")
    check_shards("T", [], "there")


# copies that lose something

LOSING: list[tuple[Any, str, str]] = [
    (RefCOCO, "lmms-lab/RefCOCO", "google's 5,000"),
    (RefCOCO, "lmms-lab-encoder/RefCOCO", "google's 5,000"),
    (RefCOCOPlus, "lmms-lab/RefCOCOplus", "merge splits"),
    (RefCOCOg, "lmms-lab/RefCOCOg", "umd's and google's"),
    (RefCOCO, "Ricky06662/refcoco_val", "where the parts of an object overlap"),
    (RefCOCO, "jxu124/refcoco", "holds no pictures"),
    (RefCOCO, "moondream/refcoco-m", "drawn anew"),
    (RefCOCO, "JierunChen/Ref-L4", "revised"),
    (RefCOCO, "somebody/refcoco", "not compared with the originals"),
    (ReasonSeg, "Ricky06662/ReasonSeg_val", "ignored pixels into target"),
    (ReasonSeg, "Ricky06662/ReasonSeg_test", "ignored pixels into target"),
    (ReasonSeg, "somebody/ReasonSeg", "ignored pixels into target"),
    (BLINK, "lmms-lab/BLINK", "not compared with the originals"),
    (MuirBench, "somebody/muirbench", "MUIRBENCH/MUIRBENCH"),
    (HRBench, "", "DreamMr/HR-Bench"),
    (VStar, "lmms-lab-encoder/vstar-bench", "craigwu/vstar_bench"),
]


@pytest.mark.parametrize(("make", "given", "word"), LOSING, ids=[f"{c.name}:mirror={g}" for c, g, _ in LOSING])
def test_by_its_id_a_losing_copy_is_refused(root: Path, make: Any, given: str, word: str) -> None:
    with pytest.raises(BadValueError) as caught:
        make(root, mirror=given)
    message = str(caught.value)
    assert repr(given) in message and word in message and make.published in message


COLUMNS = {
    "question_id question answer image segmentation bbox iscrowd file_name": "google's 5,000",
    "image text mask image_id ann_id img_height img_width": "where the parts of an object overlap",
    "sent_ids file_name raw_anns raw_image_info raw_sentences image_path": "holds no pictures",
    "image samples": "drawn anew",
}


@pytest.mark.parametrize("columns", COLUMNS, ids=COLUMNS.values())
def test_by_its_columns_a_losing_copy_is_refused(tmp_path: Path, columns: str) -> None:
    table = pa.table({name: ["x"] for name in columns.split()})
    for folder in (tmp_path / "copy", tmp_path / "refcoco"):
        (folder / "data").mkdir(parents=True)
        parquet.write_table(table, folder / "data" / f"{STEM}-00000-of-00001.parquet")
    for task in (RefCOCO(mirror=str(tmp_path / "copy")), RefCOCO(tmp_path)):
        refused(lambda task=task: task.num_samples("val", 1), COLUMNS[columns], "lichengunc/refer")  # type: ignore[misc]


def test_reasonsegs_mirror_and_files_of_nobody_knows_what(tmp_path: Path) -> None:
    for name, columns in (("ReasonSeg", "image text mask image_id ann_id img_height img_width"), ("refcoco", "a b")):
        (tmp_path / name).mkdir()
        parquet.write_table(pa.table({c: ["x"] for c in columns.split()}), tmp_path / name / "val.parquet")
    refused(lambda: ReasonSeg(tmp_path).num_samples("val", 1), "ignored pixels into target", "NAME.json", "LISA")
    refused(lambda: RefCOCO(tmp_path).num_samples("val", 1), "merge splits", "refs(unc).p")
    (tmp_path / "refcoco" / f"{STEM}-0.parquet").write_bytes((tmp_path / "refcoco" / "val.parquet").read_bytes())
    refused(lambda: RefCOCO(mirror=str(tmp_path / "refcoco")).num_samples("val", 1), "'ref_list', 'image' among")


def test_a_copy_in_the_place_of_the_originals_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "refcoco").symlink_to(root / "mirror")
    refused(lambda: RefCOCO(tmp_path).num_samples("val", 1), f"RefCOCO:mirror={tmp_path / 'refcoco'}")
    assert RefCOCO(tmp_path, mirror=str(tmp_path / "refcoco")).num_samples("val", 1) == 16


def test_without_datasets_the_error_names_the_extra(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("datasets", "huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for task in (RefCOCO(mirror=str(own)), RefCOCO(mirror=HUB_ID), BLINK(mirror="BLINK-Benchmark/BLINK")):
        with pytest.raises(MissingExtraError, match=r"visenv\[hub\]"):
            task.num_samples("val", 1)


# the authors' own repositories on the hub

QA = {
    "BLINK-Benchmark/BLINK": (BLINK, blink, "BLINK"),
    "MUIRBENCH/MUIRBENCH": (MuirBench, muirbench, "MuirBench"),
    "DreamMr/HR-Bench": (HRBench, hrbench, "HRBench"),
    "craigwu/vstar_bench": (VStar, vstar, "VStar"),
}


@pytest.mark.parametrize("hub_id", QA)
def test_a_folder_with_a_copy_gives_the_same_samples(tmp_path: Path, hub_id: str) -> None:
    make, module, folder = QA[hub_id]
    module.write(tmp_path)
    expected = {split: samples(make(tmp_path), split) for split in make.splits}
    copy = (tmp_path / folder).rename(tmp_path / "snapshot")
    for task in (make(mirror=str(copy)), pickle.loads(pickle.dumps(make(mirror=str(copy))))):
        assert {split: [content(s) for s in samples(task, split)] for split in task.splits} == {
            split: [content(s) for s in found] for split, found in expected.items()
        }


def test_orders_take_the_copy_too(tmp_path: Path) -> None:
    for make, module, folder, split in (
        (BLINKOrders, blink, "BLINK", "val"),
        (MuirBenchOrders, muirbench, "MuirBench", "test"),
    ):
        module.write(tmp_path)
        assert make(mirror=str(tmp_path / folder)).sample(split, 1, 5) == make(tmp_path).sample(split, 1, 5)  # fmt: skip


OFFLINE = """
import sys
sys.path.insert(0, sys.argv[1])
from visenv import make_task
from visenv.errors import MissingDataError
for spec in sys.argv[2:]:
    task = make_task(spec)
    split = task.splits[0]
    try:
        number = task.num_samples(split, 1)
        print(spec, split, number, task.sample(split, 1, number - 1).target.fingerprint)
    except MissingDataError as error:
        print(spec, "MISSING", error)
"""


def test_offline_the_hubs_cache_is_read_by_id(root: Path, tmp_path: Path) -> None:
    """In a process of its own, since the hub's client reads its variables when it is imported."""
    hub = tmp_path / ".cache" / "hub"
    expected = []

    def place(hub_id: str, folder: Path, commit: str) -> None:
        held = hub / f"datasets--{hub_id.replace('/', '--')}"
        (held / "snapshots").mkdir(parents=True)
        (held / "refs").mkdir()
        (held / "refs" / "main").write_text(commit)
        (held / "snapshots" / commit).symlink_to(folder)

    place(HUB_ID, root / "mirror", COMMIT)
    specs = [f"RefCOCO:mirror={HUB_ID}"]
    for hub_id, (make, module, folder) in QA.items():
        module.write(tmp_path)
        place(hub_id, tmp_path / folder, "a" * 40)
        specs.append(f"{make.name}:mirror={hub_id}")
    for spec, task in zip(specs, [RefCOCO(root), *(make(tmp_path) for make, _, _ in QA.values())], strict=True):
        split = "val" if isinstance(task, RefCOCO) else task.splits[0]
        number = task.num_samples(split, 1)
        expected.append(f"{spec} {split} {number} {task.sample(split, 1, number - 1).target.fingerprint}")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "VISENV_"))}
    env |= {"HF_HOME": str(tmp_path / ".cache"), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"}
    run = [sys.executable, "-c", OFFLINE, str(Path(__file__).parents[1])]
    done = subprocess.run([*run, *specs], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == expected, done.stderr
    assert done.stderr == ""  # no bars over the runner's own progress
    env["HF_HOME"] = str(tmp_path / "empty")
    done = subprocess.run([*run, *specs[:2]], env=env, capture_output=True, text=True, timeout=120, check=True)
    first, second = done.stdout.splitlines()
    for line, hub_id in ((first, HUB_ID), (second, "BLINK-Benchmark/BLINK")):
        assert (
            "MISSING" in line and f"huggingface.co/datasets/{hub_id}" in line and "nor found in the hub's cache" in line
        )
