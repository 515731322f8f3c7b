"""`visenv data`: what is there, what is wrong with it, and samples to look at. Damage is told, never a crash."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console
from visenv.leaderboard import data_audit, data_commands, data_table
from visenv.leaderboard.data_status import SplitStatus, TaskStatus, examine_data
from visenv.leaderboard.lettering import Lettering
from visenv.leaderboard.sampling import choose_indices
from visenv.leaderboard.sheets import Unmade, columns_for, draw_sheet
from visenv.leaderboard.truth import colours_of, draw_truth, say_truth
from visenv.tasks.benchmark import Benchmark, Finding
from visenv.tasks.coco import COCO
from visenv.tasks.reasonseg import ReasonSeg
from visenv.tasks.visdrone import VisDrone

from visenv import make_task, plugins
from visenv.answers import AnswerKind, Target
from visenv.cli import main
from visenv.errors import say
from visenv.images import Image
from visenv.masks import Mask

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write, write_all

Run = Callable[..., tuple[int, str, str]]
MADE = {"EmojiCount", "EmojiDense", "EmojiMulti", "EmojiReason", "EmojiRef"}
WRAPPED = {"BLINKOrders": "BLINK", "MuirBenchOrders": "MuirBench"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    assert not write_all(root)
    return root


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the folders of one benchmark, to be damaged."""

    def copy(*folders: str) -> Path:
        for folder in folders:
            shutil.copytree(root / folder, tmp_path / "data" / folder)
        return tmp_path / "data"

    return copy


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VISENV_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def visenv(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["data", *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(end.value.code or 0), captured.out, captured.err

    return run


def statuses(root: Path, *specs: str) -> dict[str, TaskStatus]:
    return {one.task: one for one in examine_data(list(specs) or plugins.names("tasks"), root)}


# status


def test_every_task_has_its_row(root: Path, visenv: Run) -> None:
    code, out, err = visenv("status", "--root", root, "--json")
    content = json.loads(out)
    rows = {row["task"]: row for row in content["tasks"]}
    assert code == 0 and content["root"] == str(root) and list(rows) == plugins.names("tasks")
    assert {name for name, row in rows.items() if row["state"] == "made"} == MADE
    assert {name: row["data_of"] for name, row in rows.items() if row["data_of"]} == WRAPPED
    for name in set(rows) - MADE - set(WRAPPED):
        row, task = rows[name], make_task(name, root=root)
        assert isinstance(task, Benchmark) and row["folder"] == str(task.root)
        assert (row["licence"], row["published"]) == (task.licence, task.published)
        here = {split: task.num_samples(split, 1) for split in task.splits}
        assert {split: one["samples"] for split, one in row["splits"].items()} == here
        assert {s: one["official"] for s, one in row["splits"].items() if one["official"]} == dict(task.sizes)
        assert row["state"] == ("other size" if task.sizes else "present"), "miniatures have other sizes"
    assert "22/22 tasks" in err


def test_the_plain_text_says_it_too(root: Path, visenv: Run) -> None:
    code, out, _ = visenv("status", "--root", root)
    assert code == 0 and "\x1b" not in out and not [line for line in out.splitlines() if line != line.rstrip()]
    assert f"Data root: {root}" in out and "Made, no data needed: EmojiCount," in out
    assert "ReasonSeg        other size  train 12 of 239, val 12 of 200, test 14 of 779" in out
    assert "15 other size, 2 present." in out and "Next: visenv data check" in out


def test_it_reads_well_at_80_columns(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    console = Console(file=said, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(data_table, "Console", lambda **_: console)
    data_table.print_status(list(statuses(root, "Dense200", "RefCOCOg", "BLINKOrders").values()), root)
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("https://huggingface.co/datasets/Mountchicken/Rex-Omni-EvalData" in line for line in lines)


def test_without_data_it_says_what_is_missing(visenv: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, _ = visenv("status", "--root", tmp_path / "empty", "--json")
    rows = json.loads(out)["tasks"]
    assert code == 0 and {row["state"] for row in rows} == {"made", "missing"}
    assert all(s["samples"] is None and s["problem"] for row in rows for s in row["splits"].values())
    code, out, _ = visenv("status", "ReasonSeg")
    assert code == 0 and "No data root is set" in out and "missing" in out and "dvlab-research/LISA" in out


def test_the_root_is_the_named_one_then_the_variable_then_the_configured_one(
    root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config" / "visenv").mkdir(parents=True)
    config = tmp_path / "config" / "visenv" / "config.toml"
    config.write_text(f'data = "{tmp_path}/nowhere"')
    assert f"{tmp_path}/nowhere, which is no folder" in visenv("status", "COCO")[1]
    monkeypatch.setenv("VISENV_DATA", str(tmp_path / "neither"))
    assert "neither" in visenv("status", "COCO")[1]
    assert "COCO  present  val 15, train 14" in visenv("status", "coco", "--root", root)[1]
    monkeypatch.delenv("VISENV_DATA")
    config.write_text("data = 5")
    code, out, err = visenv("status")
    assert code == 2 and out == "" and "config.toml" in err


def test_damaged_data_of_one_is_a_word_in_its_row(own: Callable[..., Path], visenv: Run) -> None:
    data = own("coco", "Dense200", "MultiQA", "VisDrone", "ReasonSeg")
    annotations = data / "coco" / "annotations" / "instances_val2017.json"
    annotations.write_bytes(annotations.read_bytes()[:300])
    (data / "Dense200" / "_annotations" / "box_eval" / "Dense200.jsonl").write_bytes(b"\xff{")
    shutil.rmtree(data / "VisDrone" / "VisDrone2019-DET-val")
    (data / "VStar").write_text("a file")
    (data / "coco" / "train2017" / f"{9000:012d}.jpg").unlink()
    code, out, _ = visenv("status", "--root", data, "--json")
    rows = {row["task"]: row for row in json.loads(out)["tasks"]}
    states = {name: rows[name]["state"] for name in ("COCO", "Dense200", "VisDrone", "VStar", "MultiQA", "ReasonSeg")}
    assert code == 0 and states == {
        "COCO": "damaged", "Dense200": "damaged", "VisDrone": "partly", "VStar": "missing", "MultiQA": "present",
        "ReasonSeg": "other size",
    }  # fmt: skip
    assert rows["COCO"]["splits"]["train"]["samples"] == 14
    assert "pictures are missing" in rows["COCO"]["splits"]["train"]["problem"]


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [SystemExit(3), RecursionError(), MemoryError("much"), OddError(), KeyError("x")], ids=say
)
def test_whatever_a_loader_raises_the_others_have_their_rows(
    error: BaseException, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise error

    monkeypatch.setattr(ReasonSeg, "read", read)
    found = statuses(root, "MultiQA", "ReasonSeg", "COCO")
    assert [one.state for one in found.values()] == ["present", "damaged", "present"]
    assert type(error).__name__ in str(found["ReasonSeg"].splits["val"].problem)


def test_a_task_that_cannot_be_made_is_broken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COCO, "__init__", lambda *_, **__: sys.exit("no"))
    assert statuses(root, "COCO", "MultiQA")["COCO"].state == "broken"


def test_an_extra_that_is_not_installed_is_named(root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, out, _ = visenv("status", "BLINK", "--root", root)
    assert code == 0 and "needs extra" in out and 'pip install "visenv[data]"' in out
    code, _, err = visenv("check", "BLINK", "--root", root)
    assert code == 1 and 'pip install "visenv[data]"' in err
    assert list(write_all(root.parent / "others")) == ["blink", "muirbench"]
    assert (root.parent / "others" / "VStar").is_dir()


def test_an_interrupt_leaves_what_was_looked_at(root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VisDrone, "read", read)
    code, out, err = visenv("status", "--root", root)
    assert code == 130 and "Interrupted: 21 of 22 tasks were looked at." in err
    assert "VStar" in out and "VisDrone" not in out


# check


@pytest.mark.parametrize("task", ["COCO", "COCO:mode=segment", "multiqa"])
def test_data_without_fault_and_without_an_official_size_is_0(task: str, root: Path, visenv: Run) -> None:
    code, out, err = visenv("check", task, "--root", root)
    assert code == 0 and out.endswith("No findings.\n") and "Reading the annotations" in err


def test_another_number_of_samples_is_a_finding(root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = visenv("check", "ReasonSeg", "--split", "VAL", "--root", root)
    assert code == 1 and "size: ReasonSeg/val: 12 samples on disk, officially 200" in out
    assert "val: 12 of 12 entries looked at, officially 200" in out and "train" not in out
    monkeypatch.setattr(ReasonSeg, "sizes", {"val": 12})
    assert visenv("check", "ReasonSeg", "--split", "val", "--root", root)[0] == 0


def test_every_benchmark_is_audited_and_clean_but_for_what_its_miniature_is_made_to_have(
    root: Path, visenv: Run
) -> None:
    odd = {
        "ReasonSeg": {"size": 3, "empty": 2},  # the two files of test
        "VisDrone": {"size": 3, "empty": 3},  # a row of no height in each split
        **{name: {"size": 2} for name in ("BLINK", "BLINKOrders")},  # the split, and its tasks
        **{name: {"size": 4} for name in ("GREC", "GRES")},  # two of them are not stated, and other numbers are known
    }
    for name in sorted(set(plugins.names("tasks")) - MADE):
        code, out, _ = visenv("check", name, "--root", root, "--json")
        found = json.loads(out)
        sized = {split for split, one in found["splits"].items() if one["official"] is not None}
        assert found["task"] == WRAPPED.get(name, name) and found["complete"] and code == bool(found["num_findings"])
        assert all(one["audited"] == one["samples"] > 0 for one in found["splits"].values())
        expected = odd.get(name, {"size": len(sized)} if sized else {})
        assert {k: v for k, v in found["by_kind"].items() if k != "outside"} == expected, name


def test_findings_of_every_kind(own: Callable[..., Path], visenv: Run) -> None:
    data = own("ReasonSeg", "coco")
    folder = data / "ReasonSeg" / "val"
    (folder / "val_004.jpg").write_bytes((folder / "val_004.jpg").read_bytes()[:200])
    (folder / "val_005.json").write_text("{")
    held = json.loads((folder / "val_000.json").read_text())
    held["shapes"][0]["points"] = [[-9, 1], [40, 1], [40, 40]]
    (folder / "val_000.json").write_text(json.dumps(held))
    code, out, _ = visenv("check", "ReasonSeg", "--split", "val", "--root", data, "--json")
    found = json.loads(out)
    assert code == 1 and found["by_kind"] == {"size": 1, "outside": 1, "unreadable": 2}
    assert found["num_findings"] == len(found["findings"]) == 4
    assert {f["where"] for f in found["findings"]} >= {"val/val_000.json", "val/val_004.json", "val/val_005.json"}
    assert (
        "4 findings: 1 outside, 1 size, 2 unreadable."
        in visenv("check", "ReasonSeg", "--split", "val", "--root", data)[1]
    )
    (data / "coco" / "val2017" / f"{8001:012d}.jpg").unlink()
    code, out, _ = visenv("check", "COCO", "--root", data)
    assert code == 1 and "missing: COCO/val/1/" in out and "findings: 3 missing." in out and "Published by" not in out


def test_an_annotation_file_that_cannot_be_read_is_a_finding(own: Callable[..., Path], visenv: Run) -> None:
    data = own("coco")
    (data / "coco" / "annotations" / "instances_val2017.json").write_text("[" * 100_000)
    (data / "coco" / "annotations" / "instances_train2017.json").unlink()
    code, out, _ = visenv("check", "COCO", "--root", data)
    assert code == 1 and "val: cannot be read" in out and "missing: COCO/train: " in out
    assert "2 findings: 1 missing, 1 unreadable." in out


def test_many_findings_are_counted_and_only_some_are_kept(
    own: Callable[..., Path], visenv: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = own("grefcoco")  # without pictures
    code, out, _ = visenv("check", "GREC", "--root", data)
    printed = [line for line in out.splitlines() if line.startswith(("missing: ", "size: "))]
    assert code == 1 and len(printed) == 20 and "120 missing" in out and "more findings" in out
    monkeypatch.setattr(data_audit, "KEPT", 4)
    found = json.loads(visenv("check", "GREC", "--root", data, "--json")[1])
    assert len(found["findings"]) == 4 and found["by_kind"]["missing"] == 120


def test_what_belongs_to_no_sample_is_found_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stray(_: object, split: str) -> Iterator[Finding]:
        yield Finding(split=split, where="stray.json", kind="missing", what="its picture is not there")
        raise RuntimeError("torn")

    monkeypatch.setattr(COCO, "audit_split", stray)
    audit = data_audit.audit_data(COCO(root), ["val"])
    assert audit.by_kind == {"missing": 1, "unreadable": 1} and audit.complete and audit.num_audited == 15


def test_what_files_say_cannot_move_the_cursor(own: Callable[..., Path], visenv: Run) -> None:
    folder = own("ReasonSeg") / "ReasonSeg" / "val"
    for ending in (".json", ".jpg"):
        shutil.copy(folder / f"val_000{ending}", folder / f"\x1b[2Jx\n{ending}")
    (folder / "\x1b[2Jx\n.json").write_text("{")
    _, out, err = visenv("check", "ReasonSeg", "--split", "val", "--root", folder.parents[1])
    assert "\x1b" not in out + err and "x1b" in out and "13 of 13 entries" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["check", "EmojiRef"], 2, "nothing to check"),
        (["check", "ReasonSge"], 2, "Did you mean 'ReasonSeg'"),
        (["check", "ReasonSeg", "--split", "vel"], 2, "Did you mean 'val'"),
        (["check", "COCO:mode=draw"], 2, "mode"),
        (["check", "COCO:colour=red"], 2, "annotations"),
        (["check", "ReasonSeg"], 1, "`visenv data check ReasonSeg`"),
        (["check", "COCO:annotations=mine.json"], 1, "mine.json"),
        (["check"], 2, "TASK"),
        (["status", "ReasonSge"], 2, "Did you mean 'ReasonSeg'"),
        (["status", "--root", "/dev/null"], 2, "a folder that holds"),
        (["status", "--root", "nowhere"], 2, "a folder that holds"),
        (["sample", "EmojiRef"], 2, "--out"),
        (["sample", "EmojiRef", "--out", "a.gif"], 2, ".png"),
        (["sample", "EmojiRef", "--out", "a"], 2, ".png"),
        (["sample", "EmojiRef", "--out", "/proc/nowhere/a.png"], 1, "nowhere"),
        (["sample", "EmojiRef", "--out", "a.png", "--split", "vel"], 2, "Did you mean 'val'"),
        (["sample", "EmojiRef", "--out", "a.png", "--root", "."], 2, "root"),
        (["sample", "ReasonSeg", "--out", "a.png", "--level", "2"], 2, "Unknown level 2"),
        (["sample", "ReasonSeg", "--out", "a.png"], 1, "no data folder is set"),
        (["sample", "EmojiRef", "--out", "a.png", "--limit", "101"], 2, "--limit"),
        (["paint"], 2, "paint"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_mistakes_are_one_line_on_standard_error(words: list[str], code: int, said: str, visenv: Run) -> None:
    got, out, err = visenv(*words)
    assert (got, out) == (code, "") and said in err
    assert len(err.strip().splitlines()) == 1 or err.startswith(("Usage:", "Reading"))
    assert not Path("a.png").exists()


def test_an_interrupted_audit_says_how_far_it_came(root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = ReasonSeg.audit_entry

    def interrupted(task: Any, split: str, index: int, entry: str) -> Iterator[Any]:
        if index == 3 and split == "val":
            raise KeyboardInterrupt
        return audit(task, split, index, entry)

    monkeypatch.setattr(ReasonSeg, "audit_entry", interrupted)
    code, out, err = visenv("check", "ReasonSeg", "--root", root)
    assert code == 130 and "Interrupted: 15 of 38 entries were looked at." in err
    assert "So far: 3 findings: 3 size." in out and "val: 3 of 12 entries" in out


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), OddError()], ids=say)
def test_whatever_an_audit_raises_is_a_finding(
    error: BaseException, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(ReasonSeg, "audit_entry", broken)
    found = data_audit.audit_data(ReasonSeg(root), ["val"])
    assert found.complete and found.by_kind == {"size": 1, "unreadable": 12}


# sample


@pytest.mark.parametrize("task", plugins.names("tasks"))
def test_a_sheet_of_every_task(task: str, root: Path, visenv: Run) -> None:
    words = [] if task in MADE else ["--root", root]
    code, out, _ = visenv("sample", task, *words, "--limit", 2, "--out", "sheets/a.PNG")
    assert code == 0 and out.startswith("sheets/a.PNG: 2 of ")
    with Pillow.open("sheets/a.PNG") as sheet:
        assert sheet.format == "PNG" and sheet.width == 3 * 12 + 2 * 640 and sheet.height > 200


def test_the_samples_are_those_that_bench_takes_and_the_same_every_time(
    root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    sample = COCO.sample
    monkeypatch.setattr(COCO, "sample", lambda task, s, v, k: (taken.append(k), sample(task, s, v, k))[1])
    for name in ("a.jpg", "b.jpeg"):
        assert visenv("sample", "COCO", "--root", root, "--limit", 3, "--seed", 5, "--out", name)[0] == 0
    assert taken == 2 * choose_indices(15, 3, seed=5, where="COCO/val/1")
    assert Path("a.jpg").read_bytes() == Path("b.jpeg").read_bytes()


def test_a_sample_that_cannot_be_made_has_its_place(own: Callable[..., Path], visenv: Run) -> None:
    data = own("ReasonSeg")
    (data / "ReasonSeg" / "val" / "val_003.jpg").write_bytes(b"\xff\xd8\xff")
    code, _, err = visenv("sample", "ReasonSeg", "--root", data, "--limit", 100, "--out", "a.png")
    assert code == 1 and "ReasonSeg/val/1/3 cannot be made" in err and Path("a.png").is_file()


def test_an_interrupt_writes_nothing(root: Path, visenv: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_commands, "draw_sheet", drawn)
    code, _, err = visenv("sample", "COCO", "--root", root, "--limit", 3, "--out", "a.png")
    assert code == 130 and "3 of 3 samples were made, nothing was written" in err and not Path("a.png").exists()


SIZE_HW = (60, 80)
THING = Mask.from_box((10, 10, 40, 30), SIZE_HW)
NEAR = Mask.from_box((50, 40, 70, 55), SIZE_HW)


def drawn(target: Target, scale: int = 3) -> np.ndarray:
    canvas = np.full((SIZE_HW[0] * scale, SIZE_HW[1] * scale, 3), 128, np.uint8)
    draw_truth(canvas, target, colours_of([target]))
    return canvas


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"kind": AnswerKind.MASK}, "no target"),
        ({"kind": AnswerKind.MASK, "masks": (THING,), "labels": ("cup",)}, "1 mask: cup"),
        ({"kind": AnswerKind.MASK, "masks": (THING, THING)}, "2 masks"),
        ({"kind": AnswerKind.MASK, "masks": (Mask.empty(SIZE_HW),)}, "1 mask, 1 without a pixel"),
        ({"kind": AnswerKind.MASK, "ignore": NEAR}, "no target; 1 ignored region"),
        ({"kind": AnswerKind.BOXES}, "no target"),
        ({"kind": AnswerKind.BOXES, "boxes_xyxy": ((1, 1, 9, 9),)}, "1 box"),
        (
            {"kind": AnswerKind.BOXES, "boxes_xyxy": ((1, 1, 9, 9),) * 3, "labels": ("a", "b", "b"), "crowd": (True, False, False),
             "ignore_boxes_xyxy": ((0, 0, 5, 5), (6, 6, 9, 9))},
            "b 2; a 1; 2 ignored regions; 1 not scored",
        ),
        ({"kind": AnswerKind.COUNT}, "count: 0"),
        ({"kind": AnswerKind.COUNT, "points_xy": ((5, 5), (6, 6))}, "count: 2"),
        ({"kind": AnswerKind.CHOICE, "choice": "B", "options": ("red", "blue")}, "answer: (B) blue"),
        ({"kind": AnswerKind.CHOICE, "choice": "C"}, "answer: (C)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_the_truth_in_words(about: dict[str, Any], words: str) -> None:
    target = Target(size_hw=SIZE_HW, **about)
    assert "; ".join(text for text, _ in say_truth(target, colours_of([target]))) == words


def test_the_truth_is_drawn_around_things_not_over_them() -> None:
    mask = drawn(Target(kind=AnswerKind.MASK, size_hw=SIZE_HW, masks=(THING,)))
    box = drawn(Target(kind=AnswerKind.BOXES, size_hw=SIZE_HW, boxes_xyxy=((10, 10, 40, 30),)))
    for canvas in (mask, box):
        changed = (canvas != 128).any(2)
        assert changed[28:29, 40:100].all() and not changed[:20].any() and not changed[:, 130:].any()
    assert (box[30:90, 30:120] == 128).all(), "the inside of a box is as it was"
    assert np.abs(mask[45, 60].astype(int) - 128).max() < 30, "the inside of a mask is tinted lightly"


def test_what_is_not_scored_is_hatched() -> None:
    for target in (
        Target(kind=AnswerKind.MASK, size_hw=SIZE_HW, ignore=NEAR),
        Target(kind=AnswerKind.BOXES, size_hw=SIZE_HW, ignore_boxes_xyxy=((50, 40, 70, 55),)),
    ):
        inside = drawn(target)[122:160, 155:205]
        lighter, darker = (inside[:, :, 0] > 128).mean(), (inside[:, :, 0] < 128).mean()
        assert lighter == pytest.approx(0.5, abs=0.1) and darker == pytest.approx(0.5, abs=0.1)


def test_a_thing_smaller_than_a_pixel_of_the_sheet_is_ringed() -> None:
    tiny = Mask.from_box((100, 100, 102, 102), (600, 800))
    canvas = np.full((60, 80, 3), 128, np.uint8)
    draw_truth(canvas, Target(kind=AnswerKind.MASK, size_hw=(600, 800), masks=(tiny,)), {})
    assert (canvas[2:18, 2:18] != 128).any()


def test_pictures_keep_their_proportions_and_stay_inside_the_sheet(root: Path) -> None:
    task = make_task("MultiQA", root=root)
    sample = task.sample("test", 1, 0)
    for size_wh in ((900, 30), (30, 900), (1, 1), (1200, 900)):
        for number in (1, 2, 9, 64):
            square = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
            of_one = type(sample)(
                **{f: getattr(sample, f) for f in sample.__dataclass_fields__} | {"images": (Image(square),) * number}
            )
            sheet = np.asarray(draw_sheet([of_one], columns=1, tile_px=640))
            assert sheet.shape[1] == 640 + 24 and (sheet[:, -12:] == 255).all() and sheet.shape[0] < 2500
            if number == 1:
                black = (sheet[:, 12:-12] == 0).all(2)
                rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
                shown = (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1)
                assert shown == pytest.approx(size_wh[0] / size_wh[1], rel=0.1) or size_wh == (1, 1)
            assert columns_for([of_one] * 7) == (3 if number == 1 else 2)


def test_a_place_for_what_cannot_be_shown() -> None:
    sheet = draw_sheet([Unmade("T/val/1/0", "x" * 5000 + "\x1b\n\u202e" + "中" * 300)], columns=1, tile_px=300)
    assert sheet.width == 324 and sheet.height < 900


def test_lettering_keeps_to_its_width_and_loses_no_letter() -> None:
    pen = Lettering(14)
    text = "Wie viele Äpfel – größer als ½ – kosten 3 €? Καλημέρα, привет, 中文 \U0010fffe \x07"
    lines = pen.wrap(text, 200, max_lines=20)
    assert len(lines) > 2 and all(pen.width(line) <= 260 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert [part for _, part in pen._runs("a\x07b")] == ["a", "\\x07", "b"]
    assert pen.wrap("a\nb\nc\nd", 100, max_lines=2) == ["a", "b …"]
    assert pen.wrap("", 100, max_lines=2) == []
    assert len(pen.wrap("x" * 100_000, 100, max_lines=5)) == 5


# writing the miniatures


def test_the_script_writes_what_the_commands_read(visenv: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import runpy

    script = Path(__file__).parents[2] / "scripts" / "write_miniatures.py"
    said = io.StringIO()
    monkeypatch.setattr("sys.stdout", said)
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "mini data")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert not end.value.code and said.getvalue().endswith("mini data' visenv data status\n")
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 2, "a folder that holds something is left alone"
    assert statuses(tmp_path / "mini data", "ReasonSeg")["ReasonSeg"].splits["val"] == SplitStatus(
        samples=12, official=200, state="other size"
    )


def test_a_miniature_is_written_alone(tmp_path: Path) -> None:
    write("visdrone", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["VisDrone"]
